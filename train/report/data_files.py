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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from common import storage
from common.pages.tables import Table
from train.evaluation.evidence import Evidence

BAND = ("lo90", "hi90")
FILE_NAMES = re.compile(r"counters(_\d+)?|\d{4,}")
SERIES_ROOM = 2_500_000
"""Maximum bytes of closes and forecasts in the page; more are written beside it."""
BLOCK_SIZE = 250_000
"""Approximate bytes of a block of stocks."""
CELLS_ROOM = 15_000
"""Maximum cells of the table of stocks in the page, about 95 bytes each."""
Series = dict[str, Any]


@dataclass
class DataFiles:
    """The files beside a page: scripts that call ``reportData(release, name, data)``."""

    folder: Path
    release: str
    contents: dict[str, str] = field(default_factory=dict)
    """JSON by name."""

    def add(self, name: str, data: dict[str, Any]) -> None:
        self.contents[name] = _json(data)

    def write(self) -> None:
        """Write all files, each atomically."""
        for name, data in self.contents.items():
            call = f"reportData({json.dumps(self.release)},{json.dumps(name)},{data});\n"
            storage.write_bytes(self.folder / f"{name}.js", call.encode())

    def remove_others(self) -> None:
        """Remove files of an earlier page with the same name."""
        for path in storage.matching_names(self.folder, "*.js"):
            if FILE_NAMES.fullmatch(path.stem) and path.stem not in self.contents:
                storage.remove(path)


def series(evidence: Evidence, files: DataFiles) -> tuple[Series, set[str]]:
    """Return the page's data for the chart of one stock, and the symbols that have forecasts.

    The data are those of `stock_series`. If they are too large for the page, they are added to ``files`` in
    blocks, and the page gets ``dates`` and, as ``blocks``, the first symbol of each block.
    """
    data = stock_series(evidence)
    forecast = set(data["forecast"])
    size = len(_json(data))
    if size <= SERIES_ROOM:
        return data, forecast
    symbols = sorted({*data["close"], *forecast})
    count = max(1, BLOCK_SIZE * len(symbols) // size)
    for number, start in enumerate(range(0, len(symbols), count), start=1):
        block = symbols[start : start + count]
        content = {part: {s: data[part].get(s) for s in block} for part in ("close", "forecast")}
        files.add(f"{number:04d}", content)
    return {"dates": data["dates"], "blocks": symbols[::count]}, forecast


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


def stock_series(evidence: Evidence) -> Series:
    """Return the data of every stock's chart in a compact form.

    Returns
    -------
    dict
        ``dates``: the sessions of the test part; ``close``: by symbol, KES on each of them (None without a
        price); ``forecast``: by symbol and horizon, ``t`` (positions of the target days in ``dates``), ``p``
        (published) and, with intervals, ``l`` and ``h``. Forecasts of future days are omitted.
    """
    table = evidence.table[evidence.table["target_date"].notna()]
    if not len(table):
        return {"dates": [], "close": {}, "forecast": {}}
    prices = evidence.panel.frame
    prices = prices[prices["date"].between(table["cutoff"].min(), table["target_date"].max())]
    dates = pd.DatetimeIndex(np.union1d(prices["date"], table["target_date"]).astype("datetime64[s]"))
    prices = prices[prices["symbol"].isin(evidence.universe.symbols)]
    closes = prices.pivot(index="date", columns="symbol", values="close").reindex(dates)
    table = table.sort_values(["symbol", "horizon", "target_date"])
    positions = dates.get_indexer(table["target_date"])
    values = {key: _prices(table[name]) for key, name in zip("plh", ("published", *BAND), strict=True)}
    banded = table[list(BAND)].notna().any(axis=1).to_numpy()
    forecast: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for (symbol, horizon), rows in table.reset_index().groupby(["symbol", "horizon"]).indices.items():
        keys = "plh" if banded[rows].any() else "p"
        lines = {"t": positions[rows].tolist(), **{key: values[key][rows].tolist() for key in keys}}
        forecast.setdefault(str(symbol), {})[str(horizon)] = lines
    return {
        "dates": [f"{date:%Y-%m-%d}" for date in dates],
        "close": {str(symbol): _prices(closes[symbol]).tolist() for symbol in closes},
        "forecast": forecast,
    }


def _cell(cell: Any) -> Any:
    """Return a cell as JSON; of a ratio, the sign, the number and the star."""
    if cell.number is None:
        return cell.shown if isinstance(cell.shown, str) and not isinstance(cell.shown, Markup) else None
    text = cell.shown.striptags() if isinstance(cell.shown, Markup) else cell.shown
    return [float(f"{cell.number:.6g}"), " ".join(text.split()[:2]) if text[:1] in "✓✗=" else text]


def _prices(values: pd.Series) -> np.ndarray:
    """Return prices in KES as objects, rounded to less than a tick; None for a missing price."""
    numbers = values.to_numpy(float)
    rounded: np.ndarray = np.where(numbers >= 10, np.round(numbers, 2), np.round(numbers, 3)).astype(object)
    rounded[~np.isfinite(numbers)] = None
    return rounded


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
