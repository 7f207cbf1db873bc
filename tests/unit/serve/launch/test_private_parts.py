"""Private parts of Ray, Ray Serve and uvicorn are there and behave as `ray_private` and `private` rely on."""

import importlib.util
import inspect
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray import cloudpickle

from cluster.connect import ray_private
from serve.launch.private import keep_replica_to_its_node

TOKEN = """
import os
from pathlib import Path
from cluster.connect.ray_private import use_token
from ray._raylet import AuthenticationMode, get_authentication_mode
token = Path.home() / ".ray" / "auth_token"
print(use_token(), token.exists(), os.environ.get("RAY_AUTH_MODE"))
print(use_token(make=True), oct(token.stat().st_mode & 0o777), os.environ["RAY_AUTH_MODE"])
print(get_authentication_mode() == AuthenticationMode.TOKEN, use_token())
"""


@pytest.fixture
def initialised(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What ``ray.init`` would have been given by `ray_private.init`."""
    from ray._private import worker

    options: dict[str, object] = {}
    monkeypatch.setattr(ray, "init", lambda **given: options.update(given))
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    ray_private.init(node_ip="127.0.0.2", num_cpus=1)
    return options


def test_ray_s_reports_of_lost_nodes_are_logged_and_not_printed(initialised, capsys, caplog):
    from ray._private import worker

    over = threading.Event()

    class Subscriber:
        def subscribe(self) -> None: ...

        def poll(self) -> tuple[None, dict[str, object]]:
            over.set()
            return None, {"job_id": None, "error_message": "a node was lost"}

    listening = SimpleNamespace(
        gcs_error_subscriber=Subscriber(), current_job_id=SimpleNamespace(binary=lambda: b"")
    )
    with caplog.at_level(logging.INFO):
        worker.listen_error_messages(listening, over)
    assert capsys.readouterr().out == "" and "ray: a node was lost" in caplog.text


def test_ray_still_takes_the_private_options_and_only_those_that_are_given(initialised):
    assert initialised["_node_ip_address"] == "127.0.0.2" and "_temp_dir" not in initialised
    source = inspect.getsource(inspect.unwrap(importlib.import_module("ray._private.worker").init))
    assert all(f'kwargs.pop("{name}"' in source for name in ("_node_ip_address", "_temp_dir"))


def test_an_existing_token_is_used_and_a_new_one_is_private_to_its_user(tmp_path: Path):
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", TOKEN],
        env=kept | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["False False None", "True 0o600 token", "True True"]


@pytest.mark.parametrize(("wanted", "room", "granted"), [(4, 2, 2), (1, 2, 1), (3, 0, 1)])
def test_a_run_gets_no_more_workers_than_allowed_also_after_the_callback_has_travelled(wanted, room, granted):
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.controller import controller
    from ray.train.v2._internal.execution.scaling_policy.scaling_policy import ResizeDecision

    callback = cloudpickle.loads(cloudpickle.dumps(ray_private.at_most(lambda: room)))
    decision = ResizeDecision(num_workers=wanted, resources_per_worker={"CPU": 1})
    callback.before_controller_execute_resize_decision(decision)
    assert isinstance(callback, ControllerCallback) and decision.num_workers == granted
    ours = inspect.signature(callback.before_controller_execute_resize_decision)
    assert ours.parameters.keys() == {"resize_decision"}
    source = inspect.getsource(controller)
    assert source.index('"before_controller_execute_resize_decision", decision') < source.index(
        "num_workers=decision.num_workers"
    )


def test_a_reservation_has_the_name_under_which_it_is_given_back(monkeypatch: pytest.MonkeyPatch):
    from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as coordinator
    from ray.train.v2._internal.execution.scaling_policy import scaling_policy

    source = inspect.getsource(coordinator.get_or_create_autoscaling_coordinator)
    assert 'name="AutoscalingCoordinator"' in source and 'namespace="AutoscalingCoordinator"' in source
    assert 'f"train-{train_run_context.run_id}"' in inspect.getsource(scaling_policy.ScalingPolicy)
    method = coordinator._AutoscalingCoordinatorActor.cancel_request
    assert [*inspect.signature(method).parameters] == ["self", "requester_id"]

    cancelled = []
    actor = SimpleNamespace(cancel_request=SimpleNamespace(remote=cancelled.append))
    monkeypatch.setattr(ray, "get_actor", lambda name, namespace: actor)
    monkeypatch.setattr(ray, "get", lambda value, timeout: value)
    ray_private.give_back_reservation("run")
    assert cancelled == ["train-run"]
    monkeypatch.delattr(ray, "get_actor")
    ray_private.give_back_reservation("run")


def test_a_backend_with_replica_groups_has_dead_workers_replaced_alone():
    """A public attribute that no page of Ray's describes."""
    from ray.train.backend import Backend
    from ray.train.v2._internal.execution.controller import controller
    from ray.train.v2._internal.execution.worker_group import worker_group

    from train.workers.fleet import IndependentWorkers

    assert Backend.has_replica_groups is False and IndependentWorkers().backend_cls.has_replica_groups
    for module in (controller, worker_group):
        assert "backend_config.backend_cls.has_replica_groups" in inspect.getsource(module)


def test_a_replicas_own_server_listens_on_its_nodes_address_alone(monkeypatch: pytest.MonkeyPatch):
    from ray.serve._private import replica

    bound: list[str] = []
    assert 'add_port_to_grpc_server(self._server, "[::]:0")' in inspect.getsource(replica)
    monkeypatch.setattr(replica, "add_port_to_grpc_server", lambda server, address: bound.append(address))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    for node in ("127.0.0.2", "fd00::2"):
        monkeypatch.setattr(ray.util, "get_node_ip_address", lambda node=node: node)
        before = replica.add_port_to_grpc_server
        keep_replica_to_its_node()
        keep_replica_to_its_node()
        replica.add_port_to_grpc_server(None, "[::]:0")
        monkeypatch.setattr(replica, "add_port_to_grpc_server", before)
    assert bound == ["127.0.0.2:0", "[fd00::2]:0"]
