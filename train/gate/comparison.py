"""Two releases on the same test: which one is to be in production?"""

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
from train.evaluation.backtest import backtest
from train.evaluation.summary import ROW, compare, summarise
from train.gate.contents import loading
from train.gate.skill import ERRORS, FLOOR_DAYS, MOST_NOISE, RATIOS, Losses, by_horizon
from train.gate.subject import Subject, told
from train.progress.snapshot import is_synthetic

MARGIN = 0.005
"""So much worse than what is in production, in a ratio of ``RATIOS``, is still as good: more than two seeds
differ by, less than a user would notice. Farther ahead than ``FLOOR_DAYS``, where outcomes overlap, the
noise of the difference (two standard errors) if that is more."""
MINIMUM_CUTOFFS = 20
"""Days out of sample for both that a comparison needs."""
SHOWN = ("mae", "mape", "rel_mae", "rel_rmse")
PRODUCTION, BEST = "production", "best"
NAMES = {PRODUCTION: "in production", BEST: "in the best release so far"}

Report = Callable[[str, int, int], None]
"""(release id, windows done, windows in all)"""


@dataclass(frozen=True)
class Comparison:
    """A comparison in plain JSON values, and what in it speaks against the challenger.

    ``figures`` holds ``against`` (a release id), ``comparable``, the ``reason`` if it is not, and otherwise
    ``horizon``, ``first`` and ``last`` cutoff, ``cutoffs``, the figures of the ``release``, of its rival
    (``production`` or ``best``) and of ``naive`` (MAE in KES, MAPE in percent, relMAE, relRMSE and
    relPinball against naive), and ``rel_mae``, ``rel_rmse`` and the tests of `compare`, the release's errors
    over those of the rival: all of them for the shortest horizon, and in ``horizons`` for each.
    """

    figures: dict[str, Any]
    reasons: tuple[str, ...] = ()
    gains: float | None = None
    """By how much the release is better, mean of relMAE and relRMSE up to ``FLOOR_DAYS`` ahead; None if the
    two cannot be compared."""
    ever: bool = True
    """Whether the two could be compared on other days."""


def contest(
    release: Release, rival: Release, *, role: str = PRODUCTION, progress: Report = lambda *_: None
) -> Comparison:
    """Backtest a challenger and a rival on the same test, as they were published.

    The same test is the newer one of their panels (by last date), every cutoff that is out of sample for
    both, every horizon that both have (and that many days), and the stocks that moved in both: each release
    with its own evaluated networks and its own calibration. Only rows that both have enter a figure.

    Real data beat synthetic ones without a comparison, and synthetic ones never replace real ones. If
    the rival does not answer (this version may not understand an old release), nothing speaks against the
    challenger; if there is no such test otherwise, that does, where the rival is in production.

    Parameters
    ----------
    role : ``"production"``, or ``"best"``: the best release that was in production so far
    """
    closed = role == PRODUCTION
    if is_synthetic(release.info.get("source")) != is_synthetic(rival.info.get("source")):
        return _of_different_kinds(rival, closed=closed)
    if silence := _silence(rival):
        reason, for_good = silence
        return _not_comparable(rival, f"{role} does not answer: {reason}", closed=False, ever=not for_good)
    ours, theirs = (ReleasedModels(each, "evaluated") for each in (release, rival))
    try:
        both = sorted(set(ours.models.window.horizons) & set(theirs.models.window.horizons))
        if not both:
            return _not_comparable(rival, "no horizon in common", closed=closed)
        return _on_the_same_test(ours, theirs, both, role, progress)
    except Exception as error:
        return _not_comparable(rival, told(error), closed=closed, ever=True)


def _on_the_same_test(
    ours: ReleasedModels, theirs: ReleasedModels, both: list[int], role: str, progress: Report
) -> Comparison:
    panel = max(ours.panel, theirs.panel, key=lambda panel: panel.dates[-1])
    start = max(ours.release.info["valid_end"], theirs.release.info["valid_end"])
    tables = [_judged(models, panel, start, both, progress) for models in (ours, theirs)]
    shared = tables[0][[*ROW]].merge(tables[1][[*ROW]], on=[*ROW])
    days = shared.groupby("horizon")["cutoff"].nunique()
    if days.get(both[0], 0) < MINIMUM_CUTOFFS:
        raise BacktestError(
            f"{days.get(both[0], 0)} days out of sample for both from {start} to {panel.dates[-1]:%Y-%m-%d}, "
            f"need {MINIMUM_CUTOFFS}"
        )
    shared = shared[shared["horizon"].map(days) >= MINIMUM_CUTOFFS]
    mine, other = (table.merge(shared, on=[*ROW]) for table in tables)
    pairs = list(zip(by_horizon(mine), by_horizon(other), strict=True))
    sums = [summarise(table).set_index("horizon") for table in (mine, other)]
    ratios = compare(mine, other).set_index("horizon")
    horizons: dict[str, dict[str, Any]] = {}
    for own, rival in pairs:
        at = own.horizon
        figures = [
            {name: float(table.loc[at, name]) for name in SHOWN}
            | {"rel_pinball": losses.ratio("rel_pinball")}
            for table, losses in zip(sums, (own, rival), strict=True)
        ]
        naive = {"mae": float(sums[0].loc[at, "naive_mae"]), "mape": float(sums[0].loc[at, "naive_mape"])}
        horizons[str(at)] = {
            "cutoffs": own.days,
            "n": len(own.cutoff),
            "release": figures[0],
            role: figures[1],
            "naive": naive | dict.fromkeys(RATIOS, 1.0),
            **{name: float(ratios.loc[at, name]) for name in ("rel_mae", "rel_rmse", "dm_abs_p", "dm_sq_p")},
        }
    cutoffs = shared.loc[shared["horizon"] == both[0], "cutoff"]
    found = {
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
    return Comparison(storage.finite(found), tuple(reasons), _gain(pairs))


def _worse(own: Losses, rival: Losses, whose: str) -> Iterator[str]:
    """In what the challenger is worse than its rival at one horizon, and by how much more than it may."""
    ahead = f"{own.horizon} day{'s' * (own.horizon > 1)} ahead"
    for name, label in RATIOS.items():
        if name in rival.own and name not in own.own:
            yield f"there are no intervals {ahead}, but there are {whose}"
        if not (math.isfinite(own.ratio(name)) and math.isfinite(rival.ratio(name))):
            continue
        allowed = MARGIN
        if own.horizon > FLOOR_DAYS:
            allowed = max(MARGIN, min(ERRORS * own.noise_of_difference(rival, name), MOST_NOISE))
        if not own.ratio(name) <= rival.ratio(name) + allowed:
            yield (
                f"{label} is {own.ratio(name):.4f} {ahead}, {whose} it is {rival.ratio(name):.4f} on the "
                f"same {own.days} days; need at most {round(allowed, 4)} more"
            )


def _gain(pairs: list[tuple[Losses, Losses]]) -> float:
    near = [pair for pair in pairs if pair[0].horizon <= FLOOR_DAYS] or pairs[:1]
    gains = [rival.ratio(name) - own.ratio(name) for own, rival in near for name in ("rel_mae", "rel_rmse")]
    return float(np.nanmean(gains)) if np.isfinite(gains).any() else 0.0


def _judged(
    models: ReleasedModels, panel: Panel, start: str, horizons: list[int], progress: Report
) -> pd.DataFrame:
    """The release's forecasts that are judged: scored, moving, the horizons in question."""
    table = backtest(
        models.models,
        panel,
        models.calibration,
        start=np.datetime64(start),
        end=panel.dates[-1].to_numpy().astype("datetime64[D]"),
        progress=lambda done, total: progress(models.release.id, done, total),
    ).table
    judged = np.isfinite(table["actual"]) & ~table["frozen"].astype(bool) & table["horizon"].isin(horizons)
    return table[judged].reset_index(drop=True)


def _silence(rival: Release) -> tuple[str, bool] | None:
    """Why a release gives no forecasts, and whether it is the release's fault; None if it does."""
    subject = Subject(rival)
    try:
        _ = subject.models.calibration, rival.info["valid_end"]
        answers, found = loading(subject)
    except Exception as error:
        return told(error), not isinstance(error, OSError | MemoryError)
    return None if answers else (found, True)


def _of_different_kinds(rival: Release, *, closed: bool) -> Comparison:
    if is_synthetic(rival.info.get("source")):
        return _not_comparable(rival, "production is of synthetic data, this of real ones", closed=False)
    return _not_comparable(rival, "synthetic data never replace real ones", closed=closed, ever=True)


def _not_comparable(rival: Release, reason: str, *, closed: bool, ever: bool = False) -> Comparison:
    figures = {"against": rival.id, "comparable": False, "reason": reason}
    reasons = (f"not comparable with production ({rival.id}): {reason}",) if closed else ()
    return Comparison(figures, reasons, ever=ever)
