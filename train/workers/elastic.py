"""As many workers as there is room for now: Ray Train's elastic groups, without waiting for lost nodes."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.backend import BackendConfig
from ray.train.v2.api.config import ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from cluster.connect.ray_private import at_most, give_back_reservation
from common import storage
from common.errors import RayUnavailable, TrainingError

GROW_S = 20.0
"""How often Ray Train looks whether more workers find a place; growing starts all of them anew."""
ANSWER_S = 3.0
"""A node that takes no connection for so long has no room for a worker."""


def room() -> int:
    """Count the CPUs of the nodes that answer: a run never gets more workers than that.

    What Ray Train decides on is up to 20 s old, and Ray takes a node for alive until its health checks have
    failed for as long. A lost worker would be replaced in the lost node's place meanwhile, and the GCS then
    looks for that place over and over, without a pause, until a node brings it: one and a half CPUs of the
    head's are gone for as long (Ray 2.60). With fewer workers asked for the whole group starts anew, and
    each carries on from its last epoch.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    with ThreadPoolExecutor(max_workers=32) as pool:
        there = list(pool.map(_answers, nodes))
    cpus = (node["Resources"].get("CPU", 0) for node, is_there in zip(nodes, there, strict=True) if is_there)
    return int(sum(cpus))


def _answers(node: dict[str, Any]) -> bool:
    with suppress(OSError):
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), ANSWER_S).close()
        return True
    return False


def run(
    work: Callable[[dict[str, Any]], None],
    settings: dict[str, Any],
    *,
    run_dir: Path,
    name: str,
    workers: int,
    log_dir: Path,
    max_failures: int,
    backend: BackendConfig | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Have from one worker of one CPU to so many, as there is room, do ``work(settings)``; see `in_thread`.

    Cut short, what it has reserved is free for the next run at once; Ray itself keeps it for three minutes.

    Raises
    ------
    TrainingError
        If workers keep dying.
    RayUnavailable
        If the cluster's head is lost.
    """
    trainer = DataParallelTrainer(
        work,
        train_loop_config={"run_dir": storage.address_of(run_dir), **settings},
        backend_config=backend,
        scaling_config=ScalingConfig(
            num_workers=(1, workers) if workers > 1 else 1,
            resources_per_worker={"CPU": 1},
            elastic_resize_monitor_interval_s=GROW_S,
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(log_dir),
            callbacks=[at_most(room)],
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
        ),
    )
    try:
        if not in_thread(trainer.fit, enough=enough):
            give_back_reservation(trainer.train_run_context.run_id)
    except KeyboardInterrupt:
        give_back_reservation(trainer.train_run_context.run_id)
        raise
    except ray.train.TrainingFailedError as error:
        reason = str(error).strip().splitlines()[-1]
        raise TrainingError(
            f"run {run_dir.name}: Ray Train gave up: {reason}. What is done is kept; the same command "
            "continues."
        ) from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise RayUnavailable(
            f"run {run_dir.name}: Ray was lost: {reason} What is done is kept; once the head runs again, the "
            "same command continues."
        ) from error


def in_thread(call: Callable[[], Any], *, enough: Callable[[], bool] = lambda: False) -> bool:
    """Run ``call`` beside the main thread, so that Ctrl-C reaches this process and not Ray's own handler.

    Returns true when it has ended, and false once ``enough`` says that nobody needs its end; raises what it
    raised.
    """
    failures: list[BaseException] = []

    def target() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=target, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(1.0)
        if thread.is_alive() and enough():
            return False
    if failures:
        raise failures[0]
    return True
