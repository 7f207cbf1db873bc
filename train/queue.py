"""The queue that workers pull tasks from; an actor without a CPU of its own."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from train.plan import Plan, Progress, Task, finished

ATTEMPTS = 3
"""A task whose worker died so often without finishing an epoch is given up."""
SILENCE_S = 30.0
"""A worker that was not heard of for so long has lost what it held: its node may be gone."""


@dataclass
class _Entry:
    task: Task
    state: str = "waiting"
    """waiting, running, done, failed"""
    rank: int | None = None
    pid: int | None = None
    deaths: int = 0
    progress: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    resumed: bool = False


class TaskQueue:
    """Hands out tasks whose needs are met, the head of the longest remaining chain first.

    What is finished is read from the run's folder, so a queue that is restarted loses no result.
    """

    def __init__(self, plan: Plan, run_dir: Path) -> None:
        self._plan, self._run_dir = plan, run_dir
        self._pids: dict[int, int] = {}
        self._heard: dict[int, float] = {}
        self._priority = plan.priorities
        self._entries = {task.id: _Entry(task) for task in plan.tasks}
        for entry in self._entries.values():
            if finished(run_dir, entry.task.id) is not None:
                entry.state, entry.resumed = "done", True

    def hello(self, rank: int, world_size: int, pid: int) -> None:
        """A worker process begins: what an earlier process of that rank held is free again."""
        self._pids[rank] = pid
        self._heard[rank] = time.monotonic()
        for entry in self._entries.values():
            if entry.state == "running" and (entry.rank == rank or (entry.rank or 0) >= world_size):
                self._lose(entry)

    def beat(self, rank: int, pid: int) -> None:
        """A worker lives, however long its epoch takes."""
        if self._pids.get(rank) == pid:
            self._heard[rank] = time.monotonic()

    def lease(self, rank: int) -> Task | str:
        """The next task for a worker; ``"wait"`` if all left are blocked, ``"end"`` if none is left.

        A worker that asks holds nothing: what still counts as its own is free again, and so is what is held
        by one that is silent, since nothing says when its node's place is filled.
        """
        self._heard[rank] = now = time.monotonic()
        for entry in self._entries.values():
            if entry.state == "running" and now - self._heard.setdefault(entry.rank or 0, now) > SILENCE_S:
                self._lose(entry)
        for entry in self._entries.values():
            if entry.state == "running" and entry.rank == rank:
                entry.state, entry.rank = "waiting", None
        ready = [e for e in self._entries.values() if e.state == "waiting" and self._is_ready(e.task)]
        if not ready:
            left = any(entry.state in ("waiting", "running") for entry in self._entries.values())
            return "wait" if left else "end"
        entry = max(ready, key=lambda e: self._priority[e.task.id])
        entry.state, entry.rank, entry.pid = "running", rank, self._pids.get(rank)
        return entry.task

    def progress(self, task_id: str, rank: int, progress: Progress) -> None:
        """An epoch of a task is done; what comes late, from a process since replaced, changes nothing."""
        entry = self._entries[task_id]
        if entry.state in ("done", "failed"):
            return
        entry.state, entry.rank, entry.progress, entry.deaths = "running", rank, asdict(progress), 0

    def done(self, task_id: str) -> None:
        self._entries[task_id].state = "done"

    def failed(self, task_id: str, reason: str) -> None:
        self._fail(self._entries[task_id], reason)

    def abort(self, reason: str) -> None:
        """Nothing that is left can be done."""
        for entry in self._entries.values():
            if entry.state in ("waiting", "running"):
                entry.state, entry.reason = "failed", reason

    def snapshot(self) -> list[dict[str, Any]]:
        """One dict per job, as `train.snapshot` describes."""
        by_job: dict[str, list[_Entry]] = {job: [] for job in self._plan.jobs}
        for entry in self._entries.values():
            by_job[entry.task.job].append(entry)
        return [_job(job, entries, self._plan.skipped.get(job)) for job, entries in by_job.items()]

    def _lose(self, entry: _Entry) -> None:
        entry.deaths += 1
        entry.state, entry.rank = "waiting", None
        if entry.deaths >= ATTEMPTS:
            self._fail(entry, f"its worker died {entry.deaths} times")

    def _is_ready(self, task: Task) -> bool:
        return all(self._entries[need].state == "done" for need in task.needs)

    def _fail(self, entry: _Entry, reason: str) -> None:
        entry.state, entry.reason = "failed", reason
        for other in self._entries.values():
            if entry.task.id in other.task.needs and other.state == "waiting":
                self._fail(other, f"{entry.task.id}: {reason}")


def _job(job: str, entries: list[_Entry], skipped: str | None) -> dict[str, Any]:
    active = [entry for entry in entries if entry.state == "running"]
    shown = (active or [entry for entry in entries if entry.progress] or entries or [None])[-1]
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
        "work_resumed": sum(entry.task.cost for entry in entries if entry.resumed),
        "reason": skipped or (failures[0] if failures else None),
    }


def _work(entry: _Entry) -> float:
    if entry.state in ("done", "failed"):
        return entry.task.cost
    if not entry.task.epochs:
        return 0.0
    return entry.task.cost * entry.progress.get("epoch", 0) / entry.task.epochs
