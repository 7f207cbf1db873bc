"""The steps of a retraining; each returns its decision with the figures behind it."""

import datetime as dt
import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.archive import fetch
from common.errors import ArchiveError, BundleError, ReleaseNotFound, TrainingError
from common.exchange.universe import Universe, load_universe
from common.prices.changes import compare_panels, count_rows, refuse_damage
from common.prices.panel import Panel
from common.release.alias import rolled_back
from common.release.lock import hold_lock, lock_of
from common.release.posted_sessions import with_posted
from common.release.refresh_production import refresh_production
from common.release.refreshed import Refreshed, trained_release
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.gate.promotion import judge
from train.nightly.nightly_record import NightlyRecord, records
from train.nightly.promotion import promote_with_newest_prices
from train.nightly.split import move_split, next_settings
from train.pipeline.refresh import read_newer
from train.pipeline.training import Run, execute, plan_run
from train.progress.console import Mode
from train.run.price_source import load_archive

SETTINGS_DIFFER = "settings differ from production's"
MANIFEST_VALUES = ("models", "skipped", "train_end", "valid_end", "test_end", "test_relMAE", "test_MAPE")
"""Values of a new release's manifest that the record includes."""
NEW, CURRENT = "new", "current"
"""Verdicts on the files: new data to train on, or nothing new."""
REFRESH_WAIT_S = 600.0
"""How long to wait for a refresh, which takes seconds."""


@dataclass(frozen=True)
class Request:
    """The options of a retraining."""

    archive: Path | None = None
    """The exchange's daily files; None: the synthetic market."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Settings that change production's."""
    universe: Universe | None = None
    """None: production's, or the exchange's own if nothing is in production."""
    retrain_every: dt.timedelta | None = None
    """Refresh production every time, and train only if the data of its networks, and of the last training
    that the gate judged, are at least this old. None: train whenever there are new data."""
    if_stale: bool = False
    """Train only for a new session or changed settings; by default any difference in the data, such as a
    corrected row, starts a training."""
    accept_mixed_dates: bool = False
    """Accept files whose dates look mixed up, see `common.archive.mixed_dates`."""
    fetch: bool = False
    """First download the publisher's files into the archive folder."""
    workers: int | None = None
    mode: Mode | None = None
    """How training shows its progress, see `train.progress.console.LiveTable`."""
    refit: bool | None = None
    """See `train.pipeline.training.execute`."""
    address: str | None = None
    """The Ray cluster to train on, see `cluster.connect.session.ray_session`; None: start one."""


@dataclass
class Steps:
    """The steps of one retraining, in order; only `refresh` and `promote` change production."""

    request: Request
    home: Path
    record: NightlyRecord
    announce: Callable[[str], None] = lambda text: None
    """Called with a text that names the refresh that is waited for."""
    panel: Panel = field(init=False, repr=False)
    """The prices that `ingest` read."""

    @property
    def before(self) -> str | None:
        """The release in production at the start."""
        release: str | None = self.record.values["production"]
        return release

    @property
    def registry(self) -> Registry:
        return Registry(self.home)

    def ingest(self) -> dict[str, Any]:
        """Read the files, downloaded first on request, and determine what is new.

        Raises
        ------
        FetchError, ArchiveError
            If they cannot be downloaded, or are damaged.
        """
        archive, fetched = self.request.archive, None
        if self.request.fetch and archive:
            fetched = asdict(fetch.fetch_archive(archive))
        rows, source = load_archive(
            self.request.archive, self.home, accept_mixed_dates=self.request.accept_mixed_dates
        )
        panel = Panel.from_archive(rows, source)
        counts: dict[str, Any] = {"fetched": fetched, **count_rows(rows, panel)}
        models = self._production(panel)
        if models is not None:
            panel, counts["posted"] = with_posted(panel, models.panel, self.registry.history())
            counts |= {"last": f"{panel.dates[-1]:%Y-%m-%d}"} | compare_panels(models.panel, panel)
            refuse_damage(models.panel, panel, counts, models.release.id)
        self.panel = panel
        verdict, why = self._verdict(models, panel, counts)
        return counts | {"verdict": verdict, "why": why}

    def refresh(self) -> Refreshed:
        """Refresh production as `nsecast refresh` does; the next steps start from the result.

        Raises
        ------
        GateClosed, ArchiveError, Busy
            As `refresh_production`.
        """
        read = functools.partial(
            read_newer,
            self.request.archive,
            self.home,
            accept_mixed_dates=self.request.accept_mixed_dates,
        )
        result, _ = refresh_production(
            self.home,
            read,
            wait_s=REFRESH_WAIT_S,
            announce=self.announce,
            evidence={"retrain": {"id": self.record.id}},
        )
        self.record.save(production=result.release, refresh=result.as_dict())
        return result

    def due(self) -> dt.date | None:
        """Return from which session on a training is due; None if that is now.

        What counts is the age of the data, not the clock: a training that the gate refused is not repeated
        every night, and one that failed is.
        """
        ingested = self.record.decision("ingest") or {}
        models, every = self._production(self.panel), self.request.retrain_every
        if models is None or every is None or ingested.get("why") == SETTINGS_DIFFER:
            return None
        judged = (record for record in records(self.home) if record.decision("gate") is not None)
        ends = [trained_release(models.release)["to"]]
        ends += [(record.decision("ingest") or {})["last"] for record in itertools.islice(judged, 1)]
        days = math.ceil(every / dt.timedelta(days=1))
        due = max(map(dt.date.fromisoformat, ends)) + dt.timedelta(days)
        return due if dt.date.fromisoformat(ingested["last"]) < due else None

    def plan(self, panel: Panel) -> Run:
        """Plan a run with production's settings and a moved split on the new prices; writes nothing."""
        models = self._production(panel)
        config = next_settings(models.release if models else None, self.request.overrides)
        if models and "split" not in self.request.overrides:
            sessions = panel.dates.to_numpy().astype("datetime64[D]")
            split = move_split(config.split, models.release.info, sessions)
            config = config.model_copy(update={"split": split})
        return plan_run(config, self._universe(models), panel, self.home)

    def train(self) -> dict[str, Any]:
        """Run the remaining tasks of the planned run, and publish the release."""
        run = self.plan(self.panel)
        outcome, published_before = execute(
            run,
            workers=self.request.workers,
            mode=self.request.mode,
            hand_over=False,
            refit=self.request.refit,
            address=self.request.address,
        )
        if outcome.failed:
            reasons = "; ".join(f"{job}: {reason}" for job, reason in outcome.failed.items())
            raise TrainingError(f"{outcome.release.id} is not complete: {reasons}.", failed=outcome.failed)
        info = outcome.release.info
        self.record.save(release=outcome.release.id)
        return {
            "run": run.id,
            "release": outcome.release.id,
            "published_before": published_before,
            **{name: info[name] for name in MANIFEST_VALUES},
        }

    def gate(self, release: str) -> dict[str, Any]:
        """Judge the release at the gate, which refuses releases that were rolled back."""
        against = self.registry.production()
        if release in rolled_back(self.registry.history()):
            reason = (
                f"{release} was in production and was rolled back; only `nsecast models promote {release}` "
                "puts it back. New files lead to a new release"
            )
            refusal = {"passed": False, "checks": None, "comparison": None, "reasons": [reason]}
            return {"against": against, **refusal}
        verdict = judge(self.registry, release)
        return {
            "against": against,
            "passed": verdict.passed,
            **verdict.evidence["gate"],
            "reasons": list(verdict.reasons),
        }

    def promote(self, release: str, judged: dict[str, Any]) -> dict[str, Any]:
        """Move the alias, with the evidence; see `promote_with_newest_prices`."""
        evidence = {
            "gate": {name: judged[name] for name in ("checks", "comparison")},
            "retrain": {"id": self.record.id},
        }
        with hold_lock(lock_of(self.home), wait_s=REFRESH_WAIT_S, announce=self.announce):
            return promote_with_newest_prices(self.registry, release, judged["against"], evidence)

    def _production(self, panel: Panel) -> ReleasedModels | None:
        """Return the release in production, or None if it is synthetic and the new prices are real."""
        if self.before is None:
            return None
        try:
            models = ReleasedModels(self.registry.open(self.before))
        except (BundleError, ReleaseNotFound) as error:
            if self.request.overrides:
                return None
            raise BundleError(
                f"{error.message} It is in production and cannot be trusted: restore the previous release "
                "with `nsecast models rollback`, or give the settings with --config FILE.toml.",
                release=self.before,
            ) from None
        if panel.synthetic and not models.panel.synthetic:
            raise ArchiveError(
                f"production ({self.before}) uses real prices and these are synthetic, which never replace "
                "real ones. Give the exchange's files with --archive DIR."
            )
        return models if panel.synthetic == models.panel.synthetic else None

    def _verdict(
        self, models: ReleasedModels | None, panel: Panel, counts: dict[str, Any]
    ) -> tuple[str, str]:
        if models is None:
            return NEW, "production has no prices of this kind yet"
        now, then = (next_settings(models.release, changes) for changes in (self.request.overrides, {}))
        if now != then or self._universe(models).as_dict() != models.universe.as_dict():
            return NEW, SETTINGS_DIFFER
        name = f"production ({models.release.id})"
        trained = trained_release(models.release)
        if trained["data_sha256"] == panel.fingerprint():
            return CURRENT, f"{name} has the same data and settings"
        sessions, rows = ((dates > trained["to"]).sum() for dates in (panel.dates, panel.frame["date"]))
        if self.request.if_stale and not sessions:
            return CURRENT, f"{name} has the newest session, {counts['last_before']}, and the same settings"
        return NEW, f"{sessions} new sessions, {rows} new rows"

    def _universe(self, models: ReleasedModels | None) -> Universe:
        return self.request.universe or (models.universe if models else load_universe())
