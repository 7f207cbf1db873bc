"""Read the log of served forecasts."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from serve.audit.files import day_folders, first_served, read_day


@dataclass(frozen=True)
class Served:
    """The result of `read_ledger`."""

    frame: pd.DataFrame
    """Columns of `serve.audit.files.SCHEMA` with days as datetime64, in the order of serving."""
    parts: int
    damaged: tuple[str, ...]
    """Unreadable parts, with the reason."""


def read_ledger(home: Path, *, since: dt.date | None = None) -> Served:
    """Return every distinct forecast served since a day, as it was first served."""
    tables: list[pa.Table] = []
    damaged: list[str] = []
    for day in day_folders(Path(home) / "served"):
        if since is None or day.name >= since.isoformat():
            parts, broken = read_day(day)
            tables += [table for table, _ in parts.values()]
            damaged += [f"{path}: {reason}" for path, reason in broken.items()]
    return Served(frame_of(tables), len(tables), tuple(damaged))


def frame_of(tables: list[pa.Table]) -> pd.DataFrame:
    """Return the tables as `Served.frame`."""
    frame = first_served(tables).to_pandas(date_as_object=False)
    for name in ("cutoff", "target_date"):
        frame[name] = frame[name].astype("datetime64[s]")
    return frame
