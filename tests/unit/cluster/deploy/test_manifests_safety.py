"""Pods without rights, policies that let in whom they should, and how many pods may go at once."""

import pytest
from support.machine.manifests import clusters, may_reach, of_kind, pods


@pytest.mark.parametrize(("what", "template"), list(pods()), ids=[what for what, _ in pods()])
def test_no_pod_is_root_or_can_become_it(what, template):
    pod = template["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] >= 10_000
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert template["spec"]["automountServiceAccountToken"] is False
    for container in template["spec"]["containers"]:
        locked = container["securityContext"]
        assert locked["allowPrivilegeEscalation"] is False and locked["readOnlyRootFilesystem"] is True
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"] and "cpu" in container["resources"]["requests"]


PODS = {
    template["metadata"]["labels"]["nsecast/role"]: template["metadata"]["labels"] for _, template in pods()
}
SERVING, TRAINING, GAUGES = (("nsecast", PODS[role]) for role in ("serving", "training", "gauges"))
HEAD = ("nsecast", PODS["serving"] | {"ray.io/node-type": "head"})
INGRESS, OPERATOR = ("ingress-nginx", {}), ("kuberay-operator", {})
PROMETHEUS, DNS, STRANGER = ("monitoring", {}), ("kube-system", {}), ("default", dict(PODS["serving"]))


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        (INGRESS, SERVING, 8000, True),
        (INGRESS, SERVING, 8265, False),
        (INGRESS, TRAINING, 8000, False),
        (STRANGER, SERVING, 8000, False),
        (STRANGER, SERVING, 6379, False),
        ("203.0.113.9", SERVING, 8000, False),
        (SERVING, SERVING, 6379, True),
        (SERVING, SERVING, 31_234, True),
        (TRAINING, TRAINING, 31_234, True),
        (TRAINING, SERVING, 6379, False),
        (SERVING, TRAINING, 8265, False),
        (OPERATOR, SERVING, 8265, True),
        (OPERATOR, SERVING, 8000, True),
        (OPERATOR, TRAINING, 8265, True),
        (OPERATOR, TRAINING, 6379, False),
        (PROMETHEUS, SERVING, 8080, True),
        (PROMETHEUS, SERVING, 9101, False),
        (PROMETHEUS, GAUGES, 9100, True),
        (TRAINING, "198.51.100.7", 443, True),
        (TRAINING, "198.51.100.7", 80, False),
        (TRAINING, "10.0.0.1", 443, False),
        (TRAINING, "169.254.169.254", 443, False),
        (SERVING, "198.51.100.7", 443, False),
        (HEAD, "10.96.0.1", 443, True),
        (HEAD, "192.168.49.2", 6443, True),
        (HEAD, "10.96.0.1", 80, False),
        (HEAD, "198.51.100.7", 443, False),
        (SERVING, "10.96.0.1", 443, False),
    ],
)
def test_who_may_reach_whom(source, target, port, allowed):
    assert may_reach(source, target, port) is allowed


def test_names_can_be_looked_up_by_every_pod():
    assert all(may_reach(("nsecast", labels), DNS, 53, "UDP") for labels in PODS.values())


def test_budgets_count_pods_that_are_there():
    labels = PODS["serving"]
    kinds = set()
    for budget in of_kind("PodDisruptionBudget"):
        chosen = dict(budget["spec"]["selector"]["matchLabels"])
        kinds.add(chosen.pop("ray.io/node-type"))
        assert chosen.items() <= labels.items() and budget["spec"]["minAvailable"] == 1
    assert kinds == {"head", "worker"}
    assert clusters()["RayService"]["workerGroupSpecs"][0]["minReplicas"] > 1
