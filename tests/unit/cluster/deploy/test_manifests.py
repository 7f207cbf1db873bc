"""Every manifest against the schema of its kind, and all of them against each other and against our code."""

import re
import tomllib
from typing import Any, Literal

import kubernetes_validate
import pytest
from pydantic import BaseModel, ConfigDict, PositiveInt
from support.machine.manifests import ROOT, clusters, every, groups, load, of_kind, one, pods

KUBERNETES = ("1.30", "1.37")
BY_HAND = {"raycluster.yaml", "rayjob.yaml", "secrets.example.yaml"}
"""Applied when they are wanted, not with the rest."""
FOREIGN = ("ray.io/", "monitoring.coreos.com/")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Token(Strict):
    mode: Literal["token"]
    secretName: str


class Head(Strict):
    rayStartParams: dict[str, str]
    template: dict[str, Any]


class Workers(Head):
    groupName: str
    replicas: PositiveInt
    minReplicas: PositiveInt
    maxReplicas: PositiveInt


class Autoscaler(Strict):
    version: Literal["v2"]
    idleTimeoutSeconds: PositiveInt
    resources: dict[str, Any]
    securityContext: dict[str, Any]
    volumeMounts: list[dict[str, Any]]


class Cluster(Strict):
    """The fields of KubeRay's RayClusterSpec that we use; a misspelt one is none of them."""

    rayVersion: str
    authOptions: Token
    enableInTreeAutoscaling: bool = False
    autoscalerOptions: Autoscaler | None = None
    headGroupSpec: Head
    workerGroupSpecs: list[Workers]


class Job(Strict):
    entrypoint: str
    submissionMode: Literal["HTTPMode"]
    shutdownAfterJobFinishes: Literal[True]
    ttlSecondsAfterFinished: PositiveInt
    activeDeadlineSeconds: PositiveInt
    backoffLimit: int
    rayClusterSpec: Cluster


class CronJob(Strict):
    schedule: str
    jobTemplate: Job


class Upgrade(Strict):
    type: Literal["NewCluster"]


class Service(Strict):
    upgradeStrategy: Upgrade
    rayClusterDeletionDelaySeconds: PositiveInt
    excludeHeadPodFromServeSvc: Literal[True]
    serveConfigV2: str
    rayClusterConfig: Cluster


RAY_KINDS = {"RayCluster": Cluster, "RayJob": Job, "RayCronJob": CronJob, "RayService": Service}


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_and_pod_template_is_what_kubernetes_wants(version):
    core = [document for _, document in every() if not document["apiVersion"].startswith(FOREIGN)]
    templates = [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        for _, template in pods()
    ]
    for document in [*core, *templates]:
        kubernetes_validate.validate(document, version, strict=True)
    assert len(core) > 12 and len(templates) == 10


def test_the_schemas_refuse_a_misspelt_field():
    policy = of_kind("NetworkPolicy")[0]
    wrong = {**policy, "spec": {**policy["spec"], "podSelectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("kind", RAY_KINDS)
def test_ray_kinds_have_the_fields_we_mean(kind):
    document = one(kind)
    assert document["apiVersion"] == "ray.io/v1"
    RAY_KINDS[kind].model_validate(document["spec"])


@pytest.mark.parametrize("kind", RAY_KINDS)
def test_ray_itself_reads_the_groups_of_every_cluster(kind):
    from ray.autoscaler._private.kuberay import autoscaling_config

    spec = clusters()[kind]
    result = autoscaling_config._derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "x", "namespace": "nsecast"}, "spec": spec}
    )
    types = result["available_node_types"]
    assert types.pop("headgroup")["resources"]["CPU"] == 0
    ((_, workers),) = types.items()
    assert workers["resources"]["CPU"] == 2 and workers["min_workers"] == 2


@pytest.mark.parametrize("kind", RAY_KINDS)
def test_start_parameters_are_options_of_ray_start(kind):
    import ray
    from ray.scripts.scripts import start

    options = {option for parameter in start.params for option in parameter.opts}
    for group in groups(clusters()[kind]):
        assert {f"--{name}" for name in group["rayStartParams"]} <= options
    assert clusters()[kind]["rayVersion"] == ray.__version__


def test_one_list_names_every_file_and_image():
    document = load("kustomization.yaml")[0]
    files = {name for name, _ in every()}
    assert set(document["resources"]) == files - BY_HAND
    used = {container["image"] for _, template in pods() for container in template["spec"]["containers"]}
    ours = {f"{image['name']}:{image['newTag']}" for image in document["images"]}
    assert ours == {image for image in used if "/nsecast-" in image}
    assert not any(image.endswith(":latest") or ":" not in image for image in used)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {image["newTag"] for image in document["images"]} == {version}
    targets = re.findall(r"^FROM base AS (\w+)$", (ROOT / "cluster/deploy/Dockerfile").read_text(), re.M)
    assert {f"registry.example/nsecast-{target}:{version}" for target in targets} == ours
    for _, item in every():
        assert item["metadata"].get("namespace", item["metadata"].get("name")) == "nsecast"
