"""The general model's fits, each by several workers together, before the fleet does what is left.

The same files as `train.jobs` writes, so whatever was not finished here is continued there, and the other way
round: the sums are those of one worker, added in another order.
"""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import ray
import ray.train
import ray.train.collective

from common import storage
from common.errors import ConfigError, TrainingError
from common.model.bundle import GENERAL
from train.arrays import MappedBench, save_arrays
from train.elastic import run
from train.plan import Plan, Progress, Task, finished
from train.queue import ATTEMPTS, TakenAway
from train.state import save_result
from train.team import Team, join
from train.workbench import RunSpec, Workbench

LOOPBACK = "127.0.0.1"


def train_general(bench: Workbench, plan: Plan, queue: Any, *, workers: int, log_dir: Path) -> None:
    """Fit the networks of the general model that are not finished, one after the other.

    Parameters
    ----------
    queue : actor handle of `train.queue.TaskQueue`
        Told of epochs, ends and failures.
    workers : int
        How many train together, fewer while there is room for no more. If one dies, all start again
        from the last epoch on storage.

    Raises
    ------
    ConfigError
        If there are more workers than windows in a batch.
    TrainingError
        If workers keep dying.
    RayUnavailable
        If the cluster's head is lost.
    """
    config = bench.config.general
    if workers > config.batch_size:
        raise ConfigError(
            f"general workers: got {workers}, need at most {config.batch_size}: one for a window of a batch."
        )
    tasks = [task for task in plan.tasks if task.job == GENERAL and task.epochs]
    tasks = [task for task in tasks if finished(bench.run_dir, task.id) is None]
    if not tasks:
        return
    save_arrays(bench)
    run(
        work,
        {"queue": queue, "tasks": tasks, "key": secrets.token_bytes(32)},
        run_dir=bench.run_dir,
        name=f"{bench.run_dir.name}-general",
        workers=workers,
        log_dir=log_dir,
        max_failures=ATTEMPTS * len(tasks),
    )


def work(config: dict[str, Any]) -> None:
    """What each worker runs."""
    from train.loop import one_thread

    one_thread()
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    queue, run_dir, mine = config["queue"], storage.locate(config["run_dir"]), uuid4().hex
    ray.get(queue.hello.remote(rank, size, os.getpid(), mine))
    one_node = context.get_local_world_size() == size
    team = join(
        rank,
        size,
        host=LOOPBACK if one_node else ray.util.get_node_ip_address(),
        key=config["key"],
        meet=ray.train.collective.broadcast_from_rank_zero,
    )
    bench = MappedBench(run_dir, RunSpec.load(run_dir))
    for task in config["tasks"]:

        def still_ours(progress: Progress | None = None, id: str = task.id) -> None:
            if not ray.get(queue.progress.remote(id, rank, progress, mine)):
                raise TakenAway(id)

        try:
            _fit(bench, task, team, still_ours)
        except TrainingError as error:  # of what all of them computed, so none of them waits for this one
            if rank == 0:
                ray.get(queue.failed.remote(task.id, error.message, rank, mine))
        else:
            if rank == 0:
                ray.get(queue.done.remote(task.id))


def _fit(bench: MappedBench, task: Task, team: Team, still_ours: Callable[[Progress | None], None]) -> None:
    from train.fit import fit
    from train.loop import loop_of

    if team.share(np.array([finished(bench.run_dir, task.id) is not None]))[0]:
        return
    started, folder = time.monotonic(), bench.task_dir(task.id)
    log_dir = bench.log_dir(task.id)
    network, config = bench.network_config(task.phase), bench.fit_config(task.phase)
    state = fit(
        loop_of(bench.network_shape, network, config, bench.representation, team),
        bench.general_data,
        config,
        seed=bench.config.seed + task.number,
        state_path=folder / "state.npz",
        on_epoch=still_ours,
        log_dir=log_dir,
    )
    if team.rank == 0:
        still_ours(None)
        storage.push(log_dir)
        save_result(folder, state, time.monotonic() - started)
