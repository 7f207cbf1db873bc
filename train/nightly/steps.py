"""The five steps of a retraining; each returns its decision, with the figures that it was made on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import storage
from common.errors import ArchiveError, BundleError, NsecastError, ReleaseNotFound, TrainingError
from common.exchange.universe import Universe, load_universe
from common.prices.panel import Panel
from common.release.alias import stack_of
from common.release.forecasts import ReleasedModels
from common.release.registry import Registry
from train.gate.promotion import judge
from train.nightly.backtest import Report, measured
from train.nightly.ingest import compared, counted, refuse_damage, sessions_of
from train.nightly.record import NightlyRecord, records
from train.nightly.split import next_settings, rolled
from train.pipeline.training import Run, execute, plan_run
from train.progress.console import Mode
from train.run.source import load_archive

PANEL = "panel.parquet"
TOLD = ("models", "skipped", "train_end", "valid_end", "test_end", "test_relMAE", "test_MAPE")
"""What the record keeps of a new release's manifest."""
NEW, CURRENT, CLOSED = "new", "current", "closed"
"""What the files are found to be: to be trained on, nothing new, or refused by the gate before."""


@dataclass(frozen=True)
class Request:
    """What a retraining is asked for."""

    archive: Path | None = None
    """The exchange's daily files; None: the synthetic market."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Settings that change production's."""
    universe: Universe | None = None
    """None: production's, else the exchange's own."""
    if_stale: bool = False
    """Train only if there is a session that production does not have, or other settings; otherwise any
    difference in the data will do, such as a corrected row."""
    accept_mixed_dates: bool = False
    """Take files whose dates look mixed up, see `common.archive.mixed_dates`."""
    fetch: Callable[[], dict[str, Any]] | None = None
    """Brings new files into the archive folder; what it returns is kept in the record."""
    workers: int | None = None
    mode: Mode | None = None
    """How training shows its progress, see `train.progress.console.LiveTable`."""
    address: str | None = None
    """The Ray cluster to train on, see `cluster.connect.session.ray_session`; None: one of its own."""


@dataclass(frozen=True)
class Steps:
    """One retraining's steps, in order; only `promote` touches production."""

    request: Request
    home: Path
    record: NightlyRecord
    progress: Report

    @property
    def before(self) -> str | None:
        """What was in production when it began."""
        release: str | None = self.record.values["production"]
        return release

    @property
    def registry(self) -> Registry:
        return Registry(self.home)

    def ingest(self, fetched: dict[str, Any] | None, problem: NsecastError | None) -> dict[str, Any]:
        """Read the files and say what in them is new; ArchiveError if they are damaged."""
        if problem:
            raise problem
        rows, source = load_archive(
            self.request.archive, self.home, accept_mixed_dates=self.request.accept_mixed_dates
        )
        panel = Panel.from_archive(rows, source)
        found: dict[str, Any] = {"fetched": fetched, **counted(rows, panel)}
        models = self._production(panel)
        if models is not None:
            found |= compared(models.panel, panel)
            refuse_damage(models.panel, panel, found, models.release.id)
        verdict, why = self._verdict(models, panel, found)
        if verdict == NEW:
            panel.save(self.record.folder / PANEL)
        return found | {"verdict": verdict, "why": why}

    def plan(self, panel: Panel) -> Run:
        """Production's settings on new prices, with the split moved on; writes nothing."""
        models = self._production(panel)
        config = next_settings(models.release if models else None, self.request.overrides)
        if models and "split" not in self.request.overrides:
            split = rolled(config.split, models.release.info, sessions_of(panel))
            config = config.model_copy(update={"split": split})
        return plan_run(config, self._universe(models), panel, self.home)

    def train(self) -> dict[str, Any]:
        """Train and publish what is planned, or what of it is not done yet."""
        run = self.plan(Panel.load(storage.current(self.record.folder / PANEL)))
        outcome, published_before = execute(
            run,
            workers=self.request.workers,
            mode=self.request.mode,
            hand_over=False,
            address=self.request.address,
        )
        if outcome.failed:
            reasons = "; ".join(f"{job}: {reason}" for job, reason in outcome.failed.items())
            raise TrainingError(f"{outcome.release.id} is not complete: {reasons}.", failed=outcome.failed)
        info = outcome.release.info
        self.record.note(release=outcome.release.id)
        return {
            "run": run.id,
            "release": outcome.release.id,
            "published_before": published_before,
            **{name: info[name] for name in TOLD},
        }

    def backtest(self, release: str) -> dict[str, Any]:
        """Both releases on the days that are a test for both."""
        candidate = ReleasedModels(self.registry.open(release))
        production = self._production(candidate.panel)
        return measured(candidate, production, self.record.folder / "backtest", progress=self.progress)

    def gate(self, release: str) -> dict[str, Any]:
        """The checklist and the contest; closed to what was rolled back, whatever its figures."""
        found: dict[str, Any] = {"against": self.before}
        history = self.registry.history()
        if release in {move["release"] for move in history} - set(stack_of(history)):
            reason = (
                f"{release} was in production and was rolled back; only `nsecast models promote {release}` "
                "puts it back. New files make a new release"
            )
            return found | {"passed": False, "checks": None, "comparison": None, "reasons": [reason]}
        verdict = judge(self.registry, release, progress=self.progress)
        return found | {
            "passed": verdict.passed,
            **verdict.evidence["gate"],
            "reasons": list(verdict.reasons),
            "anchor": verdict.anchor,
        }

    def promote(self, release: str, judged: dict[str, Any]) -> dict[str, Any]:
        """Move the alias, with the evidence, if what was judged against is still in production."""
        if self.registry.production() != release:  # it is, if the process ended between move and record
            evidence = {
                "gate": {name: judged.get(name) for name in ("checks", "comparison", "best")},
                **({"anchor": judged["anchor"]} if judged.get("anchor") else {}),
                "retrain": {"id": self.record.id, "backtest": self.record.decision("backtest")},
            }
            self.registry.promote(release, evidence=evidence, instead_of=judged["against"])
        return {"production": release, "was": self.before}

    def _production(self, panel: Panel) -> ReleasedModels | None:
        """What was in production, if the new prices are of its kind; real ones are a new beginning."""
        if self.before is None:
            return None
        try:
            models = ReleasedModels(self.registry.open(self.before))
        except (BundleError, ReleaseNotFound) as error:
            if self.request.overrides:
                return None
            raise BundleError(
                f"{error.message} It is in production and cannot be trusted: put the one before it back with "
                "`nsecast models rollback`, or give the settings with --config FILE.toml.",
                release=self.before,
            ) from None
        if panel.synthetic and not models.panel.synthetic:
            raise ArchiveError(
                f"production ({self.before}) is of real prices and these are synthetic, which never replace "
                "real ones. Give the exchange's files with --archive DIR."
            )
        return models if panel.synthetic == models.panel.synthetic else None

    def _verdict(self, models: ReleasedModels | None, panel: Panel, found: dict[str, Any]) -> tuple[str, str]:
        if refused := self._refused_before():
            return (
                CLOSED,
                f"nothing new since {refused.id}, which the gate refused: {refused.values['reason']}",
            )
        if models is None:
            return NEW, "production has no prices of this kind yet"
        now, then = (next_settings(models.release, changes) for changes in (self.request.overrides, {}))
        if now != then or self._universe(models).as_dict() != models.universe.as_dict():
            return NEW, "other settings than production's"
        name = f"production ({models.release.id})"
        if models.release.info["data_sha256"] == panel.fingerprint():
            return CURRENT, f"{name} is of these very data and settings"
        if self.request.if_stale and not found["new_sessions"]:
            return CURRENT, f"{name} has the newest session, {found['last_before']}, and the same settings"
        return NEW, f"{found['new_sessions']} new sessions, {found['new_rows']} new rows"

    def _refused_before(self) -> NightlyRecord | None:
        """An earlier retraining of the very same files, settings and production that the gate refused."""
        mine = self.record.values
        for record in records(self.home):
            if record.values["state"] == CLOSED and record.decision("gate") is not None:
                same = all(record.values[name] == mine[name] for name in ("key", "production"))
                return record if same else None
        return None

    def _universe(self, models: ReleasedModels | None) -> Universe:
        return self.request.universe or (models.universe if models else load_universe())
