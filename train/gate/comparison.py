"""Compare two releases on the same test to decide which one goes to production."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.errors import BacktestError
from common.prices.panel import Panel
from common.release.manifest import Release
from common.release.released_models import ReleasedModels
from common.release.subject import Subject, error_text
from train.evaluation.backtest import backtest
from train.evaluation.summary import ROW, compare, summarise
from train.gate.checklist import failing_models
from train.gate.skill import ERRORS, FLOOR_DAYS, MOST_NOISE, RATIOS, Losses, by_horizon
from train.progress.snapshot import is_synthetic

MARGIN = 0.005
"""A ratio of ``RATIOS`` may exceed the rival's by this much: more than two seeds differ by, less than a user
would notice. Beyond ``FLOOR_DAYS``, where outcomes overlap, by two standard errors of the difference if that
is more."""
MINIMUM_CUTOFFS = 20
"""Number of cutoffs, out of sample for both releases, that a comparison needs."""
SHOWN = ("mae", "mape", "rel_mae", "rel_rmse")


@dataclass(frozen=True)
class Comparison:
    """A comparison as JSON values, and the reasons against the challenger.

    ``figures`` contains ``against`` (a release id), ``comparable`` and, if False, the ``reason``; otherwise
    ``horizon``, ``first`` and ``last`` cutoff, ``cutoffs``, the figures of the ``release``, of ``production``
    and of ``naive`` (MAE in KES, MAPE in percent, relMAE, relRMSE and relPinball against naive), and
    ``rel_mae``, ``rel_rmse`` and the tests of `compare`, the release's errors over production's: at the top
    level for the shortest horizon, and in ``horizons`` for every one.
    """

    figures: dict[str, Any]
    reasons: tuple[str, ...] = ()


def compare_releases(release: Release, production: Release) -> Comparison:
    """Backtest a challenger and the release in production on the same test, as they were published.

    The test uses the panel with the later last date, every cutoff that is out of sample for both releases,
    every horizon that both have (with enough days), and the stocks that moved in both. Each release uses its
    own evaluated networks and calibration. Only rows that both have enter a figure.

    A release of real data replaces one of synthetic data without a comparison, and never the other way
    round. If production returns no forecasts (this version may not support an old release), nothing speaks
    against the challenger. If there is no common test for another reason, that counts against it.
    """

    def not_comparable(reason: str, *, counts: bool = True) -> Comparison:
        reasons = (f"not comparable with production ({production.id}): {reason}",) if counts else ()
        return Comparison({"against": production.id, "comparable": False, "reason": reason}, reasons)

    if is_synthetic(release.info.get("source")) != is_synthetic(production.info.get("source")):
        if is_synthetic(production.info.get("source")):
            return not_comparable("production uses synthetic data, this release real data", counts=False)
        return not_comparable("synthetic data never replace real ones")
    if failure := _failure(production):
        return not_comparable(f"production returns no forecasts: {failure}", counts=False)
    ours, theirs = (ReleasedModels(one, "evaluated") for one in (release, production))
    try:
        horizons = sorted(set(ours.models.window.horizons) & set(theirs.models.window.horizons))
        if not horizons:
            return not_comparable("no horizon in common")
        return _on_the_same_test(ours, theirs, horizons)
    except Exception as error:
        return not_comparable(error_text(error))


def _on_the_same_test(ours: ReleasedModels, theirs: ReleasedModels, both: list[int]) -> Comparison:
    panel = max(ours.panel, theirs.panel, key=lambda panel: panel.dates[-1])
    start = max(ours.release.info["valid_end"], theirs.release.info["valid_end"])
    tables = [_backtest(models, panel, start, both) for models in (ours, theirs)]
    shared = tables[0][[*ROW]].merge(tables[1][[*ROW]], on=[*ROW])
    days = shared.groupby("horizon")["cutoff"].nunique()
    if days.get(both[0], 0) < MINIMUM_CUTOFFS:
        raise BacktestError(
            f"{days.get(both[0], 0)} days out of sample for both from {start} to {panel.dates[-1]:%Y-%m-%d}, "
            f"need {MINIMUM_CUTOFFS}"
        )
    shared = shared[shared["horizon"].map(days) >= MINIMUM_CUTOFFS]
    tables = [table.merge(shared, on=[*ROW]) for table in tables]
    pairs = list(zip(*map(by_horizon, tables), strict=True))
    sums = [summarise(table).set_index("horizon") for table in tables]
    ratios = compare(*tables).set_index("horizon")
    horizons: dict[str, dict[str, Any]] = {}
    for own, rival in pairs:
        at = own.horizon
        release_figures, rival_figures = (
            {name: float(table.loc[at, name]) for name in SHOWN}
            | {"rel_pinball": losses.ratio("rel_pinball")}
            for table, losses in zip(sums, (own, rival), strict=True)
        )
        naive = {"mae": float(sums[0].loc[at, "naive_mae"]), "mape": float(sums[0].loc[at, "naive_mape"])}
        horizons[str(at)] = {
            "cutoffs": own.days,
            "n": len(own.cutoff),
            "release": release_figures,
            "production": rival_figures,
            "naive": naive | dict.fromkeys(RATIOS, 1.0),
            **{name: float(ratios.loc[at, name]) for name in ("rel_mae", "rel_rmse", "dm_abs_p", "dm_sq_p")},
        }
    cutoffs = shared.loc[shared["horizon"] == both[0], "cutoff"]
    figures = {
        "against": theirs.release.id,
        "comparable": True,
        "horizon": both[0],
        "first": f"{cutoffs.min():%Y-%m-%d}",
        "last": f"{cutoffs.max():%Y-%m-%d}",
        "margin": MARGIN,
        **horizons[str(both[0])],
        "horizons": horizons,
    }
    whose = f"in production ({theirs.release.id})"
    reasons = [reason for own, rival in pairs for reason in _worse(own, rival, whose)]
    return Comparison(storage.finite(figures), tuple(reasons))


def _worse(own: Losses, rival: Losses, whose: str) -> Iterator[str]:
    """Yield a reason for each ratio in which the challenger is worse than allowed at one horizon."""
    ahead = f"{own.horizon} day{'s' * (own.horizon > 1)} ahead"
    for name, label in RATIOS.items():
        if name in rival.own and name not in own.own:
            yield f"the release has no intervals {ahead}, but there are some {whose}"
        if not (math.isfinite(own.ratio(name)) and math.isfinite(rival.ratio(name))):
            continue
        allowed = MARGIN
        if own.horizon > FLOOR_DAYS:
            allowed = max(MARGIN, min(ERRORS * own.noise_of_difference(rival, name), MOST_NOISE))
        if not own.ratio(name) <= rival.ratio(name) + allowed:
            yield (
                f"{label} is {own.ratio(name):.4f} {ahead}; {whose} it is {rival.ratio(name):.4f} on the "
                f"same {own.days} days; need at most {round(allowed, 4)} more"
            )


def _backtest(models: ReleasedModels, panel: Panel, start: str, horizons: list[int]) -> pd.DataFrame:
    """Return the release's scored forecasts of moving stocks at these horizons."""
    table = backtest(
        models.models,
        panel,
        models.calibration,
        start=np.datetime64(start),
        end=panel.dates[-1].to_numpy().astype("datetime64[D]"),
    ).table
    table = table[table["horizon"].isin(horizons)]
    return table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)].reset_index(drop=True)


def _failure(production: Release) -> str | None:
    """Return why a release gives no forecasts; None if it gives some."""
    subject = Subject(production)
    try:
        _ = subject.models.calibration, production.info["valid_end"]
        return next(failing_models(subject), None)
    except Exception as error:
        return error_text(error)
