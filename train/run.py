"""The main job, end to end: data, plan, fleet, release. The command line and other callers use this."""

import contextlib
import hashlib
import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.session import ray_session
from common.data.panel import Panel
from common.data.universe import Universe
from common.errors import TrainingError
from common.model.bundle import GENERAL
from common.model.presets import TrainConfig
from common.model.registry import Registry
from train.console import LiveTable, Mode
from train.plan import Plan, finished, make_plan
from train.publish import Outcome, publish_run, published_outcome, save_panel
from train.runs import write_progress
from train.workbench import RunSpec, Workbench

RECORD_INTERVAL_S = 2.0


@dataclass(frozen=True)
class Run:
    """A planned run; the same settings, universe and data always give the same run."""

    id: str
    folder: Path
    home: Path
    spec: RunSpec
    plan: Plan
    panel: Panel

    @property
    def release_id(self) -> str:
        return f"{self.panel.dates[-1]:%Y%m%d}-{self.id}"


def plan_run(
    config: TrainConfig, universe: Universe, panel: Panel, home: Path, *, only: tuple[str, ...] = ()
) -> Run:
    """Plan a run and name it by what decides its result; writes nothing."""
    spec = RunSpec(config, universe, panel.source, panel.fingerprint())
    decides = [
        config.model_dump(mode="json"),
        universe.as_dict(),
        spec.source,
        spec.data_sha256,
        sorted(only),
    ]
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    run_id = f"{config.preset}-{digest[:8]}"
    folder = home / "runs" / run_id
    bench = Workbench(folder, spec, panel)
    plan = make_plan(config, universe, bench.windows, bench.limits, only=only)
    return Run(run_id, folder, home, spec, plan, panel)


def execute(
    run: Run,
    *,
    workers: int | None = None,
    address: str | None = None,
    mode: Mode | None = None,
    fresh: bool = False,
) -> tuple[Outcome, bool]:
    """Train and publish a run, or whatever of it is not done yet.

    Returns
    -------
    (Outcome, bool)
        The outcome, and whether it had been published before, so that nothing was done.

    Raises
    ------
    TrainingError
        If the general model could not be trained: nothing is published, what was done is kept.
    """
    registry = Registry(run.home)
    registry.clean()
    existing = next((r for r in registry.releases() if r.id == run.release_id and r.state == "ok"), None)
    if existing and not fresh and not existing.info.get("failed"):
        return published_outcome(run.folder, run.plan, registry.open(run.release_id)), True
    if fresh:
        shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True, exist_ok=True)
    save_panel(run.panel, run.folder)
    run.spec.save(run.folder)
    with _Record(run) as record, LiveTable(record.poll, mode=mode):
        record.state = "starting"
        with ray_session(address, cpus=workers) as cpus:
            from train.fleet import Fleet

            record.workers = min(workers or cpus, cpus, len(run.plan.tasks))
            fleet = Fleet(run.plan, run.folder, workers=record.workers, log_dir=run.folder / "ray")
            record.watch(fleet)
            record.state = "training"
            fleet.train()
            record.refresh()
            record.fleet = None
        failed = {job["job"]: job["reason"] for job in record.jobs if job["state"] == "failed"}
        if GENERAL in failed:
            raise TrainingError(
                f"run {run.id}: the general model failed: {failed[GENERAL]} Nothing is published and "
                "what was in production still is; the same command tries again.",
                failed=failed,
            )
        record.state = "publishing"
        suffix = f"-partial-{int(time.time())}" if failed else ""
        outcome = publish_run(run.folder, run.spec, run.plan, failed, registry, run.release_id + suffix)
        record.state = "failed" if failed else "done"
    return outcome, False


def is_finished(run: Run) -> bool:
    """Whether every task of the run has a result."""
    return all(finished(run.folder, task.id) is not None for task in run.plan.tasks)


class _Record(contextlib.AbstractContextManager):
    """Keeps the run's record on storage, and the snapshot for the table, up to date from a thread."""

    def __init__(self, run: Run) -> None:
        self._run, self._started = run, time.time()
        self.state, self.workers, self.fleet = "starting", 0, None
        self.jobs: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="run-record", daemon=True)

    def watch(self, fleet: Any) -> None:
        self.fleet = fleet

    def refresh(self) -> None:
        if self.fleet is not None:
            self.jobs = self.fleet.snapshot()

    def poll(self) -> dict[str, Any]:
        self.refresh()
        return self._snapshot()

    def _snapshot(self) -> dict[str, Any]:
        return {
            "run": self._run.id,
            "source": self._run.spec.source,
            "preset": self._run.spec.config.preset,
            "started": self._started,
            "workers": self.workers,
            "state": self.state,
            "jobs": self.jobs,
        }

    def _loop(self) -> None:
        while not self._stop.wait(RECORD_INTERVAL_S):
            with contextlib.suppress(Exception):
                self.refresh()
            write_progress(self._run.folder, self._snapshot())

    def __enter__(self) -> "_Record":
        write_progress(self._run.folder, self._snapshot())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None:
            self.state = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        write_progress(self._run.folder, self._snapshot() | {"finished": time.time()})
