"""The log of served forecasts, read."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from serve.audit.files import day_folders, first_served, read_day


@dataclass(frozen=True)
class Served:
    """What `read_ledger` found."""

    frame: pd.DataFrame
    """Columns of `serve.audit.files.SCHEMA`; days as datetime64, the first served first."""
    parts: int
    damaged: tuple[str, ...]
    """Parts that could not be read, with the reason."""


def read_ledger(home: Path, *, since: dt.date | None = None) -> Served:
    """Every distinct forecast served since a day of the exchange, as it was first served."""
    tables: list[pa.Table] = []
    damaged: list[str] = []
    for day in day_folders(Path(home) / "served"):
        if since is None or day.name >= since.isoformat():
            found, broken = read_day(day)
            tables += [table for table, _ in found.values()]
            damaged += [f"{path}: {reason}" for path, reason in broken.items()]
    return Served(frame_of(tables), len(tables), tuple(damaged))


def frame_of(tables: list[pa.Table]) -> pd.DataFrame:
    """See `Served.frame`."""
    frame = first_served(tables).to_pandas(date_as_object=False)
    for name in ("cutoff", "target_date"):
        frame[name] = frame[name].astype("datetime64[s]")
    return frame
