"""The main job, end to end: data, plan, fleet, release. The command line and other callers use this."""

import hashlib
import itertools
import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cluster.connect.session import ray_session
from common import storage
from common.engine import Engine
from common.errors import GateClosed, TrainingError
from common.exchange.universe import Universe
from common.presets import TrainConfig
from common.prices.panel import Panel
from common.release.bundle import GENERAL
from common.release.registry import Registry, ReleaseInfo
from train.gate.promotion import gives_way, is_sound, promote_through_gate
from train.progress.console import LiveTable, Mode
from train.progress.record import ProgressRecord
from train.publish.publish import TrainingResult, publish_run, published_result
from train.run import refit as refitting
from train.run.blocks import engine_for
from train.run.dataset import RunDataset, RunSpec, bundles_dir
from train.run.plan import Plan, finished, make_plan
from train.run.scores import unusual_weights
from train.run.versions import begin

PUBLISHED_ON_RAY = 1_000
"""Symbols from which on a release is worth another start of Ray, about 10 s."""
TRAINING_VERSION = 4
"""Raised when the same settings and data no longer give the same networks: older runs are not continued."""


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
        """What its release is called, if that name is free."""
        return f"{self.panel.dates[-1]:%Y%m%d}-{self.id}"

    def refit(self, to: np.datetime64 | None) -> "Run":
        """Plan the refit of this run, which is trained, to prices up to a date (default: the newest)."""
        folder, plan = self.folder / refitting.FOLDER, refitting.refit_plan(self.folder, self.plan)
        spec = replace(self.spec, refit=f"{self.panel.dates[-1]:%Y-%m-%d}" if to is None else str(to))
        return replace(self, id=f"{self.id}-refit", folder=folder, spec=spec, plan=plan)

    def is_trained(self) -> bool:
        """Whether every task has a result."""
        with storage.looked(self.folder / "tasks", "result.json"):
            return all(finished(self.folder, task.id) is not None for task in self.plan.tasks)


def plan_run(
    config: TrainConfig, universe: Universe, panel: Panel, home: Path, *, only: tuple[str, ...] = ()
) -> Run:
    """Plan a run and name it by what decides its result; writes nothing."""
    spec = RunSpec(config, universe, panel.source, panel.fingerprint())
    decides = [
        TRAINING_VERSION,
        config.model_dump(mode="json"),
        universe.as_dict(),
        spec.source,
        spec.data_sha256,
        sorted(set(only)),
        *unusual_weights(config.window.horizons),
    ]
    run_id = f"{config.preset}-{_digest(decides)}"
    folder = home / "runs" / run_id
    bench = RunDataset(folder, spec, panel)
    plan = make_plan(config, universe, bench.windows, bench.limits, only=only)
    return Run(run_id, folder, home, spec, plan, panel)


def execute(
    run: Run,
    *,
    workers: int | None = None,
    mode: Mode | None = None,
    fresh: bool = False,
    hand_over: bool = True,
    refit: bool | None = None,
    refit_to: np.datetime64 | None = None,
    address: str | None = None,
) -> tuple[TrainingResult, bool]:
    """Train and publish a run, or whatever of it is not done yet.

    A complete release goes to production through the gate where nothing is in production, or where what is
    gives way to it (see `gives_way`). Any other move is left to the user. If the gate stays closed, the
    release is published, production is as it was, and the outcome says why. With ``hand_over`` false,
    production is left alone in any case. With ``refit`` (default: unless the run is a quick one) the
    release serves networks that are fitted to all prices up to ``refit_to`` (default: the newest); if they
    cannot be, it serves the evaluated ones and says why. ``address`` is a Ray cluster to work
    on, see `ray_session`.

    Returns
    -------
    (Outcome, bool)
        The outcome, and whether it had been published before, so that nothing was trained.

    Raises
    ------
    ConfigError
        If the same run is at work in another process, or was begun with other versions of the libraries.
    TrainingError
        If the general model could not be trained: nothing is published, what was done is kept.
    """
    refit = not run.spec.config.quick if refit is None else refit
    registry = Registry(run.home)
    registry.clean()
    with storage.claim(run.folder.with_suffix(".lock"), f"run {run.id}"):
        before = None if fresh else _published(registry, run, failed={}, refit=refit)
        if before:
            outcome = published_result(run.plan, registry.open(before.id))
            if hand_over and not registry.production():
                outcome = _hand_over(registry, outcome)
            return outcome, True
        if fresh:
            storage.remove_tree(run.folder)
        if not run.is_trained():
            begin(run.id, run.folder, run.plan)
        run.folder.mkdir(parents=True, exist_ok=True)
        run.panel.save(run.folder / "panel.parquet")
        run.spec.save(run.folder)
        with (
            ProgressRecord(run.id, run.folder, run.spec, run.plan) as record,
            LiveTable(record.poll, mode=mode),
        ):
            fits_left = not run.is_trained() or (refit and not run.refit(refit_to).is_trained())
            with ray_session(cpus=workers, address=address, shared=run.home) if fits_left else nullcontext():
                failed = {} if run.is_trained() else _train(run, record, workers, address)
                if GENERAL in failed:
                    raise TrainingError(
                        f"run {run.id}: the general model failed: {failed[GENERAL]} Nothing is published and "
                        "what was in production still is; the same command tries again.",
                        failed=failed,
                    )
                refitted = _refit(run, refit_to, record, workers, address) if refit else None
            record.state = "publishing"
            with engine_for(len(run.panel.symbols), PUBLISHED_ON_RAY, workers, address, run.home) as engine:
                outcome = _publish(registry, run, failed, refitted, engine, fresh=fresh)
            record.state = "evaluating"
            if hand_over:
                outcome = _hand_over(registry, outcome)
            record.state = "failed" if failed else "done"
    return outcome, False


def _train(
    run: Run, record: ProgressRecord, workers: int | None, address: str | None, state: str = "training"
) -> dict[str, str]:
    """Run the fleet; returns the reason of each job that failed."""
    from train.run.arrays import save_arrays
    from train.workers.fleet import Fleet

    with ray_session(cpus=workers, address=address, shared=run.home) as cpus:
        tasks = len(run.plan.tasks)
        record.workers = min(cpus, tasks)
        most = tasks if address and workers is None else record.workers  # on a cluster as many as join it
        fleet = Fleet(run.plan, run.folder, workers=most, log_dir=run.folder / "ray")
        record.watch(fleet, state)
        try:
            save_arrays(RunDataset(run.folder, run.spec, run.panel))
            fleet.train()
            record.jobs = jobs = fleet.snapshot()
        finally:
            record.fleet = None  # nobody may call Ray once it is shut down: that would start another
    if storage.mirror_of(run.folder) is not None:
        storage.found(run.folder / "tensorboard", "**/*")  # what other machines wrote
    return {job["job"]: job["reason"] for job in jobs if job["state"] == "failed"}


def _refit(
    run: Run, to: np.datetime64 | None, record: ProgressRecord, workers: int | None, address: str | None
) -> refitting.RefitResult:
    """Fit the run's recipe to all prices up to a date; a failure is a result, unless Ray was lost."""
    refit, jobs = run.refit(to), record.jobs
    try:
        if not refit.is_trained():
            refit.folder.mkdir(parents=True, exist_ok=True)
            refit.spec.save(refit.folder)
            failed = _train(refit, record, workers, address, state="refitting")
            if failed:
                reasons = "; ".join(f"{job}: {reason}" for job, reason in failed.items())
                return refitting.RefitResult(reason=reasons)
    except TrainingError as error:
        return refitting.RefitResult(reason=error.message)
    finally:
        record.jobs = jobs
    return refitting.RefitResult(bundles_dir(refit.folder), refit.spec.refit)


def _publish(
    registry: Registry,
    run: Run,
    failed: dict[str, str],
    refitted: refitting.RefitResult | None,
    engine: Engine,
    *,
    fresh: bool,
) -> TrainingResult:
    again = None if fresh else _published(registry, run, failed, refit=refitted is not None)
    if again:
        return published_result(run.plan, registry.open(again.id))
    name = run.release_id + (f"-partial-{_digest(sorted(failed))}" if failed else "")
    taken = {release.id for release in registry.releases()}
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    release_id = next(each for each in itertools.chain([name], numbered) if each not in taken)
    return publish_run(
        run.folder, run.spec, run.panel, run.plan, failed, registry, release_id, engine, refitted
    )


def _hand_over(registry: Registry, outcome: TrainingResult) -> TrainingResult:
    """Let a complete release through the gate where production gives way; the outcome says if it did not."""
    if not outcome.failed and gives_way(registry, outcome.release):
        try:
            promote_through_gate(registry, outcome.release.id)
        except GateClosed as closed:
            return replace(outcome, gate=closed.message)
    return outcome


def _published(registry: Registry, run: Run, failed: dict[str, str], *, refit: bool) -> ReleaseInfo | None:
    """The sound release this run published with these jobs failed, refitted or not, if any."""
    for release in registry.releases():
        of_run, lost = release.info.get("run") == run.id, release.info.get("failed", {})
        same = of_run and sorted(lost) == sorted(failed) and ("refit" in release.info) == refit
        if same and release.state == "ok" and is_sound(registry, release.id):
            return release
    return None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
