"""How many nodes the service asks for, computed by the code of Ray's own autoscaler."""

from typing import Any

import pytest
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.resource_demand_scheduler import (
    _default_utilization_scorer,
    get_bin_pack_residual,
    get_nodes_for,
)
from ray.serve._private.deployment_scheduler import IMPLICIT_RESOURCE_PREFIX
from support.machine.manifests import clusters, deployments_of, serve_config

from serve.app import build_app
from serve.settings import ServeSettings

SPEC = clusters()["RayService"]
(WORKERS,) = SPEC["workerGroupSpecs"]
SETTINGS = ServeSettings.parse(serve_config()["applications"][0]["args"])


def node_types() -> dict[str, Any]:
    """The groups as Ray's autoscaler reads them."""
    cluster = {"metadata": {"name": "x", "namespace": "nsecast"}, "spec": SPEC}
    result = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    return result["available_node_types"]


def demands(settings: ServeSettings, specific: int) -> list[dict[str, float]]:
    """What each replica asks of a node, as Ray Serve words it, with so many specific ones."""
    results = []
    for name, deployment in deployments_of(build_app(settings)).items():
        number = specific if name == "SpecificModel" else deployment._deployment_config.num_replicas
        needs = {"CPU": deployment._replica_config.ray_actor_options["num_cpus"]}
        if most := deployment._replica_config.max_replicas_per_node:
            needs[f"{IMPLICIT_RESOURCE_PREFIX}{name}"] = 1.0 / most
        results += [dict(needs) for _ in range(number)]
    return results


def nodes_for(settings: ServeSettings, specific: int) -> tuple[int, list[dict[str, float]]]:
    """How many serving nodes there are once the autoscaler has acted, and what still finds no place."""
    types, start = node_types(), WORKERS["replicas"]
    there = [dict(types["serving"]["resources"]) for _ in range(start)]
    waiting, _ = get_bin_pack_residual(there, demands(settings, specific))
    added, left = get_nodes_for(
        types,
        {"serving": start, "headgroup": 1},
        "headgroup",
        100,
        waiting,
        utilization_scorer=lambda resources, wanted, kind: _default_utilization_scorer(
            resources, wanted, kind, node_availability_summary=None
        ),
    )
    return start + sum(added.values()), left


def test_the_nodes_that_are_always_there_hold_the_replicas_that_are():
    assert nodes_for(SETTINGS, SETTINGS.specific_min) == (WORKERS["minReplicas"], [])


def test_the_pool_can_grow_to_its_maximum_and_needs_every_node_up_to_it():
    assert SPEC["enableInTreeAutoscaling"] is True
    numbers = [
        nodes_for(SETTINGS, number) for number in range(SETTINGS.specific_min, SETTINGS.specific_max + 1)
    ]
    assert all(left == [] for _, left in numbers)
    nodes = [number for number, _ in numbers]
    assert sorted(set(nodes)) == list(range(WORKERS["minReplicas"], WORKERS["maxReplicas"] + 1))
    assert nodes == sorted(nodes)
    assert nodes[2] == WORKERS["minReplicas"] < nodes[3], "the guide says which replica brings a node"


def test_replicas_of_a_tenth_of_a_cpu_would_never_add_a_node():
    lean = SETTINGS.model_copy(update={"cpus_each": 0.1})
    assert nodes_for(lean, SETTINGS.specific_max) == (WORKERS["minReplicas"], [])


def test_both_routers_and_both_general_models_never_share_a_node():
    for settings in (SETTINGS, SETTINGS.model_copy(update={"cpus_each": 0.0})):
        (one,) = [dict(node_types()["serving"]["resources"])]
        left, _ = get_bin_pack_residual([one], demands(settings, 0))
        kinds = [next(name for name in item if name != "CPU") for item in left]
        assert sorted(kinds) == [f"{IMPLICIT_RESOURCE_PREFIX}{name}" for name in ("GeneralModel", "Router")]


def test_ray_nodes_are_on_hosts_of_their_own():
    hosts, zones = WORKERS["template"]["spec"]["topologySpreadConstraints"]
    assert hosts["topologyKey"] == "kubernetes.io/hostname" and hosts["maxSkew"] == 1
    assert hosts["whenUnsatisfiable"] == "DoNotSchedule" and hosts["matchLabelKeys"] == ["ray.io/cluster"]
    assert zones["topologyKey"] == "topology.kubernetes.io/zone"
    labels = WORKERS["template"]["metadata"]["labels"] | {"ray.io/group": WORKERS["groupName"]}
    for item in (hosts, zones):
        assert item["labelSelector"]["matchLabels"].items() <= labels.items()


def test_by_default_one_node_holds_any_number_of_routers():
    """`nsecast serve` and serve.yaml have one node."""
    for deployment in deployments_of(build_app(ServeSettings(routers=3, general_replicas=3))).values():
        assert deployment._replica_config.max_replicas_per_node is None


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob", "RayCronJob"])
def test_clusters_without_an_autoscaler_have_no_range_of_nodes(kind):
    spec = clusters()[kind]
    (workers,) = spec["workerGroupSpecs"]
    assert not spec.get("enableInTreeAutoscaling", False)
    assert workers["maxReplicas"] == workers["replicas"] == workers["minReplicas"]


def test_only_the_autoscaler_can_speak_to_kubernetes():
    """Ray's autoscaler reads its token below the usual path; no other container of any pod mounts it."""
    from ray.autoscaler._private.kuberay import node_provider

    head = SPEC["headGroupSpec"]["template"]["spec"]
    (volume,) = [item for item in head["volumes"] if "projected" in item]
    (mount,) = [item for item in SPEC["autoscalerOptions"]["volumeMounts"] if item["name"] == volume["name"]]
    sources = volume["projected"]["sources"]
    paths = {source["serviceAccountToken"]["path"] for source in sources if "serviceAccountToken" in source}
    paths |= {
        item["path"] for source in sources if "configMap" in source for item in source["configMap"]["items"]
    }
    needed = {node_provider.IN_CLUSTER_TOKEN_PATH, node_provider.IN_CLUSTER_CA_CERT_PATH}
    assert {f"{mount['mountPath']}/{path}" for path in paths} == needed and mount["readOnly"]
    for container in head["containers"]:
        assert volume["name"] not in {item["name"] for item in container["volumeMounts"]}
    assert volume not in WORKERS["template"]["spec"]["volumes"]


def test_the_autoscaler_is_locked_up_like_every_container():
    options = SPEC["autoscalerOptions"]
    (container,) = SPEC["headGroupSpec"]["template"]["spec"]["containers"]
    assert options["securityContext"] == container["securityContext"]
    assert "memory" in options["resources"]["limits"] and "cpu" in options["resources"]["requests"]
    assert {"name": "tmp", "mountPath": "/tmp"} in options["volumeMounts"]
