"""Training from end to end: plan, Ray Train run, release, gate."""

import hashlib
import itertools
import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cluster.connect.session import ray_session
from common import storage
from common.engine import Engine
from common.errors import GateClosed, TrainingError
from common.exchange.universe import Universe
from common.presets import TrainConfig
from common.prices.panel import Panel
from common.release.bundle import GENERAL
from common.release.refreshed import REFRESHED
from common.release.registry import Registry
from train.gate.promotion import gives_way, is_sound, promote_through_gate
from train.progress.console import LiveTable, Mode
from train.progress.progress_record import ProgressRecord
from train.publish.publish import publish_run
from train.publish.results import TrainingResult, published_result
from train.run import refit as refitting
from train.run.blocks import engine_for
from train.run.dataset import RunDataset, RunSpec, bundles_dir
from train.run.plan import Plan, make_plan, stored_result
from train.run.scores import unusual_weights
from train.run.versions import record_or_check_versions

RefitState = Literal["none", "done", "failed"]
PUBLISHED_ON_RAY = 1_000
"""Releases of at least this many symbols are made on Ray, whose start takes about 10 s."""
TRAINING_VERSION = 7
"""Increased when the same settings and data no longer give the same networks: older runs do not continue."""


@dataclass(frozen=True)
class Run:
    """A planned run; the same settings, universe and data give the same id."""

    id: str
    folder: Path
    home: Path
    spec: RunSpec
    plan: Plan
    panel: Panel

    @property
    def release_id(self) -> str:
        """The id of its release, if it is free."""
        return f"{self.panel.dates[-1]:%Y%m%d}-{self.id}"

    def refit(self) -> "Run":
        """Plan the refit of this run, which is trained, to all its prices."""
        folder, plan = self.folder / refitting.FOLDER, refitting.refit_plan(self.folder, self.plan)
        spec = replace(self.spec, refit=f"{self.panel.dates[-1]:%Y-%m-%d}")
        return replace(self, id=f"{self.id}-refit", folder=folder, spec=spec, plan=plan)

    def is_trained(self) -> bool:
        """Whether every task has a result."""
        with storage.listed_once(self.folder / "tasks", "result.json"):
            return all(stored_result(self.folder, task.id) is not None for task in self.plan.tasks)


def plan_run(
    config: TrainConfig, universe: Universe, panel: Panel, home: Path, *, only: tuple[str, ...] = ()
) -> Run:
    """Plan a run, whose id is a hash of what decides its result; writes nothing."""
    spec = RunSpec(config, universe, panel.source, panel.fingerprint())
    identity = [
        TRAINING_VERSION,
        config.model_dump(mode="json"),
        universe.as_dict(),
        spec.source,
        spec.data_sha256,
        sorted(set(only)),
        *unusual_weights(config.window.horizons),
    ]
    run_id = f"{config.preset}-{_digest(identity)}"
    folder = home / "runs" / run_id
    dataset = RunDataset(folder, spec, panel)
    plan = make_plan(config, universe, dataset.blocks, dataset.limits, only=only)
    return Run(run_id, folder, home, spec, plan, panel)


def execute(
    run: Run,
    *,
    workers: int | None = None,
    mode: Mode | None = None,
    fresh: bool = False,
    hand_over: bool = True,
    refit: bool | None = None,
    address: str | None = None,
) -> tuple[TrainingResult, bool]:
    """Train and publish a run, or the part of it that is not done yet.

    A complete release goes to production through the gate if nothing is in production, or if what is there
    gives way to it (see `gives_way`). If the gate stays closed, the release is published, production does
    not change, and the result says why. ``hand_over=False`` never changes production. With ``refit``
    (default: unless the run is a quick one) the release serves networks that are fitted to all prices; if
    they cannot be, it serves the evaluated ones and says why. ``address`` is a Ray cluster to use, see
    `ray_session`.

    Returns
    -------
    (TrainingResult, bool)
        The result, and whether it was published before, so that nothing was trained.

    Raises
    ------
    ConfigError
        If another process executes the same run, or it was started with other versions of the libraries.
    TrainingError
        If the general model could not be trained: nothing is published, finished tasks are kept.
    """
    refit = not run.spec.config.quick if refit is None else refit
    registry = Registry(run.home)
    registry.clean()
    with storage.lock_or_fail(run.folder.with_suffix(".lock"), f"run {run.id}"):
        published = None if fresh else _published(registry, run, {}, refit="done" if refit else "none")
        if published is not None:
            if hand_over and not registry.production():
                published = _hand_over(registry, published)
            return published, True
        if fresh:
            storage.remove_tree(run.folder)
        if not run.is_trained():
            record_or_check_versions(run.id, run.folder, run.plan)
        run.folder.mkdir(parents=True, exist_ok=True)
        run.panel.save(run.folder / "panel.parquet")
        run.spec.save(run.folder)
        with ProgressRecord(run.folder, run.spec, run.plan) as record, LiveTable(record.poll, mode=mode):
            fits_left = not run.is_trained() or (refit and not run.refit().is_trained())
            with ray_session(cpus=workers, address=address, shared=run.home) if fits_left else nullcontext():
                failed = {} if run.is_trained() else _train(run, record, workers, address)
                if GENERAL in failed:
                    raise TrainingError(
                        f"run {run.id}: the general model failed: {failed[GENERAL]} Nothing was published "
                        "and production did not change; the same command tries again.",
                        failed=failed,
                    )
                refitted = _refit(run, record, workers, address) if refit else None
            record.state = "publishing"
            with engine_for(len(run.panel.symbols), PUBLISHED_ON_RAY, workers, address, run.home) as engine:
                result = _publish(registry, run, failed, refitted, engine, fresh=fresh)
            record.state = "evaluating"
            if hand_over:
                result = _hand_over(registry, result)
            record.state = "failed" if failed else "done"
    return result, False


def _train(
    run: Run, record: ProgressRecord, workers: int | None, address: str | None, state: str = "training"
) -> dict[str, str]:
    """Do all tasks; return why each failed job failed."""
    from train.run.arrays import save_arrays
    from train.workers.fleet import Fleet

    with ray_session(cpus=workers, address=address, shared=run.home) as cpus:
        tasks = len(run.plan.tasks)
        record.workers = min(cpus, tasks)
        limit = tasks if address and workers is None else record.workers  # a cluster may still grow
        fleet = Fleet(run.plan, run.folder, workers=limit, log_dir=run.folder / "ray")
        record.watch(fleet, state)
        try:
            save_arrays(RunDataset(run.folder, run.spec, run.panel))
            fleet.train()
            record.jobs = jobs = fleet.snapshot()
        finally:
            record.fleet = None  # a call after the shutdown would start Ray again
    if storage.mirror_of(run.folder) is not None:
        storage.fetch_matching(run.folder / "tensorboard", "**/*")  # copy what other machines wrote
    return {job["job"]: job["reason"] for job in jobs if job["state"] == "failed"}


def _refit(
    run: Run, record: ProgressRecord, workers: int | None, address: str | None
) -> refitting.RefitResult:
    """Fit the run's recipe to all prices; a failure is a result, unless Ray was lost."""
    refit, jobs = run.refit(), record.jobs
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
    state: RefitState = "none" if refitted is None else "failed" if refitted.reason else "done"
    published = None if fresh else _published(registry, run, failed, refit=state)
    if published is not None:
        return published
    name = run.release_id + (f"-partial-{_digest(sorted(failed))}" if failed else "")
    taken = {release.id for release in registry.releases()}
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    release_id = next(free for free in itertools.chain([name], numbered) if free not in taken)
    return publish_run(
        run.folder, run.spec, run.panel, run.plan, failed, registry, release_id, engine, refitted
    )


def _hand_over(registry: Registry, result: TrainingResult) -> TrainingResult:
    """Promote a complete release if production gives way; the result says why if the gate stays closed."""
    if not result.failed and gives_way(registry, result.release):
        try:
            promote_through_gate(registry, result.release.id)
        except GateClosed as closed:
            return replace(result, gate=closed.message)
    return result


def _published(
    registry: Registry, run: Run, failed: dict[str, str], *, refit: RefitState
) -> TrainingResult | None:
    """The result in the sound release that this run published with the same failed jobs and refit, if any."""
    for release in registry.releases():
        same = release.info.get("run") == run.id and sorted(release.info.get("failed", {})) == sorted(failed)
        same = same and REFRESHED not in release.info
        stored = release.info.get("refit")
        state = "none" if stored is None else "failed" if "failed" in stored else "done"
        same = same and state == refit
        if same and release.state == "ok" and is_sound(registry, release.id):
            return published_result(run.plan, registry.open(release.id))
    return None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
