"""The queue that workers lease tasks from; it runs as an actor that reserves no CPU."""

import heapq
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import storage
from train.run.plan import EpochProgress, Plan, Task, stored_epochs, stored_result

ATTEMPTS = 3
"""A task fails when its worker has died this many times without finishing an epoch."""
SILENCE_S = 30.0
"""A worker that has been silent for longer loses its task: its node may be gone."""


class TakenAway(Exception):
    """The task now belongs to another worker, so this one must not write its result."""


@dataclass
class _Entry:
    task: Task
    position: int
    """Index in the plan."""
    missing: int
    """Number of tasks it needs that are not done."""
    needed_by: list["_Entry"] = field(default_factory=list)
    state: str = "waiting"
    """waiting, running, done or failed; changed only by `TaskQueue._set_state`."""
    rank: int = -1
    """The worker that has the task, while it is running."""
    pid: int | None = None
    deaths: int = 0
    progress: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    resumed: float = 0.0
    """The part of its cost that was done before this queue started."""

    @property
    def work(self) -> float:
        """The part of its cost that is done."""
        done = self.state in ("done", "failed")
        return self.task.cost if done else self.work_after(self.progress.get("epoch", 0))

    def work_after(self, epochs: int) -> float:
        return self.task.cost * epochs / self.task.epochs if self.task.epochs else 0.0


class TaskQueue:
    """Leases out the tasks whose needs are met, those that start the longest remaining chain first.

    Finished tasks are read from the run's folder, so a queue that restarts loses no result. A worker that was
    cut off may return after its task was given to another: it asks before it writes (see `progress`), and its
    ``key`` distinguishes it from the worker that has its rank by then.
    """

    def __init__(
        self,
        plan: Plan,
        run_dir: Path | str,
        *,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._run_dir = plan, storage.locate(run_dir)
        self._silence_s, self._clock, self._world = silence_s, clock, 0
        self._keys: dict[int, str | None] = {}
        self._replaced: set[str | None] = set()
        self._pids: dict[int, int] = {}
        self._heard: dict[int, float] = {}
        self._priority = plan.priorities
        self._entries = {
            task.id: _Entry(task, position, len(set(task.needs))) for position, task in enumerate(plan.tasks)
        }
        self._waiting = len(self._entries)
        self._running: dict[str, _Entry] = {}
        self._ready: list[tuple[float, int, str]] = []
        """A heap of (negative priority, position, task id); entries that are no longer ready are skipped."""
        for entry in self._entries.values():
            self._offer(entry)
            for need in set(entry.task.needs):
                self._entries[need].needed_by.append(entry)
        with storage.listed_once(self._run_dir / "tasks", "result.json", "state.npz"):
            for entry in self._entries.values():
                if stored_result(self._run_dir, entry.task.id) is not None:
                    self._set_state(entry, "done")
                    entry.resumed = entry.task.cost
                elif epochs := stored_epochs(self._run_dir, entry.task.id):
                    entry.progress, entry.resumed = _stored_progress(epochs), entry.work_after(len(epochs))

    def hello(self, rank: int, world_size: int, pid: int, key: str | None = None) -> None:
        """Register a new worker process, and free the task of the process that had its rank before.

        If the number of workers has changed, all of them are new, and no task is to blame for that.
        """
        resized = self._world not in (0, world_size)
        replaced = [other for other in self._keys if resized or other == rank]
        self._replaced |= {self._keys.pop(other) for other in replaced} - {None}
        for entry in self._running_tasks():
            if resized or entry.rank >= world_size:
                self._set_state(entry, "waiting")
            elif entry.rank == rank:
                self._lose(entry)
        self._world, self._keys[rank], self._pids[rank] = world_size, key, pid
        self._heard[rank] = self._clock()

    def beat(self, rank: int, pid: int) -> None:
        """Record that a worker is alive, however long its epoch takes."""
        if self._pids.get(rank) == pid:
            self._heard[rank] = self._clock()

    def lease(self, rank: int, key: str | None = None) -> Task | str:
        """Return the next task for a worker: ``"wait"`` if none is ready yet, ``"end"`` if none is left.

        This frees the tasks of silent workers, and a task that still counts as this worker's own.
        """
        if key in self._replaced:
            return "end"
        self._heard[rank] = now = self._clock()
        for entry in self._running_tasks():
            if entry.rank == rank:
                self._set_state(entry, "waiting")
            elif now - self._heard.setdefault(entry.rank, now) > self._silence_s:
                self._lose(entry)
        while self._ready:
            entry = self._entries[heapq.heappop(self._ready)[-1]]
            if entry.state == "waiting" and not entry.missing:
                self._set_state(entry, "running")
                entry.rank, entry.pid = rank, self._pids.get(rank)
                return entry.task
        return "wait" if self._waiting or self._running else "end"

    def progress(
        self, task_id: str, rank: int, progress: EpochProgress | None, key: str | None = None
    ) -> bool:
        """Record a finished epoch (None before a worker writes a result); return whether it has the task.

        A worker still has its task if no other worker has leased it since.
        """
        entry = self._entries[task_id]
        if not self._is_of(entry, rank, key):
            return False
        self._set_state(entry, "running")
        entry.rank = rank
        if progress is not None:
            entry.progress, entry.deaths = asdict(progress), 0
            entry.resumed = min(entry.resumed, entry.work_after(progress.epoch - 1))
        return True

    def done(self, task_id: str) -> None:
        self._set_state(self._entries[task_id], "done")

    def failed(self, task_id: str, reason: str, rank: int | None = None, key: str | None = None) -> None:
        """Record that a task failed, unless another worker has it by now."""
        entry = self._entries[task_id]
        if rank is None or self._is_of(entry, rank, key):
            self._fail(entry, reason)

    def abort(self, reason: str) -> None:
        """Fail all tasks that are left."""
        for entry in self._entries.values():
            if entry.state in ("waiting", "running"):
                self._set_state(entry, "failed")
                entry.reason = reason

    def workers(self) -> int:
        """Return the number of workers in Ray Train's group; 0 before the first has registered."""
        return self._world

    def snapshot(self) -> list[dict[str, Any]]:
        """Return one dict per job, described in `train.progress.snapshot`."""
        by_job: dict[str, list[_Entry]] = {job: [] for job in self._plan.jobs}
        for entry in self._entries.values():
            by_job[entry.task.job].append(entry)
        return [_describe(job, entries, self._plan.skipped.get(job)) for job, entries in by_job.items()]

    def _is_of(self, entry: _Entry, rank: int, key: str | None) -> bool:
        free_or_own = entry.state == "waiting" or (entry.state == "running" and entry.rank == rank)
        return free_or_own and key not in self._replaced

    def _running_tasks(self) -> list[_Entry]:
        """The tasks that are running, in the order of the plan."""
        return sorted(self._running.values(), key=lambda entry: entry.position)

    def _set_state(self, entry: _Entry, state: str) -> None:
        """Change a task's state, and update what depends on it."""
        before, entry.state = entry.state, state
        self._waiting += (state == "waiting") - (before == "waiting")
        if state == "running":
            self._running[entry.task.id] = entry
        else:
            self._running.pop(entry.task.id, None)
        if (before == "done") != (state == "done"):
            for other in entry.needed_by:
                other.missing += -1 if state == "done" else 1
                self._offer(other)
        self._offer(entry)

    def _offer(self, entry: _Entry) -> None:
        if entry.state == "waiting" and not entry.missing:
            heapq.heappush(self._ready, (-self._priority[entry.task.id], entry.position, entry.task.id))

    def _lose(self, entry: _Entry) -> None:
        entry.deaths += 1
        self._set_state(entry, "waiting")
        if entry.deaths >= ATTEMPTS:
            self._fail(entry, f"its worker died {entry.deaths} times")

    def _fail(self, entry: _Entry, reason: str) -> None:
        self._set_state(entry, "failed")
        entry.reason = reason
        for other in entry.needed_by:
            if other.state == "waiting":
                self._fail(other, f"{entry.task.id}: {reason}")


def _describe(job: str, entries: list[_Entry], skipped: str | None) -> dict[str, Any]:
    """Describe a job by the task that runs, else by the next fit, else by the last one with progress."""
    running = [entry for entry in entries if entry.state == "running"]
    next_fit = [entry for entry in entries if entry.state == "waiting" and entry.task.epochs][:1]
    candidates = running or next_fit or [entry for entry in entries if entry.progress] or entries
    progress = candidates[-1].progress if candidates else {}
    active = running[-1] if running else None
    failures = [entry.reason for entry in entries if entry.state == "failed"]
    states = {entry.state for entry in entries}
    state = next((state for state in ("failed", "running", "waiting") if state in states), "done")
    return {
        "job": job,
        "state": "skipped" if skipped else state,
        "phase": active.task.id.split("/")[1] if active else None,
        "worker": active.rank if active else None,
        "pid": active.pid if active else None,
        "epoch": progress.get("epoch", 0),
        "epochs": candidates[-1].task.epochs if candidates else 0,
        **{name: progress.get(name) for name in ("loss", "mae", "val_loss", "best_epoch")},
        "eta_s": progress.get("eta_s") if active else None,
        "work_done": sum(entry.work for entry in entries),
        "work_total": sum(entry.task.cost for entry in entries),
        "work_resumed": sum(entry.resumed for entry in entries),
        "reason": skipped or (failures[0] if failures else None),
    }


def _stored_progress(epochs: list[dict[str, Any]]) -> dict[str, Any]:
    best = min(epochs, key=lambda epoch: epoch["val_loss"])
    return epochs[-1] | {"mae": epochs[-1]["rel_mae"], "best_epoch": best["epoch"]}
