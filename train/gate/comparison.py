"""Compare two releases on the same test to decide which one goes to production."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.errors import BacktestError
from common.prices.panel import Panel
from common.release.forecasts import ReleasedModels
from common.release.manifest import Release
from common.release.subject import Subject, error_text
from train.evaluation.backtest import backtest
from train.evaluation.summary import ROW, compare, summarise
from train.gate.contents import loading
from train.gate.skill import ERRORS, FLOOR_DAYS, MOST_NOISE, RATIOS, Losses, by_horizon
from train.progress.snapshot import is_synthetic

MARGIN = 0.005
"""A ratio of ``RATIOS`` may exceed the rival's by this much: more than two seeds differ by, less than a user
would notice. Beyond ``FLOOR_DAYS``, where outcomes overlap, by two standard errors of the difference if that
is more."""
MINIMUM_CUTOFFS = 20
"""Number of cutoffs, out of sample for both releases, that a comparison needs."""
SHOWN = ("mae", "mape", "rel_mae", "rel_rmse")
PRODUCTION, BEST = "production", "best"
NAMES = {PRODUCTION: "in production", BEST: "in the best release so far"}

Progress = Callable[[str, int, int], None]
"""Called with the release id, the number of windows done and their total."""


@dataclass(frozen=True)
class Comparison:
    """A comparison as JSON values, and the reasons against the challenger.

    ``figures`` contains ``against`` (a release id), ``comparable`` and, if False, the ``reason``; otherwise
    ``horizon``, ``first`` and ``last`` cutoff, ``cutoffs``, the figures of the ``release``, its rival
    (``production`` or ``best``) and ``naive`` (MAE in KES, MAPE in percent, relMAE, relRMSE and
    relPinball against naive), and ``rel_mae``, ``rel_rmse`` and the tests of `compare`, the release's errors
    over the rival's: at the top level for the shortest horizon, and in ``horizons`` for every one.
    """

    figures: dict[str, Any]
    reasons: tuple[str, ...] = ()
    gains: float | None = None
    """The release's improvement, the mean over relMAE and relRMSE up to ``FLOOR_DAYS`` ahead; None if not
    comparable."""
    comparable_later: bool = True
    """Whether the two could be compared on other days."""


def compare_releases(
    release: Release, rival: Release, *, role: str = PRODUCTION, progress: Progress = lambda *_: None
) -> Comparison:
    """Backtest a challenger and a rival on the same test, as they were published.

    The test uses the panel with the later last date, every cutoff that is out of sample for both releases,
    every horizon that both have (with enough days), and the stocks that moved in both. Each release uses its
    own evaluated networks and calibration. Only rows that both have enter a figure.

    A release of real data replaces one of synthetic data without a comparison, and never the other way
    round. If the rival returns no forecasts (this version may not support an old release), nothing speaks
    against the challenger. If there is no common test for another reason, that counts against the challenger
    where the rival is in production.

    Parameters
    ----------
    role : ``"production"``, or ``"best"`` for the best release that was in production so far
    """

    def not_comparable(reason: str, *, counts: bool = role == PRODUCTION, later: bool = False) -> Comparison:
        reasons = (f"not comparable with production ({rival.id}): {reason}",) if counts else ()
        figures = {"against": rival.id, "comparable": False, "reason": reason}
        return Comparison(figures, reasons, comparable_later=later)

    if is_synthetic(release.info.get("source")) != is_synthetic(rival.info.get("source")):
        if is_synthetic(rival.info.get("source")):
            return not_comparable("production uses synthetic data, this release real data", counts=False)
        return not_comparable("synthetic data never replace real ones", later=True)
    if failure := _failure(rival):
        reason, permanent = failure
        return not_comparable(f"{role} returns no forecasts: {reason}", counts=False, later=not permanent)
    ours, theirs = (ReleasedModels(one, "evaluated") for one in (release, rival))
    try:
        horizons = sorted(set(ours.models.window.horizons) & set(theirs.models.window.horizons))
        if not horizons:
            return not_comparable("no horizon in common")
        return _on_the_same_test(ours, theirs, horizons, role, progress)
    except Exception as error:
        return not_comparable(error_text(error), later=True)


def _on_the_same_test(
    ours: ReleasedModels, theirs: ReleasedModels, both: list[int], role: str, progress: Progress
) -> Comparison:
    panel = max(ours.panel, theirs.panel, key=lambda panel: panel.dates[-1])
    start = max(ours.release.info["valid_end"], theirs.release.info["valid_end"])
    tables = [_backtest(models, panel, start, both, progress) for models in (ours, theirs)]
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
            role: rival_figures,
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
    whose = f"{NAMES[role]} ({theirs.release.id})"
    reasons = [reason for own, rival in pairs for reason in _worse(own, rival, whose)]
    return Comparison(storage.finite(figures), tuple(reasons), _gain(pairs))


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


def _gain(pairs: list[tuple[Losses, Losses]]) -> float:
    near = [pair for pair in pairs if pair[0].horizon <= FLOOR_DAYS] or pairs[:1]
    gains = [rival.ratio(name) - own.ratio(name) for own, rival in near for name in ("rel_mae", "rel_rmse")]
    return float(np.nanmean(gains)) if np.isfinite(gains).any() else 0.0


def _backtest(
    models: ReleasedModels, panel: Panel, start: str, horizons: list[int], progress: Progress
) -> pd.DataFrame:
    """Return the release's scored forecasts of moving stocks at these horizons."""
    table = backtest(
        models.models,
        panel,
        models.calibration,
        start=np.datetime64(start),
        end=panel.dates[-1].to_numpy().astype("datetime64[D]"),
        progress=lambda done, total: progress(models.release.id, done, total),
    ).table
    table = table[table["horizon"].isin(horizons)]
    return table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)].reset_index(drop=True)


def _failure(rival: Release) -> tuple[str, bool] | None:
    """Return why a release gives no forecasts, and whether that is permanent; None if it gives some."""
    subject = Subject(rival)
    try:
        _ = subject.models.calibration, rival.info["valid_end"]
        loads, text = loading(subject)
    except Exception as error:
        return error_text(error), not isinstance(error, OSError | MemoryError)
    return None if loads else (text, True)
