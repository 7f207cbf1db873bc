"""The queue that workers pull tasks from; an actor without a CPU of its own."""

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import storage
from train.run.plan import EpochProgress, Plan, Task, finished, history

ATTEMPTS = 3
"""A task whose worker died so often without finishing an epoch is given up."""
SILENCE_S = 30.0
"""A worker that was not heard of for so long has lost what it held: its node may be gone."""


class TakenAway(Exception):
    """A worker's task is another's now: what it found is not to be written."""


@dataclass
class _Entry:
    task: Task
    place: int
    """In the plan."""
    missing: int
    """Tasks it needs that are not done."""
    state: str = "waiting"
    """waiting, running, done, failed; changed by `TaskQueue._enter` alone."""
    rank: int | None = None
    pid: int | None = None
    deaths: int = 0
    progress: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    kept: int = 0
    """Epochs that were there before this queue."""
    resumed: bool = False


class TaskQueue:
    """Hands out tasks whose needs are met, the head of the longest remaining chain first.

    Handing out a task takes time in proportion to the workers and to the logarithm of the tasks: tasks whose
    needs are met are in a heap, and each knows which others need it.

    What is finished is read from the run's folder, so a queue that is restarted loses no result. A worker
    whose network was cut may come back when its task is another's: it asks before it writes (`progress`). Its
    ``key`` tells it from the one that has its rank by then.
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
        self._replaced: set[str] = set()
        self._pids: dict[int, int] = {}
        self._heard: dict[int, float] = {}
        self._priority = plan.priorities
        self._entries = {
            task.id: _Entry(task, place, len(set(task.needs))) for place, task in enumerate(plan.tasks)
        }
        self._needed_by: dict[str, list[_Entry]] = {id: [] for id in self._entries}
        for entry in self._entries.values():
            for need in set(entry.task.needs):
                self._needed_by[need].append(entry)
        self._counts = Counter(waiting=len(self._entries))
        self._running: dict[str, _Entry] = {}
        self._ready: list[tuple[float, int, str]] = []
        """A heap: priority (negative), place in the plan, task. One that was taken since is passed over."""
        for entry in self._entries.values():
            self._offer(entry)
        with storage.looked(self._run_dir / "tasks", "result.json", "state.npz"):
            for entry in self._entries.values():
                if finished(self._run_dir, entry.task.id) is not None:
                    self._enter(entry, "done")
                    entry.resumed = True
                elif epochs := history(self._run_dir, entry.task.id):
                    entry.kept, entry.progress = len(epochs), _stored(epochs)

    def hello(self, rank: int, world_size: int, pid: int, key: str | None = None) -> None:
        """A worker process begins: what an earlier process of that rank held is free again.

        In a world of another size all workers are new ones, and the old ones did not die of their tasks.
        """
        resized = self._world not in (0, world_size)
        for other in [each for each in self._keys if resized or each == rank]:
            if (old := self._keys.pop(other)) is not None:
                self._replaced.add(old)
        for entry in self._held():
            if resized or (entry.rank or 0) >= world_size:
                self._free(entry)
            elif entry.rank == rank:
                self._lose(entry)
        self._world, self._keys[rank], self._pids[rank] = world_size, key, pid
        self._heard[rank] = self._clock()

    def beat(self, rank: int, pid: int) -> None:
        """A worker lives, however long its epoch takes."""
        if self._pids.get(rank) == pid:
            self._heard[rank] = self._clock()

    def lease(self, rank: int, key: str | None = None) -> Task | str:
        """The next task for a worker; ``"wait"`` if all left are blocked, ``"end"`` if none is left for it.

        A worker that asks holds nothing: what still counts as its own is free again, and so is what is held
        by one that is silent, since nothing says when its node's place is filled.
        """
        if key in self._replaced:
            return "end"
        self._heard[rank] = now = self._clock()
        for entry in self._held():
            if now - self._heard.setdefault(entry.rank or 0, now) > self._silence_s:
                self._lose(entry)
        for entry in self._held():
            if entry.rank == rank:
                self._free(entry)
        while self._ready:
            entry = self._entries[heapq.heappop(self._ready)[-1]]
            if entry.state == "waiting" and not entry.missing:
                self._enter(entry, "running")
                entry.rank, entry.pid = rank, self._pids.get(rank)
                return entry.task
        return "wait" if self._counts["waiting"] or self._counts["running"] else "end"

    def progress(
        self, task_id: str, rank: int, progress: EpochProgress | None, key: str | None = None
    ) -> bool:
        """An epoch of a task is done, or with None something is to be written: whether the task is still
        this worker's. What nobody else has taken up is."""
        entry = self._entries[task_id]
        if not self._is_of(entry, rank, key):
            return False
        self._enter(entry, "running")
        entry.rank = rank
        if progress is not None:
            entry.progress, entry.deaths = asdict(progress), 0
            entry.kept = min(entry.kept, progress.epoch - 1)
        return True

    def done(self, task_id: str) -> None:
        self._enter(self._entries[task_id], "done")

    def failed(self, task_id: str, reason: str, rank: int | None = None, key: str | None = None) -> None:
        """A task cannot be done, unless it is another's by now."""
        entry = self._entries[task_id]
        if rank is None or self._is_of(entry, rank, key):
            self._fail(entry, reason)

    def abort(self, reason: str) -> None:
        """Nothing that is left can be done."""
        for entry in self._entries.values():
            if entry.state in ("waiting", "running"):
                self._enter(entry, "failed")
                entry.reason = reason

    def workers(self) -> int:
        """How many workers Ray Train has started together; 0 before the first said so."""
        return self._world

    def snapshot(self) -> list[dict[str, Any]]:
        """One dict per job, as `train.progress.snapshot` describes."""
        by_job: dict[str, list[_Entry]] = {job: [] for job in self._plan.jobs}
        for entry in self._entries.values():
            by_job[entry.task.job].append(entry)
        return [_job(job, entries, self._plan.skipped.get(job)) for job, entries in by_job.items()]

    def _is_of(self, entry: _Entry, rank: int, key: str | None) -> bool:
        free_or_own = entry.state == "waiting" or (entry.state == "running" and entry.rank == rank)
        return free_or_own and key not in self._replaced

    def _held(self) -> list[_Entry]:
        """The tasks that are running, in the order of the plan."""
        return sorted(self._running.values(), key=lambda entry: entry.place)

    def _enter(self, entry: _Entry, state: str) -> None:
        """Change a task's state, and with it all that follows from it."""
        before, entry.state = entry.state, state
        self._counts[before] -= 1
        self._counts[state] += 1
        if state == "running":
            self._running[entry.task.id] = entry
        else:
            self._running.pop(entry.task.id, None)
        if (before == "done") != (state == "done"):
            for other in self._needed_by[entry.task.id]:
                other.missing += -1 if state == "done" else 1
                self._offer(other)
        self._offer(entry)

    def _offer(self, entry: _Entry) -> None:
        if entry.state == "waiting" and not entry.missing:
            heapq.heappush(self._ready, (-self._priority[entry.task.id], entry.place, entry.task.id))

    def _free(self, entry: _Entry) -> None:
        self._enter(entry, "waiting")
        entry.rank = None

    def _lose(self, entry: _Entry) -> None:
        entry.deaths += 1
        self._free(entry)
        if entry.deaths >= ATTEMPTS:
            self._fail(entry, f"its worker died {entry.deaths} times")

    def _fail(self, entry: _Entry, reason: str) -> None:
        self._enter(entry, "failed")
        entry.reason = reason
        for other in self._needed_by[entry.task.id]:
            if other.state == "waiting":
                self._fail(other, f"{entry.task.id}: {reason}")


def _job(job: str, entries: list[_Entry], skipped: str | None) -> dict[str, Any]:
    active = [entry for entry in entries if entry.state == "running"]
    next_fit = [entry for entry in entries if entry.state == "waiting" and entry.task.epochs][:1]
    found = active or next_fit or [entry for entry in entries if entry.progress] or entries
    shown = found[-1] if found else None
    progress = shown.progress if shown else {}
    failures = [entry.reason for entry in entries if entry.state == "failed"]
    if skipped:
        state = "skipped"
    elif failures:
        state = "failed"
    elif entries and all(entry.state == "done" for entry in entries):
        state = "done"
    else:
        state = "running" if active else "waiting"
    return {
        "job": job,
        "state": state,
        "phase": active[-1].task.id.split("/")[1] if active else None,
        "worker": active[-1].rank if active else None,
        "pid": active[-1].pid if active else None,
        "epoch": progress.get("epoch", 0),
        "epochs": shown.task.epochs if shown else 0,
        "loss": progress.get("loss"),
        "mae": progress.get("mae"),
        "val_loss": progress.get("val_loss"),
        "best_epoch": progress.get("best_epoch"),
        "eta_s": progress.get("eta_s") if active else None,
        "work_done": sum(map(_work, entries)),
        "work_total": sum(entry.task.cost for entry in entries),
        "work_resumed": sum(map(_resumed, entries)),
        "reason": skipped or (failures[0] if failures else None),
    }


def _work(entry: _Entry) -> float:
    done = entry.state in ("done", "failed")
    return entry.task.cost if done else _of_epochs(entry.task, entry.progress.get("epoch", 0))


def _resumed(entry: _Entry) -> float:
    return entry.task.cost if entry.resumed else _of_epochs(entry.task, entry.kept)


def _of_epochs(task: Task, epochs: int) -> float:
    return task.cost * epochs / task.epochs if task.epochs else 0.0


def _stored(epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """A fit's progress, by what it stored."""
    last = epochs[-1]
    shown = {name: last[name] for name in ("epoch", "loss", "val_loss")}
    return shown | {"mae": last["rel_mae"], "best_epoch": min(epochs, key=lambda e: e["val_loss"])["epoch"]}
