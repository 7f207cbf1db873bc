"""One Ray Train run for all models: workers lease tasks from a queue until none is left."""

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
from ray.train.v2.api.config import ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.connect.ray_private import at_most, give_back_reservation
from common import storage
from common.errors import NsecastError, RayUnavailable, TrainingError
from train.run.plan import EpochProgress, Plan, Task
from train.workers.elastic import in_thread, room
from train.workers.queue import ATTEMPTS, SILENCE_S, TakenAway, TaskQueue

log = logging.getLogger(__name__)

IDLE_S = 0.2
BEAT_S = 2.0
GROW_S = 20.0
"""How often Ray Train checks whether there is room for more workers; adding some restarts all of them."""
OVER_S = 10.0
"""How long to wait for Ray Train after the last task: it waits forever for a lost node to be replaced."""
LOST_S = 35.0
"""A queue that has been silent for longer is lost. Ray ends this process after 60 s without a head."""
WORKER_DEATHS = 10
"""Worker processes that may die through no fault of their tasks before the run fails."""


class _IndependentWorkers(Backend):
    """Workers share only the queue, so one that dies is replaced while the others continue.

    Ray Train restarts the whole group by default; with a backend that has replica groups, each of one worker,
    it replaces only the dead one.
    """

    has_replica_groups = True


class IndependentWorkers(BackendConfig):
    @property
    def backend_cls(self) -> type[Backend]:
        return _IndependentWorkers


class Fleet:
    """The queue and the trainer of one run.

    Parameters
    ----------
    workers : the most workers to start; there are fewer while the cluster has too few CPUs
    silence_s : a worker that has been silent for longer loses its task
    """

    def __init__(
        self, plan: Plan, run_dir: Path, *, workers: int, log_dir: Path, silence_s: float = SILENCE_S
    ) -> None:
        self._run_dir, self._workers, self._log_dir = run_dir, workers, log_dir
        self._tasks = len(plan.tasks)
        # On the driver's node, which the run needs anyway (Ray ignored a soft affinity).
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(TaskQueue)
        self.queue: Any = actor.options(scheduling_strategy=here).remote(
            plan, storage.address_of(run_dir), silence_s=silence_s
        )
        self._over_since: float | None = None
        self._answered = time.monotonic()

    def snapshot(self) -> list[dict[str, Any]]:
        """Return the state of each job, described in `train.progress.snapshot`."""
        return list(ray.get(self.queue.snapshot.remote(), timeout=10))

    def workers(self) -> int:
        """Return the number of workers; 0 before the first has started."""
        return int(ray.get(self.queue.workers.remote(), timeout=10))

    def train(self) -> None:
        """Run the workers until every task is done or has failed.

        An interrupted run frees its CPUs at once; Ray itself reserves them for three more minutes.

        Raises
        ------
        TrainingError
            If workers keep dying.
        RayUnavailable
            If the cluster's head is lost.
        """
        self._answered, run = time.monotonic(), self._run_dir.name
        trainer = DataParallelTrainer(
            work,
            train_loop_config={"run_dir": storage.address_of(self._run_dir), "queue": self.queue},
            backend_config=IndependentWorkers(),
            scaling_config=ScalingConfig(
                num_workers=(1, self._workers) if self._workers > 1 else 1,
                resources_per_worker={"CPU": 1},
                elastic_resize_monitor_interval_s=GROW_S,
            ),
            run_config=ray.train.RunConfig(
                name=run,
                storage_path=str(self._log_dir),
                callbacks=[at_most(room)],
                failure_config=ray.train.FailureConfig(max_failures=WORKER_DEATHS + ATTEMPTS * self._tasks),
            ),
        )
        try:
            if not in_thread(trainer.fit, enough=self._is_over):
                give_back_reservation(trainer.train_run_context.run_id)
        except KeyboardInterrupt:
            give_back_reservation(trainer.train_run_context.run_id)
            raise
        except ray.train.TrainingFailedError as error:
            reason = str(error).strip().splitlines()[-1]
            raise TrainingError(
                f"run {run}: Ray Train gave up: {reason}. What is done is kept; the same command continues."
            ) from error
        except ray.exceptions.RayError as error:
            raise self._lost(str(error).strip().splitlines()[0]) from error

    def _is_over(self) -> bool:
        """Whether every task ended ``OVER_S`` ago; raises RayUnavailable if the queue is lost."""
        try:
            working = any(job["state"] in ("waiting", "running") for job in self.snapshot())
        except ray.exceptions.RayError as error:
            if time.monotonic() - self._answered > LOST_S:
                raise self._lost(f"the queue has not answered for {LOST_S:.0f} s.") from error
        else:
            self._answered = time.monotonic()
            self._over_since = None if working else self._over_since or self._answered
        return self._over_since is not None and time.monotonic() - self._over_since > OVER_S

    def _lost(self, reason: str) -> RayUnavailable:
        return RayUnavailable(
            f"run {self._run_dir.name}: Ray was lost: {reason} What is done is kept; once the head runs "
            "again, the same command continues."
        )


def work(config: dict[str, Any]) -> None:
    """Do the work of one worker: lease tasks and run them until the queue is empty."""
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
        dataset = open_dataset(run_dir)
    except NsecastError as error:
        ray.get(queue.abort.remote(error.message))
        return
    with _heartbeat(queue, rank):
        while (task := ray.get(queue.lease.remote(rank, key))) != "end":
            if task == "wait":
                time.sleep(IDLE_S)
                continue

            def report(progress: EpochProgress | None = None, id: str = task.id) -> None:
                if not ray.get(queue.progress.remote(id, rank, progress, key)):
                    raise TakenAway(id)

            try:
                run_task(dataset, task, report, may_write=report)
            except TakenAway:
                log.warning("task=%s now belongs to another worker", task.id)
            except Exception as error:
                ray.get(queue.failed.remote(task.id, _reason(run_dir, task, error), rank, key))
            else:
                ray.get(queue.done.remote(task.id))


@contextmanager
def _heartbeat(queue: Any, rank: int) -> Iterator[None]:
    """Report to the queue every ``BEAT_S`` that this worker is alive, while the block runs."""
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


def _reason(run_dir: Path, task: Task, error: Exception) -> str:
    """Write the traceback to the run's folder, and return one line for people."""
    trace = run_dir / "errors" / f"{task.id.replace('/', '-')}.log"
    text = error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"
    try:
        storage.write_bytes(trace, "".join(traceback.format_exception(error)).encode())
    except (OSError, storage.StorageError) as unwritten:
        return f"{text} (the details could not be written: {unwritten})"
    return f"{text} (see errors/{trace.name} in the run's folder)"
