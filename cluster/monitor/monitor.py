"""Monitor live accuracy, drift of the inputs and age of the prices."""

import datetime as dt
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cluster.monitor.drift import Drift, drifts
from cluster.monitor.freshness import Freshness, freshness
from cluster.monitor.live import join_actuals, read_served
from cluster.monitor.served_errors import judge
from cluster.monitor.settings import MonitorSettings
from common import storage
from common.errors import InsufficientHistory, NsecastError
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.schemas.live import LimitBreach
from train.pipeline.backtest_period import plan_backtest
from train.run.price_source import load_panel

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Report:
    """The result of one run of the monitor; see also `serve.schemas.live.MonitorReport`."""

    at: dt.datetime
    release: str
    """The release whose backtest is the reference."""
    synthetic: bool
    served: int
    scored: int
    waiting: int
    left_out: dict[str, int]
    """See `cluster.monitor.live.REASONS`."""
    damaged: tuple[str, ...]
    """Parts of the log that could not be read."""
    errors: pd.DataFrame
    """See `cluster.monitor.served_errors.judge`."""
    drift: list[Drift]
    fresh: Freshness
    breaches: list[LimitBreach]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with None for undefined figures."""
        plain: dict[str, Any] = storage.finite(
            vars(self)
            | {"at": self.at.isoformat(), "errors": self.errors.to_dict(orient="records")}
            | {"fresh": self.fresh.model_dump(mode="json")}
            | {name: [item.model_dump() for item in vars(self)[name]] for name in ("drift", "breaches")}
        )
        return plain


def run_monitor(
    models: ReleasedModels,
    panel: Panel,
    home: Path,
    settings: MonitorSettings,
    *,
    now: dt.datetime | None = None,
) -> Report:
    """Score served forecasts with the closes of a panel, and compare them with a release's backtest.

    Nothing that became known after ``now`` is used: the panel ends with the closes that were due by the clock
    of the release's exchange, and later entries of the log are ignored.

    Parameters
    ----------
    models : the release whose backtest, inputs and stocks are the reference
    panel : its own prices, or newer ones
    home : storage root with the ``served`` folder
    now : a time with a time zone; default: the current time

    Raises
    ------
    InsufficientHistory
        If there are no prices up to ``now``.
    """
    at = now or dt.datetime.now(dt.UTC)
    clock = models.universe.clock
    today, due = clock.today(at), clock.last_due(at)
    panel = panel.as_of(due)
    if not panel.symbols:
        raise InsufficientHistory(f"no prices up to {due}. Choose a later day.")
    spec = models.models.window
    served, damaged = read_served(home, since=today - dt.timedelta(days=settings.window_days - 1))
    served = served[served["served_at"] <= pd.Timestamp(at)]
    reference = pd.read_parquet(models.release.file("test_forecasts.parquet"))
    live = join_actuals(served, panel, models.universe, spec, preset=str(models.release.info["preset"]))
    matrix = pd.read_csv(models.release.file("performance_matrix.csv"))
    errors = judge(live.table, reference, settings)
    drift = drifts(models, panel, spec, live.recent, reference, settings)
    fresh = freshness(panel, models.universe, spec, matrix, at)
    return Report(
        at=at,
        release=models.release.id,
        synthetic=panel.synthetic,
        served=len(served),
        scored=len(live.table),
        waiting=live.waiting,
        left_out=live.left_out,
        damaged=damaged,
        errors=errors,
        drift=drift,
        fresh=fresh,
        breaches=_breaches(errors, drift, fresh, settings),
    )


def known_prices(
    home: Path, models: ReleasedModels, archive: Path | None, *, accept_mixed_dates: bool = False
) -> Panel:
    """Return the prices to score with: an archive's, prepared as for the release.

    Without an archive: the prices of the newest release if they are newer and of the same kind (real or
    synthetic), else those of this release.
    """
    if archive is not None:
        prices = load_panel(archive, Path(), accept_mixed_dates=accept_mixed_dates)
        return plan_backtest(models, prices, home).panel
    try:
        panel = ReleasedModels(Registry(home).open("latest")).panel
    except NsecastError as error:
        log.warning("the newest release's prices are not used: %s", error.message)
        return models.panel
    is_newer = panel.synthetic == models.panel.synthetic and panel.dates[-1] > models.panel.dates[-1]
    return panel if is_newer else models.panel


def _breaches(
    errors: pd.DataFrame, drift: list[Drift], fresh: Freshness, settings: MonitorSettings
) -> list[LimitBreach]:
    breaches: list[tuple[str, str, float, float]] = []
    for row in errors.to_dict(orient="records"):
        what = f"{row['level']} {row['group']} {row['horizon']}d"
        limits = {
            "error": (row["error_ratio"], 1 + settings.error_excess),
            "skill": (row["rel_mae"], row["backtest_rel_mae"] + settings.skill_loss),
            "coverage": (row["cover90"], 0.9),
        }
        failed = row["verdict"].split(", ")
        breaches += [(kind, what, *pair) for kind, pair in limits.items() if kind in failed]
    breaches += [("drift", d.feature, d.psi, settings.psi_large) for d in drift if d.breached]
    breaches += [
        ("freshness", what, float(got), float(limit))
        for what, got, limit in (
            ("sessions old", fresh.sessions_old, settings.sessions_old_most),
            ("newly stale stocks", len(fresh.newly_stale), settings.newly_stale_most),
            ("share frozen", fresh.frozen_share, fresh.frozen_share_then + settings.frozen_excess),
        )
        if got > limit
    ]
    return [LimitBreach(kind=kind, what=what, got=got, limit=limit) for kind, what, got, limit in breaches]
