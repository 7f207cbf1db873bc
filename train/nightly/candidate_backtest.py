"""The new release and what is in production on the same days, next to naive, for every horizon."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.release.forecasts import ReleasedModels
from train.evaluation.summary import ROW, compare, summarise
from train.gate.subject import told
from train.pipeline.backtest import OURS, BacktestPlan, figures, keep, run_study

SHOWN = ("mae", "mape", "rel_mae", "rel_rmse")

Report = Callable[[str, int, int], None]
"""(release id, windows done, windows in all)"""


def measured(
    candidate: ReleasedModels, production: ReleasedModels | None, folder: Path, *, progress: Report
) -> dict[str, Any]:
    """Forecast every day that is out of sample for both, on the candidate's prices, weights fixed.

    Production forecasts days that it was not trained or chosen on, newer files included, without training.
    Every forecast is kept below ``folder``.

    Returns
    -------
    dict
        ``from`` and ``to`` (cutoffs); ``production`` (release id, or None) and why it was ``left_out``, if
        it was; ``horizons``: by days ahead ``n`` and ``cutoffs`` shared by both and, in `summarise`'s terms,
        ``candidate``, ``production``, ``naive`` (MAE in KES, MAPE in percent, relMAE, relRMSE) and ``ratio``
        (candidate over production, and the p-values of `compare`).
    """
    both = [candidate] + ([production] if production else [])
    start = max(np.datetime64(models.release.info["valid_end"]) for models in both)
    mine = _forecast(candidate, candidate, start, folder, progress)
    found: dict[str, Any] = {
        "from": str(start),
        "to": f"{candidate.panel.dates[-1]:%Y-%m-%d}",
        "production": None,
        "left_out": None,
    }
    theirs = None
    if production:
        try:
            theirs = _forecast(production, candidate, start, folder, progress)
            found["production"] = production.release.id
        except Exception as error:  # a release that this version cannot run: for the gate to judge
            found["left_out"] = f"production ({production.release.id}) does not answer: {told(error)}"
    return found | {"horizons": _by_horizon(mine, theirs)}


def _forecast(
    models: ReleasedModels, candidate: ReleasedModels, start: np.datetime64, folder: Path, progress: Report
) -> pd.DataFrame:
    end = candidate.panel.dates[-1].to_numpy().astype("datetime64[D]")
    study = BacktestPlan(models, candidate.panel, start, end, None, folder / models.release.id)
    table = run_study(study, progress=lambda done, of: progress(models.release.id, done, of)).table
    keep(study, table, figures({OURS: table}, study))
    return table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)].reset_index(drop=True)


def _by_horizon(mine: pd.DataFrame, theirs: pd.DataFrame | None) -> dict[str, Any]:
    shared = mine[[*ROW]] if theirs is None else mine[[*ROW]].merge(theirs[[*ROW]], on=[*ROW])
    mine = mine.merge(shared, on=[*ROW])
    summed = {"candidate": summarise(mine).set_index("horizon")}
    ratios = None
    if theirs is not None:
        theirs = theirs.merge(shared, on=[*ROW])
        summed["production"] = summarise(theirs).set_index("horizon")
        ratios = compare(mine, theirs).set_index("horizon")
    found = {}
    for horizon, ours in summed["candidate"].iterrows():
        rows: dict[str, Any] = {
            name: {key: float(table.loc[horizon, key]) for key in SHOWN} for name, table in summed.items()
        }
        rows["naive"] = {"mae": float(ours["naive_mae"]), "mape": float(ours["naive_mape"])}
        rows["naive"] |= {"rel_mae": 1.0, "rel_rmse": 1.0}
        if ratios is not None:
            names = ("rel_mae", "rel_rmse", "dm_abs_p", "dm_sq_p")
            rows["ratio"] = {name: float(ratios.loc[horizon, name]) for name in names}
        days = mine.loc[mine["horizon"] == horizon, "cutoff"].nunique()
        found[str(horizon)] = {"n": int(ours["n"]), "cutoffs": int(days), **rows}
    return found
