"""The performance matrix: every stock at every horizon, next to naive."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.exchange.universe import Universe
from common.forecast.confidence import STALE_SESSIONS, confidence
from common.prices.panel import Panel
from common.release.bundle import GENERAL
from train.evaluation.stock_coverage import stock_coverage
from train.evaluation.summary import summarise

FIGURES = (
    *("n", "mae", "naive_mae", "rmse", "naive_rmse", "mape", "naive_mape", "rel_mae", "rel_rmse"),
    *("dm_abs_p", "dm_sq_p", "cover90", "width90", "brier", "brier_skill", "brier_up", "brier_up_skill"),
)
"""Figures of each horizon, see `train.evaluation.summary`; the column ends in ``_1d`` and so on."""
SHOWN = ("symbol", "sector", "tier", "model", "rank", "confidence", "flags")
SHORT_ROWS = 250
"""A stock with fewer closes is flagged as too short."""
RANKED_ROWS = 50
"""Scored forecasts at the shortest horizon that a stock needs for a rank."""


def performance_matrix(
    table: pd.DataFrame,
    universe: Universe,
    panel: Panel,
    choices: dict[str, str],
    by_symbol: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one row per stock, in the universe's order.

    Parameters
    ----------
    table : forecasts of the test part, see `train.evaluation.backtest.forecast_table`; their
        `newest_rows` are enough if ``by_symbol`` is given
    choices : the kind of each specific model (such as ``average``) by symbol; other stocks use ``general``
    by_symbol : the summary by horizon and symbol, if already computed

    Returns
    -------
    DataFrame
        ``symbol``, ``name``, ``sector``, ``tier``, ``model``, then `FIGURES` by horizon (errors in KES; empty
        where the stock did not move, so that it does not improve a mean), ``source_1d`` and so on (``model``
        or ``last_price``), ``rank`` (1 is best: mean of relMAE and relRMSE at the shortest horizon),
        ``confidence`` and its ``reasons``, and ``flags``.
    """
    horizons = sorted(table["horizon"].unique())
    summed = summarise(table, ["horizon", "symbol"]) if by_symbol is None else by_symbol
    figures = _by_key(summed[["symbol", "horizon", *FIGURES]])
    newest = _by_key(newest_rows(table))
    sessions = panel.dates.to_numpy().astype("datetime64[D]")
    rows = []
    for stock in universe.stocks:
        row: dict[str, Any] = {
            "symbol": stock.symbol,
            "name": stock.name,
            "sector": stock.sector,
            "tier": stock.tier,
            "model": choices.get(stock.symbol, GENERAL),
        }
        for horizon in horizons:
            found = figures.get((stock.symbol, horizon))
            row |= {f"{name}_{horizon}d": None if found is None else found[name] for name in FIGURES}
            last = newest.get((stock.symbol, horizon))
            row[f"source_{horizon}d"] = None if last is None else last["source"]
        near = horizons[0]
        last = newest.get((stock.symbol, near))
        state = _state(stock.symbol, panel, sessions)
        row |= _judgement(row, near, last, state)
        rows.append(row)
    matrix = pd.DataFrame(rows)
    score = (matrix[f"rel_mae_{horizons[0]}d"] + matrix[f"rel_rmse_{horizons[0]}d"]).astype(float) / 2
    score = score.where(matrix[f"n_{horizons[0]}d"].astype(float) >= RANKED_ROWS)
    matrix.insert(5, "rank", score.rank(method="min").astype("Int64"))
    counts = [name for name in matrix if name.startswith("n_")]
    return matrix.astype({name: "Int64" for name in counts})


def newest_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the newest forecast of each stock and horizon, with the columns that the matrix uses."""
    ends = table[["symbol", "horizon", "cutoff", "source", "model_type", "frozen"]].sort_values("cutoff")
    return ends.drop_duplicates(["symbol", "horizon"], keep="last")


def write_matrix(folder: Path, matrix: pd.DataFrame) -> None:
    """Write ``performance_matrix.csv``, ``.json`` and ``.md`` into a folder."""
    stem = folder / "performance_matrix"
    storage.write_bytes(stem.with_suffix(".csv"), matrix.to_csv(index=False).encode())
    records = json.loads(matrix.to_json(orient="records"))
    storage.write_json(stem.with_suffix(".json"), records)
    pages = [matrix_markdown(matrix), stock_coverage_markdown(matrix)]
    storage.write_bytes(stem.with_suffix(".md"), "\n".join(filter(None, pages)).encode())


def matrix_markdown(matrix: pd.DataFrame) -> str:
    """Format the matrix as Markdown: names, ratios to naive at every horizon, rank, confidence, flags."""
    horizons = [name[len("rel_mae_") : -1] for name in matrix if name.startswith("rel_mae_")]
    near = horizons[0]
    head = [*SHOWN[:5], "MAE KES", "naive KES", *(f"{h} d relMAE / relRMSE" for h in horizons), *SHOWN[5:]]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in matrix.itertuples(index=False):
        cells = [*(getattr(row, name) for name in SHOWN[:5])]
        cells += [_number(getattr(row, f"{name}_{near}d")) for name in ("mae", "naive_mae")]
        for horizon in horizons:
            pair = [_number(getattr(row, f"{name}_{horizon}d")) for name in ("rel_mae", "rel_rmse")]
            cells.append(" / ".join(pair))
        cells += [getattr(row, name) for name in SHOWN[5:]]
        lines.append("| " + " | ".join("" if pd.isna(cell) else str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def stock_coverage_markdown(matrix: pd.DataFrame) -> str:
    """Format the share of stocks whose intervals hold, beside that of perfect calibration, as Markdown.

    Empty without intervals, or without a stock that has enough forecasts to be judged.
    """
    horizons = [name[len("cover90_") : -1] for name in matrix if name.startswith("cover90_")]
    parts = [
        pd.DataFrame({"horizon": int(h), "n": matrix[f"n_{h}d"], "cover90": matrix[f"cover90_{h}d"]})
        for h in horizons
    ]
    table = stock_coverage(pd.concat(parts).dropna())
    if table.empty:
        return ""
    lines = ["| days ahead | stocks | own 90 % intervals cover 85 to 95 % | if perfectly calibrated |"]
    lines.append("|" + "---|" * 4)
    lines += [
        f"| {row.horizon} | {row.stocks} | {row.within:.0%} | {row.perfect:.0%} |"
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.3f}"


def _by_key(table: pd.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows as a dict by symbol and horizon."""
    rows = table.drop(columns=["symbol", "horizon"]).to_dict(orient="records")
    return dict(zip(zip(table["symbol"], table["horizon"], strict=True), rows, strict=True))


def _state(symbol: str, panel: Panel, sessions: np.ndarray) -> dict[str, Any]:
    """Return a stock's number of rows and how many sessions its last row is behind the data."""
    first, stop = panel.spans.get(symbol, (0, 0))
    if first == stop:
        return {"rows": 0, "behind": len(sessions)}
    last = panel.frame["date"].iloc[stop - 1].to_datetime64()
    behind = int(len(sessions) - np.searchsorted(sessions, last, side="right"))
    return {"rows": stop - first, "behind": behind}


def _judgement(
    row: dict[str, Any], near: int, last: dict[str, Any] | None, state: dict[str, Any]
) -> dict[str, Any]:
    """Return the confidence, its reasons and the flags of one stock at the shortest horizon."""
    frozen = last is None or bool(last["frozen"])
    ratios = [row[f"{name}_{near}d"] for name in ("rel_mae", "rel_rmse")]
    measured = [value for value in ratios if value is not None and np.isfinite(value)]
    skilled = len(measured) == 2 and max(measured) < 1
    by_model = last is not None and last["source"] == "model"
    found = confidence(
        model_type="general" if last is None else last["model_type"],
        by_model=by_model,
        skilled=skilled,
        frozen=frozen,
        sessions_behind=state["behind"],
    )
    flags = {
        "no data": state["rows"] == 0,
        "too short": 0 < state["rows"] < SHORT_ROWS,
        "frozen": state["rows"] > 0 and frozen,
        "stale": state["rows"] > 0 and state["behind"] >= STALE_SESSIONS,
        "last price published": last is not None and last["source"] != "model" and not frozen,
        "worse than naive": by_model and ratios[0] is not None and round(ratios[0], 3) > 1,
    }
    return {
        "confidence": found.word,
        "reasons": "; ".join(found.reasons),
        "flags": ", ".join(flag for flag, holds in flags.items() if holds),
    }
