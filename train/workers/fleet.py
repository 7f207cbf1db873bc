"""The whole fleet in one Ray Train run: workers pull tasks from a queue until none is left."""

import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
import ray.train
from ray.train.backend import Backend, BackendConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from common import storage
from common.errors import NsecastError, RayUnavailable
from train.run.plan import EpochProgress, Plan, Task
from train.workers.elastic import run
from train.workers.queue import ATTEMPTS, SILENCE_S, TakenAway, TaskQueue

log = logging.getLogger(__name__)

IDLE_S = 0.2
BEAT_S = 2.0
OVER_S = 10.0
"""How long Ray Train may take to end once every task has; it waits for ever for the place of a lost node."""
LOST_S = 35.0
"""A queue that has not answered for so long is lost. Without a head for 60 s, Ray ends this process."""
WORKER_DEATHS = 10
"""Worker processes that may be lost for no task's fault before the run gives up."""


class _IndependentWorkers(Backend):
    """Workers share nothing but the queue, so one that dies is replaced and the others carry on.

    Ray Train restarts the whole group by default; a backend with replica groups, each of one worker,
    makes it replace the dead one alone.
    """

    has_replica_groups = True


class IndependentWorkers(BackendConfig):
    @property
    def backend_cls(self) -> type[Backend]:
        return _IndependentWorkers


class Fleet:
    """One run's queue and trainer.

    Parameters
    ----------
    workers : at most so many; fewer work until the cluster has a CPU for each
    silence_s : a worker that was not heard of for so long has lost its task
    """

    def __init__(
        self, plan: Plan, run_dir: Path, *, workers: int, log_dir: Path, silence_s: float = SILENCE_S
    ) -> None:
        self._run_dir, self._workers, self._log_dir = run_dir, workers, log_dir
        self._tasks = len(plan.tasks)
        # On the driver's node, without which nothing goes on anyway (a soft wish was not granted).
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(TaskQueue)
        self.queue: Any = actor.options(scheduling_strategy=here).remote(
            plan, storage.address_of(run_dir), silence_s=silence_s
        )
        self._over_since: float | None = None
        self._answered = time.monotonic()

    def snapshot(self) -> list[dict[str, Any]]:
        """The jobs as `train.progress.snapshot` describes them."""
        jobs: list[dict[str, Any]] = ray.get(self.queue.snapshot.remote(), timeout=10)
        return jobs

    def workers(self) -> int:
        """How many workers there are; 0 while none has begun."""
        workers: int = ray.get(self.queue.workers.remote(), timeout=10)
        return workers

    def train(self) -> None:
        """Work until every task is done or has failed.

        Raises
        ------
        TrainingError
            If workers keep dying.
        RayUnavailable
            If the cluster's head is lost.
        """
        self._answered = time.monotonic()
        run(
            work,
            {"queue": self.queue},
            run_dir=self._run_dir,
            name=self._run_dir.name,
            workers=self._workers,
            log_dir=self._log_dir,
            max_failures=WORKER_DEATHS + ATTEMPTS * self._tasks,
            backend=IndependentWorkers(),
            enough=self._is_over,
        )

    def _is_over(self) -> bool:
        """Whether every task ended a while ago, so that nobody need wait for a lost node to come back.

        Raises RayUnavailable if the queue has not answered for ``LOST_S``.
        """
        try:
            at_work = any(job["state"] in ("waiting", "running") for job in self.snapshot())
        except ray.exceptions.RayError as error:
            if time.monotonic() - self._answered > LOST_S:
                raise RayUnavailable(
                    f"run {self._run_dir.name}: Ray was lost: the queue has not answered for {LOST_S:.0f} s. "
                    "What is done is kept; once the head runs again, the same command continues."
                ) from error
        else:
            self._answered = time.monotonic()
            if at_work:
                self._over_since = None
            elif self._over_since is None:
                self._over_since = time.monotonic()
        return self._over_since is not None and time.monotonic() - self._over_since > OVER_S


def work(config: dict[str, Any]) -> None:
    """What each worker runs: pull a task, do it, until the queue is empty."""
    from train.fit.loop import one_thread
    from train.run.arrays import open_dataset
    from train.workers.tasks import run_task

    one_thread()
    context = ray.train.get_context()
    rank, queue = context.get_world_rank(), config["queue"]
    key = uuid4().hex
    ray.get(queue.hello.remote(rank, context.get_world_size(), os.getpid(), key))
    try:
        run_dir = storage.locate(config["run_dir"])
        bench = open_dataset(run_dir)
    except NsecastError as error:
        ray.get(queue.abort.remote(error.message))
        return
    with _heartbeat(queue, rank):
        for task in _tasks(queue, rank, key):

            def still_ours(progress: EpochProgress | None = None, id: str = task.id) -> None:
                if not ray.get(queue.progress.remote(id, rank, progress, key)):
                    raise TakenAway(id)

            try:
                run_task(bench, task, still_ours, may_write=still_ours)
            except TakenAway:
                log.warning("task=%s is another worker's now", task.id)
            except Exception as error:
                ray.get(queue.failed.remote(task.id, _reason(run_dir, task, error), rank, key))
            else:
                ray.get(queue.done.remote(task.id))


@contextmanager
def _heartbeat(queue: Any, rank: int) -> Iterator[None]:
    """Tell the queue again and again that this worker lives."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            with suppress(ray.exceptions.RayError):
                queue.beat.remote(rank, os.getpid())

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tasks(queue: Any, rank: int, key: str) -> Iterator[Task]:
    while (task := ray.get(queue.lease.remote(rank, key))) != "end":
        if task == "wait":
            time.sleep(IDLE_S)
        else:
            yield task


def _reason(run_dir: Path, task: Task, error: Exception) -> str:
    """One line for people; the traceback goes to a file beside the task."""
    trace = run_dir / "errors" / f"{task.id.replace('/', '-')}.log"
    text = error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"
    try:
        storage.write_bytes(trace, "".join(traceback.format_exception(error)).encode())
    except (OSError, storage.StorageError) as trouble:
        return f"{text} (the details could not be written: {trouble})"
    return f"{text} (see errors/{trace.name} in the run's folder)"
