"""The stocks that the report's page has room for, and the data of their charts."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from common.prices.panel import Panel
from train.evaluation.evidence import Evidence
from train.evaluation.questions import turnover

BAND = ("lo90", "hi90")
SERIES_COLUMNS = ["symbol", "horizon", "target_date", "published", *BAND]
SERIES_ROOM = 3_600_000
"""Maximum bytes of closes and forecasts in the page."""
CELLS_ROOM = 10_000
"""Maximum cells of the table of stocks in the page, about 95 bytes each."""


def listed_stocks(evidence: Evidence, columns: int) -> tuple[list[str], dict[str, Any]]:
    """Return the stocks that fit into the page, the most traded first, and their `stock_series`.

    ``columns`` is the number of columns of the table of stocks.
    """
    known = set(evidence.universe.symbols)
    traded = [symbol for symbol in turnover(evidence.panel).index if symbol in known]
    symbols = [*dict.fromkeys([*traded, *evidence.universe.symbols])][: CELLS_ROOM // columns]
    series = stock_series(evidence, symbols)
    parts = {part: series[part] for part in ("close", "forecast")}
    sizes = [len(json.dumps([values.get(s) for values in parts.values()])) for s in symbols]
    symbols = symbols[: max(1, int((np.cumsum(sizes) <= SERIES_ROOM).sum()))]
    fitting = {part: {s: values[s] for s in symbols if s in values} for part, values in parts.items()}
    return symbols, series | fitting


def stock_series(evidence: Evidence, symbols: Sequence[str]) -> dict[str, Any]:
    """Return the data of the charts of some stocks in a compact form.

    Returns
    -------
    dict
        ``dates``: the sessions of the test part; ``close``: by symbol, KES on each of them (None without a
        price); ``forecast``: by symbol and horizon, ``t`` (positions of the target days in ``dates``), ``p``
        (published) and, with intervals, ``l`` and ``h``. Forecasts of future days are omitted.
    """
    dates = _dates(evidence)
    table = evidence.forecasts.read(SERIES_COLUMNS, symbols=symbols)
    table = table[table["target_date"].notna()].sort_values(["symbol", "horizon", "target_date"])
    positions = dates.get_indexer(table["target_date"])
    values = {key: _prices(table[name]) for key, name in zip("plh", ("published", *BAND), strict=True)}
    banded = table[list(BAND)].notna().any(axis=1).to_numpy()
    forecast: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for (symbol, horizon), rows in table.reset_index().groupby(["symbol", "horizon"]).indices.items():
        keys = "plh" if banded[rows].any() else "p"
        lines = {"t": positions[rows].tolist(), **{key: values[key][rows].tolist() for key in keys}}
        forecast.setdefault(str(symbol), {})[str(horizon)] = lines
    close = {}
    for symbol in symbols if len(dates) else ():
        own = _closes(evidence.panel, symbol, dates)
        if own is not None:
            close[symbol] = _prices(own).tolist()
    return {"dates": [f"{date:%Y-%m-%d}" for date in dates], "close": close, "forecast": forecast}


def _closes(panel: Panel, symbol: str, dates: pd.DatetimeIndex) -> np.ndarray | None:
    """Return a stock's closes on all panel days of a period, NaN without one; None if it has none at all."""
    rows = slice(*panel.spans.get(symbol, (0, 0)))
    days = panel.frame["date"].array[rows].to_numpy()
    first = np.searchsorted(days, dates[0].to_datetime64())
    last = np.searchsorted(days, dates[-1].to_datetime64(), side="right")
    if first == last:
        return None
    values = np.full(len(dates), np.nan)
    values[dates.get_indexer(days[first:last])] = panel.frame["close"].array[rows].to_numpy()[first:last]
    return values


def _dates(evidence: Evidence) -> pd.DatetimeIndex:
    """Return the sessions from the first cutoff to the last target day; none without an outcome."""
    table = evidence.forecasts.read(["cutoff", "target_date"])
    table = table[table["target_date"].notna()]
    days, targets = evidence.panel.dates, table["target_date"].unique()
    if len(table):
        days = days[(days >= table["cutoff"].min()) & (days <= table["target_date"].max())]
    else:
        days = days[:0]
    return pd.DatetimeIndex(np.union1d(days.to_numpy(), targets).astype("datetime64[s]"))


def _prices(values: pd.Series | np.ndarray) -> np.ndarray:
    """Return prices in KES as objects, rounded to less than a tick; None for a missing price."""
    numbers = np.asarray(values, dtype=float)
    rounded: np.ndarray = np.where(numbers >= 10, np.round(numbers, 2), np.round(numbers, 3)).astype(object)
    rounded[~np.isfinite(numbers)] = None
    return rounded
