"""A small log of served forecasts, written as routers write it."""

import datetime as dt
from pathlib import Path
from typing import Any

from serve.ledger_files import SCHEMA, read_part
from serve.ledger_log import DayLog

NOW = [dt.datetime(2022, 4, 1, tzinfo=dt.UTC)]
NOON = dt.datetime(2022, 4, 1, 9, tzinfo=dt.UTC)


def row(symbol: str, at: dt.datetime, published: float) -> dict[str, Any]:
    plain = dict.fromkeys(SCHEMA.names)
    return plain | {
        "release": "r",
        "symbol": symbol,
        "horizon": 1,
        "cutoff": dt.date(2022, 3, 31),
        "published": published,
        "lo90": float("nan"),
        "model_type": "general",
        "served_at": at,
        "request_ids": [],
    }


def write(log: DayLog, day: int, *symbols: str) -> None:
    """One part of a day."""
    at = NOW[0] = NOON + dt.timedelta(days=day)
    for number, symbol in enumerate(symbols):
        log.add(symbol, lambda s=symbol, n=number: row(s, at, 10.1 + n), f"{symbol}-{day}")
    assert log.flush()


def day_log(home: Path, **changes: int) -> DayLog:
    kept = {"days_kept": 400, "megabytes_kept": 9, "rows_buffered": 99} | changes
    return DayLog(home / "served", count=lambda *_: None, clock=lambda: NOW[0].timestamp(), **kept)


def made_log(home: Path) -> Path:
    """Two writers over three days, the first restarted on the last; the past days are folded."""
    home.mkdir(exist_ok=True)
    first, second = day_log(home), day_log(home)
    for day in (0, 1):
        for log, symbols in ((first, ("KCB", "SCOM")), (second, ("EQTY",)), (first, ("BAT",))):
            write(log, day, *symbols)
    third = day_log(home)
    write(third, 2, "KCB", "SCOM")
    write(second, 2, "EQTY")
    write(third, 2, "BAT")
    return home / "served"


def parts(log: Path, day: int = 2) -> dict[str, Path]:
    """By what is in them, the files of a day."""
    found = {}
    for path in sorted((log / f"2022-04-0{day + 1}").glob("*.parquet")):
        found[",".join(read_part(path)[0]["symbol"].to_pylist())] = path
    return found
