"""Backtest the new release and the one in production on the same days, next to naive, at every horizon."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.release.forecasts import ReleasedModels
from common.release.subject import error_text
from train.evaluation.summary import ROW, compare, summarise
from train.gate.comparison import SHOWN, Progress
from train.pipeline.backtest_period import OURS, BacktestPlan, run_backtest, store_backtest, summarise_models


def backtest_candidate(
    candidate: ReleasedModels, production: ReleasedModels | None, folder: Path, *, progress: Progress
) -> dict[str, Any]:
    """Forecast every day that is out of sample for both releases, on the candidate's prices.

    Both forecast with their evaluated networks, whose weights are fixed; production forecasts the newer days
    without training. The forecasts are stored below ``folder``.

    Returns
    -------
    dict
        ``from`` and ``to`` (cutoffs); ``production`` (release id, or None) and why it was ``left_out``, if
        it was; ``horizons``: by days ahead, ``n`` and ``cutoffs`` shared by both and, as in `summarise`,
        ``candidate``, ``production``, ``naive`` (MAE in KES, MAPE in percent, relMAE, relRMSE) and ``ratio``
        (candidate over production, and the p-values of `compare`).
    """
    releases = [candidate] + ([production] if production else [])
    start = max(np.datetime64(models.release.info["valid_end"]) for models in releases)
    new = _forecast(candidate, candidate, start, folder, progress)
    result: dict[str, Any] = {
        "from": str(start),
        "to": f"{candidate.panel.dates[-1]:%Y-%m-%d}",
        "production": None,
        "left_out": None,
    }
    old = None
    if production:
        try:
            old = _forecast(production, candidate, start, folder, progress)
            result["production"] = production.release.id
        except Exception as error:  # this version cannot run the release: the gate decides
            reason = f"production ({production.release.id}) returns no forecasts: {error_text(error)}"
            result["left_out"] = reason
    return result | {"horizons": _by_horizon(new, old)}


def _forecast(
    models: ReleasedModels, candidate: ReleasedModels, start: np.datetime64, folder: Path, progress: Progress
) -> pd.DataFrame:
    end = candidate.panel.dates[-1].to_numpy().astype("datetime64[D]")
    evaluated = ReleasedModels(models.release, "evaluated")
    study = BacktestPlan(evaluated, candidate.panel, start, end, None, folder / models.release.id)
    table = run_backtest(study, progress=lambda done, of: progress(models.release.id, done, of)).table
    store_backtest(study, table, summarise_models({OURS: table}, study))
    return table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)].reset_index(drop=True)


def _by_horizon(new: pd.DataFrame, old: pd.DataFrame | None) -> dict[str, Any]:
    tables, ratios = {"candidate": new}, None
    if old is not None:
        shared = new[[*ROW]].merge(old[[*ROW]], on=[*ROW])
        tables = {"candidate": new.merge(shared, on=[*ROW]), "production": old.merge(shared, on=[*ROW])}
        ratios = compare(*tables.values()).set_index("horizon")
    summaries = {name: summarise(table).set_index("horizon") for name, table in tables.items()}
    cutoffs = tables["candidate"].groupby("horizon")["cutoff"].nunique()
    horizons = {}
    for horizon, own in summaries["candidate"].iterrows():
        rows: dict[str, Any] = {
            name: {key: float(table.loc[horizon, key]) for key in SHOWN} for name, table in summaries.items()
        }
        rows["naive"] = {"mae": float(own["naive_mae"]), "mape": float(own["naive_mape"])}
        rows["naive"] |= {"rel_mae": 1.0, "rel_rmse": 1.0}
        if ratios is not None:
            names = ("rel_mae", "rel_rmse", "dm_abs_p", "dm_sq_p")
            rows["ratio"] = {name: float(ratios.loc[horizon, name]) for name in names}
        horizons[str(horizon)] = {"n": int(own["n"]), "cutoffs": int(cutoffs[horizon]), **rows}
    return horizons
