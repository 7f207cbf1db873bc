"""The manifests, what their network policies allow, and when each alert must fire."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "cluster" / "deploy"
NOT_KUBERNETES = ("kustomization.yaml", "ray-up.yaml", "serve.yaml")
NAMESPACE = "nsecast"


def load(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((FOLDER / name).read_text()) if document]


def every() -> list[tuple[str, dict[str, Any]]]:
    """File and document of every Kubernetes object."""
    names = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name not in NOT_KUBERNETES)
    return [(name, document) for name in names for document in load(name)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in every() if document["kind"] == kind]


def one(kind: str, name: str | None = None) -> dict[str, Any]:
    (resource,) = [item for item in of_kind(kind) if name in (None, item["metadata"].get("name"))]
    return resource


def clusters() -> dict[str, dict[str, Any]]:
    """The spec of every RayCluster, permanent or created for a job or a service."""
    return {
        "RayCluster": one("RayCluster")["spec"],
        "RayJob": one("RayJob")["spec"]["rayClusterSpec"],
        "RayCronJob": one("RayCronJob")["spec"]["jobTemplate"]["rayClusterSpec"],
        "RayService": one("RayService")["spec"]["rayClusterConfig"],
    }


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template, with what it is for."""
    for kind, spec in clusters().items():
        for group in groups(spec):
            yield f"{kind} {group.get('groupName', 'head')}", group["template"]
    yield "CronJob", one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    yield "Deployment", one("Deployment")["spec"]["template"]


def serve_config() -> dict[str, Any]:
    return yaml.safe_load(one("RayService")["spec"]["serveConfigV2"])


def deployments_of(app: Any) -> dict[str, Any]:
    """Every deployment of an application's graph, by name."""
    from ray.serve import Application

    below = [arg for arg in app._bound_deployment.init_args if isinstance(arg, Application)]
    return {app._bound_deployment.name: app._bound_deployment} | {
        name: deployment for child in below for name, deployment in deployments_of(child).items()
    }


def entrypoints() -> list[str]:
    return [
        one("RayJob")["spec"]["entrypoint"],
        one("RayCronJob")["spec"]["jobTemplate"]["entrypoint"],
    ]


Peer = tuple[str, dict[str, str]] | str
"""A pod, as namespace and labels, or an address outside."""


def may_reach(source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """What the policies allow, by the rules of Kubernetes: closed where any policy selects, then a union."""
    return _lets("Ingress", target, source, port, protocol) and _lets(
        "Egress", source, target, port, protocol
    )


def _lets(way: str, pod: Peer, other: Peer, port: int, protocol: str) -> bool:
    if isinstance(pod, str) or pod[0] != NAMESPACE:
        return True
    selecting = [
        policy["spec"]
        for policy in of_kind("NetworkPolicy")
        if way in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], pod[1])
    ]
    side = "from" if way == "Ingress" else "to"
    rules = [rule for spec in selecting for rule in spec.get(way.lower(), [])]
    return not selecting or any(
        any(_is(peer, other) for peer in rule[side])
        and ("ports" not in rule or {"protocol": protocol, "port": port} in rule["ports"])
        for rule in rules
    )


def _is(peer: dict[str, Any], other: Peer) -> bool:
    if isinstance(other, str):
        address = ipaddress.ip_address(other)
        block = peer.get("ipBlock")
        return block is not None and (
            address in ipaddress.ip_network(block["cidr"])
            and not any(address in ipaddress.ip_network(item) for item in block.get("except", ()))
        )
    if "ipBlock" in peer:
        return False
    labels = {"kubernetes.io/metadata.name": other[0]}
    there = (
        _selects(peer["namespaceSelector"], labels) if "namespaceSelector" in peer else other[0] == NAMESPACE
    )
    return there and _selects(peer.get("podSelector", {}), other[1])


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the tests know matchLabels only"
    return selector.get("matchLabels", {}).items() <= labels.items()


HEALTHY = 'ray_serve_deployment_replica_healthy{application="nsecast",deployment="Router"}'
SERVED_A, SERVED_B = (f'ray_nsecast_requests_total{{release="{name}"}}' for name in "ab")
ERRORS, REQUESTS = "ray_nsecast_errors_total", "ray_nsecast_requests_total"
BUCKET = "ray_nsecast_latency_ms_bucket"
REFUSED, TAKEN = (
    f'ray_nsecast_reloads_total{{release="b",outcome="{outcome}"}}' for outcome in ("refused", "taken")
)
COLD = 'ray_nsecast_model_cache_total{hit="false"}'
FAILED, COMPLETE = (
    f'kuberay_job_deployment_status{{namespace="nsecast",name="n",deployment_status="{status}"}}'
    for status in ("Failed", "Complete")
)
LOOKED = "nsecast_monitor_last_run_timestamp_seconds"
BREACHES = 'nsecast_monitor_breaches{kind="error"}'

CASES = [
    ("NsecastNoRouterReady", {}, 3, True),
    ("NsecastNoRouterReady", {HEALTHY: "1x9"}, 3, False),
    ("NsecastNothingServes", {}, 6, True),
    ("NsecastNothingServes", {TAKEN: "1x9"}, 6, False),
    ("NsecastErrors", {ERRORS + '{status="500"}': "0+2x20", REQUESTS: "0+100x20"}, 15, True),
    ("NsecastErrors", {ERRORS + '{status="422"}': "0+50x20", REQUESTS: "0+100x20"}, 15, False),
    ("NsecastErrors", {ERRORS + '{status="500"}': "0+0x20", REQUESTS: "0+0x20"}, 15, False),
    (
        "NsecastSlow",
        {
            BUCKET + '{le="500"}': "0+50x30",
            BUCKET + '{le="1000"}': "0+100x30",
            BUCKET + '{le="+Inf"}': "0+100x30",
        },
        20,
        True,
    ),
    ("NsecastSlow", {BUCKET + '{le="500"}': "0+100x30", BUCKET + '{le="+Inf"}': "0+100x30"}, 20, False),
    # born at 1: `increase` alone would not see it
    ("NsecastReloadRefused", {REFUSED: "_x9 1x20"}, 12, True),
    ("NsecastReloadRefused", {REFUSED: "1x9 2x5"}, 12, True),
    ("NsecastReloadRefused", {REFUSED: "1x60"}, 50, False),
    ("NsecastReloadRefused", {TAKEN: "1x60"}, 5, False),
    ("NsecastTwoReleases", {SERVED_A: "0+9x30", SERVED_B: "0+9x30"}, 25, True),
    ("NsecastTwoReleases", {SERVED_A: "9x30", SERVED_B: "0+9x30"}, 25, False),
    ("NsecastModelsNotLoaded", {COLD: "0+100x40"}, 35, True),
    ("NsecastModelsNotLoaded", {COLD: "0+1x40"}, 35, False),
    ("NsecastJobFailed", {FAILED: "1x5"}, 1, True),
    ("NsecastJobFailed", {COMPLETE: "1x5"}, 1, False),
    ("NsecastStaleData", {"nsecast_monitor_sessions_old": "3x5"}, 1, True),
    ("NsecastStaleData", {"nsecast_monitor_sessions_old": "2x5"}, 1, False),
    ("NsecastMonitorBreach", {BREACHES: "1x5"}, 1, True),
    ("NsecastMonitorBreach", {BREACHES: "0x5"}, 1, False),
    ("NsecastMonitorSilent", {}, 70, True),
    ("NsecastMonitorSilent", {LOOKED: "0x100"}, 70, False),
]
"""Alert, series, minute to look at, whether it fires then."""
