"""Small archives written by hand, for the tests of the reader and the panel."""

from pathlib import Path

import numpy as np
import pandas as pd

OLD_HEADER = (
    "DATE,CODE,NAME,12m Low,12m High,Day Low,Day High,Day Price,Previous,Change,Change%,Volume,Adjust"
)
NEW_HEADER = (
    "Date,Code,Name,12m Low,12m High,Day Low,Day High,Day Price,Previous,Change,Change%,Volume,Adjusted Price"
)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "^IDX")
FIELDS = ["close", "low", "high", "previous", "volume"]


def weekdays(first: str, count: int) -> list[pd.Timestamp]:
    return list(pd.bdate_range(first, periods=count))


def market(days: list[pd.Timestamp], symbols: tuple[str, ...] = SYMBOLS, seed: int = 0) -> pd.DataFrame:
    """A row per day and symbol whose price moves every day; ``written`` is the date that will be written."""
    rng = np.random.default_rng(seed)
    last = {symbol: round(float(rng.uniform(10, 90)), 2) for symbol in symbols}
    rows = []
    for day in days:
        for symbol in symbols:
            step = float(rng.choice([-1, 1])) * rng.uniform(0.01, 0.05)
            close = round(last[symbol] * (1 + step), 2)
            low, high = round(close * 0.99, 2), round(close * 1.01, 2)
            volume = "-" if symbol.startswith("^") else int(rng.integers(1, 90_000)) * 100
            rows.append((day, day, symbol, close, low, high, last[symbol], volume))
            last[symbol] = close
    columns = ["date", "written", "symbol", "close", "low", "high", "previous", "volume"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(["written", *FIELDS], "object"))


def at(frame: pd.DataFrame, day: pd.Timestamp, symbol: str | None = None) -> pd.Series:
    return (frame["date"] == day) & ((frame["symbol"] == symbol) | (symbol is None))


def copy_day(frame: pd.DataFrame, source: pd.Timestamp, day: pd.Timestamp) -> pd.DataFrame:
    """``day`` becomes a copy of ``source``; what comes after keeps its true ``Previous``."""
    rest = frame[~at(frame, day)]
    copied = frame[at(frame, source)].assign(date=day, written=day)
    return pd.concat([rest, copied]).sort_values("date", kind="stable", ignore_index=True)


def price_line(row: object) -> str:
    """One line as published: two-digit years before 2023, a thousands comma, ``-`` for nothing."""
    written = row.written if isinstance(row.written, str) else _date(row.written)
    fields = [written, row.symbol, f"{row.symbol} Plc", "1.00", "99.00", row.low, row.high, row.close]
    fields += [row.previous, "-", "-", row.volume, "-"]
    return ",".join(_field(field) for field in fields)


def write(folder: Path, frame: pd.DataFrame) -> Path:
    """A file per year, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    for year, rows in frame.groupby(frame["date"].dt.year):
        header = OLD_HEADER if year < 2022 else NEW_HEADER
        text = "\n".join([header, *map(price_line, rows.itertuples())]) + "\n"
        encoding = "utf-8-sig" if year == 2021 else "utf-8"
        (folder / f"NSE_data_all_stocks_{year}.csv").write_text(text, encoding=encoding)
    return folder


def _date(day: pd.Timestamp) -> str:
    return f"{day.day}-{day:%b-%y}" if day.year < 2023 else f"{day:%d-%b-%Y}"


def _field(value: object) -> str:
    text = value if isinstance(value, str) else f"{value:,}"
    return f'"{text}"' if "," in text else text
