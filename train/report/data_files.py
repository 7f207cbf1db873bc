"""What of the report grows with the universe: in the page while it fits, else in data files beside it.

::

    report_data/counters.js     the columns of all counters that do not depend on the horizon
    report_data/counters_5.js   their figures five days ahead
    report_data/0001.js         closes and forecasts of a block of stocks

Each file is a program that hands its data to the page, with the release it is of; the page loads one when it
is needed. Browsers forbid a page that was opened as a file to read its neighbours in any other way.
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
OURS = re.compile(r"counters(_\d+)?|\d{4,}")
"""Names of data files."""
SERIES_ROOM = 2_500_000
"""Bytes of closes and forecasts that the page itself holds; more of them are written beside it."""
BLOCK_SIZE = 250_000
"""Bytes of a block of stocks, roughly."""
CELLS_ROOM = 15_000
"""Cells of the table of counters that the page itself holds, some 95 bytes each."""
Series = dict[str, Any]


@dataclass
class DataFiles:
    """The files beside a page: programs that call ``reportData(release, name, data)``."""

    folder: Path
    release: str
    contents: dict[str, str] = field(default_factory=dict)
    """JSON by name."""

    def add(self, name: str, data: dict[str, Any]) -> None:
        self.contents[name] = _json(data)

    def write(self) -> None:
        """Write all of them, each whole or not at all."""
        for name, data in self.contents.items():
            call = f"reportData({json.dumps(self.release)},{json.dumps(name)},{data});\n"
            storage.write_bytes(self.folder / f"{name}.js", call.encode())

    def remove_others(self) -> None:
        """Remove what an earlier page of the same name left behind."""
        for path in storage.names(self.folder, "*.js"):
            if OURS.fullmatch(path.stem) and path.stem not in self.contents:
                storage.remove(path)


def series(evidence: Evidence, files: DataFiles) -> tuple[Series, set[str]]:
    """The numbers of the chart of one stock for the page, and the symbols that have forecasts.

    Returns
    -------
    dict, set
        As `stock_series`; where that is too much, ``dates`` and the first symbol of each of the ``blocks``,
        whose numbers are added to ``files``.
    """
    found = stock_series(evidence)
    symbols = sorted({*found["close"], *found["forecast"]})
    parts = ("close", "forecast")
    size = len(_json(found))
    forecast = set(found["forecast"])
    if size <= SERIES_ROOM:
        return found, forecast
    count = max(1, BLOCK_SIZE * len(symbols) // size)
    first = symbols[::count]
    for number, start in enumerate(range(0, len(symbols), count), start=1):
        block = symbols[start : start + count]
        files.add(f"{number:04d}", {part: {s: found[part].get(s) for s in block} for part in parts})
    return {"dates": found["dates"], "blocks": first}, forecast


def counters(matrix: Table, forecast: set[str], files: DataFiles) -> tuple[Table, dict[str, Any] | None]:
    """The table of counters with as many rows as fit into the page.

    Returns
    -------
    Table, dict
        Where rows are left out: what the page tells of them, and all rows are added to ``files`` by horizon.
        A cell is null, a text, or a number with its text.
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
    """The numbers of every stock's chart, compactly.

    Returns
    -------
    dict
        ``dates``: the sessions of the test part; ``close``: by symbol, KES on each of them (None: no
        price); ``forecast``: by symbol and horizon, ``t`` (places of the target days in ``dates``), ``p``
        (published) and, where there are intervals, ``l`` and ``h``. Forecasts of days that have not come
        yet are left out.
    """
    table = evidence.table[evidence.table["target_date"].notna()]
    if not len(table):
        return {"dates": [], "close": {}, "forecast": {}}
    prices = evidence.panel.frame
    prices = prices[prices["date"].between(table["cutoff"].min(), table["target_date"].max())]
    dates = pd.DatetimeIndex(np.union1d(prices["date"], table["target_date"]).astype("datetime64[s]"))
    known = prices[prices["symbol"].isin(evidence.universe.symbols)]
    closes = known.pivot(index="date", columns="symbol", values="close").reindex(dates)
    table = table.sort_values(["symbol", "horizon", "target_date"])
    places = dates.get_indexer(table["target_date"])
    prices_of = {key: _prices(table[name]) for key, name in zip("plh", ("published", *BAND), strict=True)}
    banded = table[list(BAND)].notna().any(axis=1).to_numpy()
    forecast: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for (symbol, horizon), own in table.reset_index().groupby(["symbol", "horizon"]).indices.items():
        kept = "plh" if banded[own].any() else "p"
        found = {"t": places[own].tolist(), **{key: prices_of[key][own].tolist() for key in kept}}
        forecast.setdefault(str(symbol), {})[str(horizon)] = found
    return {
        "dates": [f"{date:%Y-%m-%d}" for date in dates],
        "close": {str(symbol): _prices(closes[symbol]).tolist() for symbol in closes},
        "forecast": forecast,
    }


def _cell(cell: Any) -> Any:
    """A ratio's Markup as its sign, number and star: the page says the word of the sign."""
    if cell.number is None:
        return cell.shown if isinstance(cell.shown, str) and not isinstance(cell.shown, Markup) else None
    text = cell.shown.striptags() if isinstance(cell.shown, Markup) else cell.shown
    return [float(f"{cell.number:.6g}"), " ".join(text.split()[:2]) if text[:1] in "✓✗=" else text]


def _prices(values: pd.Series) -> np.ndarray:
    """KES as objects, rounded to less than a tick; None where there is none."""
    numbers = values.to_numpy(float)
    rounded: np.ndarray = np.where(numbers >= 10, np.round(numbers, 2), np.round(numbers, 3)).astype(object)
    rounded[~np.isfinite(numbers)] = None
    return rounded


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
