"""A second market: another week, other sectors, and files in which everything is called otherwise.

``python tests/support/prices/market.py FOLDER`` writes the files that ``docs/tutorial.md`` works with.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from common import storage
from common.archive.layouts import SYNTHETIC_FILE

SYMBOLS = ("ADOBE", "BASALT", "COPAL", "DAMMAR", "EBONY", "FLINT")
INDEX = "DUNEX"
WEEK = "Sun Mon Tue Wed Thu"
ONE_FILE_EACH = """
files = "{symbol}_daily.txt"   # one file for each stock, named after it
delimiter = ";"
date_format = "%d/%m/%Y"
decimal = ","                  # 1.234,50
weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu"]
index = "DUNEX"                # the index of all shares

[columns]
date = "Session"
close = "Closing price"
low = "Day's low"
high = "Day's high"
previous = "Previous close"
volume = "Shares"
"""
ONE_LONG_FILE = """
files = "all prices.tsv"
delimiter = "\\t"
header_line = 3
encoding = "latin-1"
thousands = "'"
weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu"]
index = "DUNEX"

[columns]
symbol = "Code"
date = "Séance"
close = "LAST"
low = "LOW"
high = "HIGH"
previous = "PREV"
volume = "VOL"
"""
UNIVERSE = """
country = "JO"
timezone = "Asia/Amman"
closes = "13:00"
specific = ["ADOBE"]

[sectors.Stone]
ADOBE = "Adobe Bricks Co"
BASALT = "Basalt Roads Co"
FLINT = "Flint and Sons"

[sectors."Resin and Wood"]
COPAL = "Copal Varnish Co"
DAMMAR = "Dammar Traders"
EBONY = "Ebony Mills"
"""


def made_market(sessions: int = 500, seed: int = 0) -> pd.DataFrame:
    """A row for each symbol (the index too) and session, oldest first; ``volume`` 0 where it did not move."""
    days = pd.bdate_range("2021-01-03", periods=sessions, freq="C", weekmask=WEEK)
    rng, parts = np.random.default_rng(seed), []
    for symbol in (*SYMBOLS, INDEX):
        moved = rng.random(sessions) < 0.8
        close = rng.uniform(20, 2_000) * np.exp(np.cumsum(moved * rng.normal(0, 0.015, sessions)))
        close = np.round(close, 2)
        part = {
            "symbol": symbol,
            "date": days,
            "close": close,
            "low": np.round(close * 0.99, 2),
            "high": np.round(close * 1.01, 2),
            "previous": np.r_[np.nan, close[:-1]],
            "volume": moved * rng.integers(1, 5_000, sessions) * 100,
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def write_one_file_each(folder: Path, market: pd.DataFrame) -> Path:
    """As `ONE_FILE_EACH` says, newest first, and with an unused column."""
    folder.mkdir(parents=True, exist_ok=True)
    header = "Closing price;Day's high;Day's low;Previous close;Shares;Trades;Session"
    for symbol, rows in market.groupby("symbol"):
        lines = [header]
        for row in rows.iloc[::-1].itertuples():
            prices = [_written(value, ".", ",") for value in (row.close, row.high, row.low, row.previous)]
            lines.append(";".join([*prices, _shares(row.volume), "7", f"{row.date:%d/%m/%Y}"]))
        (folder / f"{symbol.lower()}_daily.txt").write_text("\r\n".join(lines) + "\r\n")
    return folder


def write_one_long_file(folder: Path, market: pd.DataFrame) -> Path:
    """As `ONE_LONG_FILE` says, the sessions one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "Prices of all sessions",
        "",
        "\t".join(("Séance", "Code", "LAST", "PREV", "LOW", "HIGH", "VOL")),
    ]
    for row in market.sort_values(["date", "symbol"]).itertuples():
        prices = [_written(value, "'", ".") for value in (row.close, row.previous, row.low, row.high)]
        lines.append("\t".join([f"{row.date:%Y-%m-%d}", row.symbol, *prices, _shares(row.volume)]))
    (folder / "all prices.tsv").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder


def _written(value: float, group: str, point: str) -> str:
    return "" if np.isnan(value) else f"{value:,.2f}".translate(str.maketrans({",": group, ".": point}))


def _shares(volume: int) -> str:
    return "-" if volume == 0 else str(volume)


if __name__ == "__main__":
    target = write_one_file_each(Path(sys.argv[1]), made_market())
    storage.write_json(target / SYNTHETIC_FILE, {"complete": True, "of": "tests/support/prices/market.py"})
