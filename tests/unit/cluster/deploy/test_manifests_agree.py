"""Manifests agree with each other and with the application they start."""

import re

import pytest
from support.machine.manifests import (
    ROOT,
    clusters,
    deployments_of,
    groups,
    load,
    of_kind,
    one,
    pods,
    serve_config,
)


def test_training_runs_on_the_same_cluster_by_hand_once_and_every_night():
    result = clusters()
    assert result["RayCluster"] == result["RayJob"] == result["RayCronJob"]


@pytest.mark.parametrize("where", ["rayservice.yaml", "serve.yaml"])
def test_the_embedded_serve_configuration_builds_our_application(where):
    from ray.serve.schema import ServeDeploySchema

    from serve.app import build_app
    from serve.settings import ServeSettings

    config = serve_config() if where == "rayservice.yaml" else load("serve.yaml")[0]
    schema = ServeDeploySchema.model_validate(config)
    (application,) = schema.applications
    assert application.import_path == "serve.app:build_app" and application.route_prefix == "/"
    settings = ServeSettings.parse(application.args, where=where)
    built = deployments_of(build_app(settings))
    assert set(built) == {"Router", "GeneralModel", "SpecificModel"}
    assert {deployment.name for deployment in application.deployments} <= set(built)
    assert built["Router"]._deployment_config.num_replicas == settings.routers
    others_reach_it = schema.http_options.host != "127.0.0.1"
    assert settings.loopback is not others_reach_it and bool(settings.keys) is others_reach_it


@pytest.mark.parametrize("where", ["rayservice.yaml", "serve.yaml"])
def test_limits_are_where_a_change_restarts_no_router(where):
    """A change of `args` gives the application another code version, and Ray replaces every replica."""
    from ray.serve._private.deploy_utils import get_app_code_version
    from ray.serve.schema import ServeDeploySchema

    from serve.settings import LIVE, ServeSettings

    config = serve_config() if where == "rayservice.yaml" else load("serve.yaml")[0]
    (application,) = ServeDeploySchema.model_validate(config).applications
    (router,) = [deployment for deployment in application.deployments if deployment.name == "Router"]
    assert not set(application.args) & set(LIVE)
    settings = ServeSettings.parse(application.args).changed(router.user_config)
    assert router.max_ongoing_requests >= settings.requests_under_way + 64
    before = get_app_code_version(application)
    router.user_config["limits"]["forecasts_per_minute"] = 1
    router.max_ongoing_requests = 1000
    assert get_app_code_version(application) == before
    application.args["routers"] = 7
    assert get_app_code_version(application) != before


def test_names_of_volumes_secrets_and_services_agree():
    claim = one("PersistentVolumeClaim")["metadata"]["name"]
    secrets = {resource["metadata"]["name"]: resource["stringData"] for resource in of_kind("Secret")}
    for what, template in pods():
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        (container,) = template["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        if what == "RayService head":
            token = volumes.pop("kubernetes")
            assert token == {"name": "kubernetes", "projected": token["projected"]}
        assert volumes["home"]["persistentVolumeClaim"]["claimName"] == claim, what
        assert mounts.keys() == volumes.keys() and mounts["home"] == "/var/lib/nsecast", what
        environment = {item["name"]: item["value"] for item in container.get("env", ())}
        assert what == "Deployment" or environment["NSECAST_HOME"] == mounts["home"]
        if "keys" in volumes:
            args = serve_config()["applications"][0]["args"]
            folder, _, file = args["keys"].rpartition("/")
            assert mounts["keys"] == folder and file in secrets[volumes["keys"]["secret"]["secretName"]]
            assert args["home"] == mounts["home"]
    for spec in clusters().values():
        assert "auth_token" in secrets[spec["authOptions"]["secretName"]]
    backend = one("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == f"{one('RayService')['metadata']['name']}-serve-svc"
    assert backend["port"]["number"] == serve_config()["http_options"]["port"]


def test_the_example_secrets_grant_no_access(tmp_path):
    from serve.auth.keys import KeyFile

    texts = {name: text for resource in of_kind("Secret") for name, text in resource["stringData"].items()}
    (tmp_path / "keys.json").write_text(texts["keys.json"])
    assert KeyFile(tmp_path / "keys.json").clients() == [] and texts["auth_token"] == ""


def test_ports_and_probes_agree():
    for kind, spec in clusters().items():
        for group in groups(spec):
            (container,) = group["template"]["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert str(ports["metrics"]) == group["rayStartParams"]["metrics-export-port"]
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
            if kind == "RayService":
                assert ports["serve"] == serve_config()["http_options"]["port"]
    workers = clusters()["RayService"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert workers["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 8000}


def test_every_serving_node_has_the_switches_that_ray_serve_reads_once():
    wanted = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_worker_niceness": "0",
    }
    for group in groups(clusters()["RayService"]):
        environment = group["template"]["spec"]["containers"][0]["env"]
        assert wanted.items() <= {item["name"]: item["value"] for item in environment}.items()


def test_the_serve_image_hardens_haproxy_as_the_command_does(tmp_path):
    """What the pods get is what `nsecast serve haproxy` makes, from the same folder."""
    from serve.launch.proxy_environment import hardened

    text = (ROOT / "cluster/deploy/Dockerfile").read_text()
    folder = re.search(r"^RUN .*&& nsecast serve haproxy --folder (\S+)$", text, re.M)[1]
    stage = text.partition("FROM base AS serve\n")[2].partition("\nFROM ")[0]
    assert "COPY --from=build-serve /opt/nsecast /opt/nsecast" in stage
    given = dict(re.findall(r"(RAY_SERVE_\w+|FORWARDED_ALLOW_IPS)=(\S*)", stage.replace('""', "")))
    needed = {name: value.replace(str(tmp_path), folder) for name, value in hardened(tmp_path).items()}
    assert given == needed and folder.startswith("/opt/nsecast/")
    mode = (tmp_path / "haproxy-mended").stat().st_mode
    assert mode & 0o005 == 0o005, "built by root, run by another user"


@pytest.mark.parametrize("name", ["serve.yaml", "ray-up.yaml"])
def test_clusters_without_the_image_are_told_to_harden_haproxy(name):
    text = (ROOT / "cluster/deploy" / name).read_text()
    starts = len(re.findall(r"ray start --", text))
    assert len(re.findall(r'eval "\$\((?:\S*/)?nsecast serve haproxy', text)) == starts > 0
