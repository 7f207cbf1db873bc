"""The report's data that grow with the universe: in the page if they fit, otherwise in files beside it.

::

    report_data/counters.js     the columns of all stocks that do not depend on the horizon
    report_data/counters_5.js   their figures five days ahead
    report_data/0001.js         closes and forecasts of a block of stocks

Each file is a script that passes its data and the release id to the page, which loads it on demand: browsers
do not let a page that was opened as a file read other files in any other way.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from common import storage
from common.engine import even_blocks
from common.pages.tables import Table
from common.prices.panel import Panel
from train.evaluation.evidence import Evidence

BAND = ("lo90", "hi90")
PARTS = ("close", "forecast")
SERIES_COLUMNS = ["symbol", "horizon", "target_date", "published", *BAND]
FILE_NAMES = re.compile(r"counters(_\d+)?|\d{4,}")
SERIES_ROOM = 2_500_000
"""Maximum bytes of closes and forecasts in the page; more are written beside it."""
BLOCK_SIZE = 250_000
"""Approximate bytes of a block of stocks."""
READ_SYMBOLS = 256
"""Stocks whose closes and forecasts are in memory at a time."""
CELLS_ROOM = 15_000
"""Maximum cells of the table of stocks in the page, about 95 bytes each."""
Series = dict[str, Any]


@dataclass
class DataFiles:
    """The files beside a page: scripts that call ``reportData(release, name, data)``."""

    folder: Path
    release: str
    names: set[str] = field(default_factory=set)

    def add(self, name: str, data: dict[str, Any]) -> None:
        """Write a file, atomically."""
        call = f"reportData({json.dumps(self.release)},{json.dumps(name)},{_json(data)});\n"
        storage.write_bytes(self.folder / f"{name}.js", call.encode())
        self.names.add(name)

    def remove_others(self) -> None:
        """Remove files of an earlier page with the same name."""
        for path in storage.matching_names(self.folder, "*.js"):
            if FILE_NAMES.fullmatch(path.stem) and path.stem not in self.names:
                storage.remove(path)


def series(evidence: Evidence, files: DataFiles) -> tuple[Series, set[str]]:
    """Return the page's data for the chart of one stock, and the symbols that have forecasts.

    The data are those of `stock_series`. If they are too large for the page, they are added to ``files`` in
    blocks, and the page gets ``dates`` and, as ``blocks``, the first symbol of each block.
    """
    dates, symbols = _dates(evidence), sorted(evidence.universe.symbols)
    forecast: set[str] = set()
    waiting: list[tuple[str, dict[str, Any], int]] = []
    blocks: list[str] = []
    size = 0
    for block in even_blocks(len(symbols), READ_SYMBOLS):
        data = stock_series(evidence, symbols[block], dates)
        forecast |= data["forecast"].keys()
        for symbol in sorted({*data["close"], *data["forecast"]}):
            entry = {part: data[part].get(symbol) for part in PARTS}
            length = len(_json(entry))
            waiting.append((symbol, entry, length))
            size += length
        if size > SERIES_ROOM:
            _write_blocks(waiting, blocks, files, least=BLOCK_SIZE)
    days = [f"{date:%Y-%m-%d}" for date in dates]
    if size > SERIES_ROOM:
        _write_blocks(waiting, blocks, files, least=1)
        return {"dates": days, "blocks": blocks}, forecast
    parts = {part: {s: entry[part] for s, entry, _ in waiting if entry[part] is not None} for part in PARTS}
    return {"dates": days} | parts, forecast


def _write_blocks(
    waiting: list[tuple[str, dict[str, Any], int]], blocks: list[str], files: DataFiles, *, least: int
) -> None:
    """Move entries to files of about ``BLOCK_SIZE`` bytes until fewer than ``least`` bytes wait."""
    while sum(length for *_, length in waiting) >= least:
        count, size = 0, 0
        while count < len(waiting) and size < BLOCK_SIZE:
            size += waiting[count][2]
            count += 1
        block = waiting[:count]
        del waiting[:count]
        blocks.append(block[0][0])
        content = {part: {symbol: entry[part] for symbol, entry, _ in block} for part in PARTS}
        files.add(f"{len(blocks):04d}", content)


def counters(matrix: Table, forecast: set[str], files: DataFiles) -> tuple[Table, dict[str, Any] | None]:
    """Return the table of stocks with the rows that fit into the page, and the counts if some do not.

    In that case all rows are added to ``files`` by horizon. A cell is null, text, or a number with its text.
    """
    room = max(1, CELLS_ROOM // max(1, len(matrix.columns)))
    if len(matrix.rows) <= room:
        return matrix, None
    for horizon in dict.fromkeys(column.horizon for column in matrix.columns):
        own = [column for column in matrix.columns if column.horizon == horizon]
        rows = [[_cell(column.cell(row)) for column in own] for row in matrix.rows]
        data: dict[str, Any] = {"columns": [column.key for column in own], "rows": rows}
        if horizon is None:
            data["drawn"] = [int(row["symbol"] in forecast) for row in matrix.rows]
        files.add("counters" if horizon is None else f"counters_{horizon}", data)
    return replace(matrix, rows=matrix.rows[:room]), {"count": len(matrix.rows), "listed": room}


def stock_series(
    evidence: Evidence, symbols: Sequence[str] | None = None, dates: pd.DatetimeIndex | None = None
) -> Series:
    """Return the data of the charts of stocks (by default all) in a compact form.

    Parameters
    ----------
    dates : ``dates`` of the result if it is computed already

    Returns
    -------
    dict
        ``dates``: the sessions of the test part; ``close``: by symbol, KES on each of them (None without a
        price); ``forecast``: by symbol and horizon, ``t`` (positions of the target days in ``dates``), ``p``
        (published) and, with intervals, ``l`` and ``h``. Forecasts of future days are omitted.
    """
    dates = _dates(evidence) if dates is None else dates
    symbols = evidence.universe.symbols if symbols is None else symbols
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


def _cell(cell: Any) -> Any:
    """Return a cell as JSON; of a ratio, the sign, the number and the star."""
    if cell.number is None:
        return cell.shown if isinstance(cell.shown, str) and not isinstance(cell.shown, Markup) else None
    text = cell.shown.striptags() if isinstance(cell.shown, Markup) else cell.shown
    return [float(f"{cell.number:.6g}"), " ".join(text.split()[:2]) if text[:1] in "✓✗=" else text]


def _prices(values: pd.Series | np.ndarray) -> np.ndarray:
    """Return prices in KES as objects, rounded to less than a tick; None for a missing price."""
    numbers = np.asarray(values, dtype=float)
    rounded: np.ndarray = np.where(numbers >= 10, np.round(numbers, 2), np.round(numbers, 3)).astype(object)
    rounded[~np.isfinite(numbers)] = None
    return rounded


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
