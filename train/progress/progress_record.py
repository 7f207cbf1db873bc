"""Keep a run's record on storage up to date while it runs."""

import logging
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from common import storage
from train.progress.runs import write_progress
from train.run.dataset import RunSpec
from train.run.plan import Plan
from train.workers.queue import TaskQueue

if TYPE_CHECKING:
    from train.workers.fleet import Fleet

log = logging.getLogger(__name__)

INTERVAL_S = 2.0


class ProgressRecord:
    """Writes the run's record from a thread, and returns snapshots for the live table."""

    def __init__(self, folder: Path, spec: RunSpec, plan: Plan) -> None:
        self._folder, self._spec, self._started = folder, spec, time.time()
        self.state, self.workers = "starting", 0
        self.fleet: Fleet | None = None
        self.jobs: list[dict[str, Any]] = TaskQueue(plan, folder).snapshot()
        self._pace: dict[str, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="run-record", daemon=True)

    def watch(self, fleet: "Fleet", state: str) -> None:
        """Show the tasks of a fleet that starts to work."""
        self.fleet, self.state, self._pace = fleet, state, None

    def poll(self) -> dict[str, Any]:
        """Return a snapshot with news from the queue; raises if the queue does not answer."""
        fleet = self.fleet
        if fleet is not None:
            jobs, workers = fleet.snapshot(), fleet.workers()
            if self.fleet is not None:
                self.jobs, self.workers = jobs, workers or self.workers
                done, resumed = (sum(job[key] for job in jobs) for key in ("work_done", "work_resumed"))
                if self._pace is None and done > resumed:  # leaves out the first epoch, which also compiles
                    self._pace = {"since": time.time(), "work": done}
        return self._snapshot()

    def _snapshot(self) -> dict[str, Any]:
        return {
            "run": self._folder.name,
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
            with suppress(Exception):
                self.poll()
            self._write()

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None:
            self.state = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        self._write(finished=time.time())

    def _write(self, **more: float) -> None:
        """Write the record; a failure is logged, because the run itself can continue."""
        try:
            write_progress(self._folder, self._snapshot() | more)
        except (OSError, storage.StorageError) as error:
            log.warning("run=%s record not written: %s", self._folder.name, error)
