"""A run's record on storage, kept up to date while it is at work."""

import contextlib
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import storage
from train.progress.runs import write_progress
from train.run.dataset import RunSpec
from train.run.plan import Plan
from train.workers.queue import TaskQueue

if TYPE_CHECKING:
    from train.workers.fleet import Fleet

log = logging.getLogger(__name__)

INTERVAL_S = 2.0


class ProgressRecord(contextlib.AbstractContextManager["ProgressRecord"]):
    """Keeps the run's record on storage, and the snapshot for the table, up to date from a thread."""

    def __init__(self, run_id: str, folder: Path, spec: RunSpec, plan: Plan) -> None:
        self._run_id, self._folder, self._spec, self._started = run_id, folder, spec, time.time()
        self.state, self.workers = "starting", 0
        self.fleet: Fleet | None = None
        self.jobs: list[dict[str, Any]] = TaskQueue(plan, folder).snapshot()
        self._pace: dict[str, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="run-record", daemon=True)

    def watch(self, fleet: "Fleet", state: str) -> None:
        """Show a fleet that begins to work."""
        self.fleet, self.state, self._pace = fleet, state, None

    def refresh(self) -> None:
        fleet = self.fleet
        if fleet is not None:
            jobs, workers = fleet.snapshot(), fleet.workers()
            if self.fleet is not None:
                self.jobs, self.workers = jobs, workers or self.workers
                done, resumed = (sum(job[f"work_{what}"] for job in jobs) for what in ("done", "resumed"))
                if self._pace is None and done > resumed:  # the first epoch took the compiler's time, too
                    self._pace = {"since": time.time(), "work": done}

    def poll(self) -> dict[str, Any]:
        self.refresh()
        return self._snapshot()

    def _snapshot(self) -> dict[str, Any]:
        return {
            "run": self._run_id,
            "source": self._spec.source,
            "preset": self._spec.config.preset,
            "started": self._started,
            "workers": self.workers,
            "state": self.state,
            "pace": self._pace,
            "jobs": self.jobs,
        }

    def _loop(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            with contextlib.suppress(Exception):
                self.refresh()
            self._write(self._snapshot())

    def __enter__(self) -> "ProgressRecord":
        self._write(self._snapshot())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None:
            self.state = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        self._write(self._snapshot() | {"finished": time.time()})

    def _write(self, snapshot: dict[str, Any]) -> None:
        """A record that cannot be written must not end a run that can go on."""
        try:
            write_progress(self._folder, snapshot)
        except (OSError, storage.StorageError) as error:
            log.warning("run=%s record not written: %s", self._run_id, error)
