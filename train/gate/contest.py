"""Two releases on the same test: which one is to be in production?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.data.panel import Panel
from common.errors import BacktestError
from common.model.release import Release
from common.model.released import ReleasedModels
from train.evaluation.backtest import backtest
from train.evaluation.summary import ROW, compare, summarise
from train.gate.contents import loading
from train.gate.subject import Subject, told
from train.snapshot import is_synthetic

MARGIN = 0.005
"""So much worse than what is in production, in relMAE (published) or relRMSE (raw), is still as good: more
than two seeds differ by, less than a user would notice."""
MINIMUM_CUTOFFS = 20
"""Days out of sample for both that a comparison needs."""
RATIOS = {"rel_mae": "relMAE of the published price", "rel_rmse": "relRMSE of the raw price"}
SHOWN = ("mae", "mape", *RATIOS)

Report = Callable[[str, int, int], None]
"""(release id, windows done, windows in all)"""


@dataclass(frozen=True)
class Contest:
    """A comparison in plain JSON values, and what in it speaks against the challenger.

    ``figures`` holds ``against`` (a release id), ``comparable``, the ``reason`` if it is not, and otherwise
    ``horizon``, ``first`` and ``last`` cutoff, ``cutoffs``, the figures of the ``release``, of ``production``
    and of ``naive`` (MAE in KES, MAPE in percent, relMAE and relRMSE against naive), and ``rel_mae``,
    ``rel_rmse`` and the tests of `compare`, the release's errors over those of production.
    """

    figures: dict[str, Any]
    reasons: tuple[str, ...] = ()


def contest(release: Release, production: Release, *, progress: Report = lambda *_: None) -> Contest:
    """Backtest a challenger and what is in production on the same test, as they were published.

    The same test is the newer one of their panels (by last date), every cutoff that is out of sample for
    both, the shortest horizon that both have, and the stocks that moved in both: each release with its own
    models and its own calibration. Only rows that both have enter a figure.

    Real data beat synthetic ones without a comparison, and synthetic ones never replace real ones. If
    production does not answer (this version may not understand an old release), nothing speaks against the
    challenger; if there is no such test otherwise, that does.
    """
    if is_synthetic(release.info.get("source")) != is_synthetic(production.info.get("source")):
        return _of_different_kinds(release, production)
    if silent := _silence(production):
        return _not_comparable(production, f"production does not answer: {silent}", closed=False)
    try:
        return _on_the_same_test(ReleasedModels(release), ReleasedModels(production), progress)
    except Exception as error:
        return _not_comparable(production, told(error))


def _on_the_same_test(ours: ReleasedModels, theirs: ReleasedModels, progress: Report) -> Contest:
    both = set(ours.models.window.horizons) & set(theirs.models.window.horizons)
    if not both:
        raise BacktestError("no horizon in common")
    panel = max(ours.panel, theirs.panel, key=lambda panel: panel.dates[-1])
    start = max(ours.release.info["valid_end"], theirs.release.info["valid_end"])
    tables = [_near(models, panel, start, min(both), progress) for models in (ours, theirs)]
    shared = tables[0][[*ROW]].merge(tables[1][[*ROW]], on=[*ROW])
    days = shared["cutoff"].drop_duplicates().sort_values()
    if len(days) < MINIMUM_CUTOFFS:
        raise BacktestError(
            f"{len(days)} days out of sample for both from {start} to {panel.dates[-1]:%Y-%m-%d}, need "
            f"{MINIMUM_CUTOFFS}"
        )
    mine, other = (table.merge(shared, on=[*ROW]) for table in tables)
    figures = [summarise(table).iloc[0] for table in (mine, other)]
    ratios = compare(mine, other).iloc[0]
    naive = {
        "mae": figures[0]["naive_mae"],
        "mape": figures[0]["naive_mape"],
        "rel_mae": 1.0,
        "rel_rmse": 1.0,
    }
    found: dict[str, Any] = {
        "against": theirs.release.id,
        "comparable": True,
        "horizon": min(both),
        "first": f"{days.iloc[0]:%Y-%m-%d}",
        "last": f"{days.iloc[-1]:%Y-%m-%d}",
        "cutoffs": len(days),
        "n": len(shared),
        "margin": MARGIN,
        "release": {name: float(figures[0][name]) for name in SHOWN},
        "production": {name: float(figures[1][name]) for name in SHOWN},
        "naive": {name: float(value) for name, value in naive.items()},
        **{name: float(ratios[name]) for name in (*RATIOS, "dm_abs_p", "dm_sq_p")},
    }
    worse = [
        f"{label} is {found['release'][name]:.4f}, in production ({theirs.release.id}) it is "
        f"{found['production'][name]:.4f} on the same {len(days)} days; need at most {MARGIN} more"
        for name, label in RATIOS.items()
        if not found["release"][name] <= found["production"][name] + MARGIN
    ]
    return Contest(storage.finite(found), tuple(worse))


def _near(models: ReleasedModels, panel: Panel, start: str, horizon: int, progress: Report) -> pd.DataFrame:
    """The release's forecasts that are judged: scored, moving, the horizon in question."""
    table = backtest(
        models.models,
        panel,
        models.calibration,
        start=np.datetime64(start),
        end=panel.dates[-1].to_numpy().astype("datetime64[D]"),
        progress=lambda done, total: progress(models.release.id, done, total),
    ).table
    judged = np.isfinite(table["actual"]) & ~table["frozen"].astype(bool) & (table["horizon"] == horizon)
    return table[judged].reset_index(drop=True)


def _silence(production: Release) -> str | None:
    """Why what is in production gives no forecasts; None if it does."""
    subject = Subject(production)
    try:
        _ = subject.models.calibration, production.info["valid_end"]
        answers, found = loading(subject)
    except Exception as error:
        return told(error)
    return None if answers else found


def _of_different_kinds(release: Release, production: Release) -> Contest:
    if is_synthetic(production.info.get("source")):
        return _not_comparable(production, "production is of synthetic data, this of real ones", closed=False)
    return _not_comparable(production, "synthetic data never replace real ones")


def _not_comparable(production: Release, reason: str, *, closed: bool = True) -> Contest:
    figures = {"against": production.id, "comparable": False, "reason": reason}
    return Contest(
        figures, (f"not comparable with production ({production.id}): {reason}",) if closed else ()
    )
