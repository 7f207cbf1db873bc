"""Repair rows of daily price files.

All repairs are causal: a value from the next session's ``Previous`` has that session's date as ``known``, and
no rule looks further ahead.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.archive.flags import Flag

LONGEST_STEP = pd.Timedelta(days=14)
"""Longest time from the last good date to a mistyped date at the end of a file."""


@dataclass(frozen=True)
class Redating:
    """How dates in a wrong year are corrected in some rows of a file."""

    year: int
    """The year of the file."""
    before: pd.Timestamp
    """The last good date before these rows, or NaT."""
    after: pd.Timestamp
    """The first good date after these rows, or NaT."""


def file_year(name: str, rows: dict[int, int]) -> int | None:
    """Return the year of a file, or None if it spans several; ``rows`` are counted by year.

    It is the year in the file's name if at least half the rows have it, else the year of 90 % of them.
    """
    total = sum(rows.values())
    in_name = years_in(name)
    if total and len(in_name) == 1 and rows.get(min(in_name), 0) >= 0.5 * total:
        return min(in_name)
    return next((year for year, count in rows.items() if count >= 0.9 * total), None)


def years_in(name: str) -> set[int]:
    """Return the years in the name of a file."""
    return {int(year) for year in re.findall(r"(?<!\d)(?:19|20)\d\d(?!\d)", name)}


def redate(dates: pd.Series, redating: Redating) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Move dates in a wrong year to the file's year, if they then fit between the good dates around them.

    Parameters
    ----------
    dates : datetime64, shape (N,)
        In file order; NaT where there is no date.
    redating : Redating

    Returns
    -------
    dates, redated, contradicts : shape (N,)
        Corrected dates; True where a date was corrected; True where it has a wrong year and does not fit.
        After the last good date a corrected one must lie within ``LONGEST_STEP``.
    """
    year = redating.year
    wrong = dates.notna() & (dates.dt.year != year)
    if not wrong.any():
        return dates, wrong, wrong
    good = dates.where(~wrong & (dates.dt.day_of_week < 5))
    start = pd.Timestamp(year, 1, 1) if pd.isna(redating.before) else redating.before
    earliest = good.ffill().fillna(start)
    latest = good.bfill().fillna(
        earliest + LONGEST_STEP if pd.isna(redating.after) else pd.Series(redating.after, index=dates.index)
    )
    moved = pd.to_datetime(f"{year:04d}-" + dates.dt.strftime("%m-%d"), format="%Y-%m-%d", errors="coerce")
    moved = moved.astype(dates.dtype)
    fits = wrong & moved.between(earliest, latest) & (moved.dt.day_of_week < 5)
    return dates.mask(fits, moved), fits, wrong & ~fits


def reject_duplicates(table: pd.DataFrame, files: list[str]) -> pd.DataFrame:
    """Return the rows to reject because an earlier row has the same symbol and date, with reasons.

    A row whose date was corrected is rejected in favour of one with a correct date. The reason names the
    accepted row and, if the values differ, the first that does.

    Parameters
    ----------
    table : DataFrame
        ``file, line, symbol, date, close, low, high, volume, redated``, in the order read.
    files : names by the number in ``file``
    """
    key, values = ["symbol", "date"], ["close", "low", "high", "volume"]
    table = table.sort_values("redated", kind="stable") if table["redated"].any() else table
    later = table[table.duplicated(key)]
    first = table.drop_duplicates(key).set_index(key).loc[pd.MultiIndex.from_frame(later[key])]
    rejected, accepted = later[values].to_numpy(), first[values].to_numpy()
    differs = ~((rejected == accepted) | (np.isnan(rejected) & np.isnan(accepted)))
    reasons = []
    for row, (file, line) in enumerate(zip(first["file"], first["line"], strict=True)):
        column = differs[row].argmax()
        if differs[row, column]:
            value, kept = rejected[row, column], accepted[row, column]
            difference = f"{values[column]} {value:.10g}, kept {kept:.10g}"
            reasons.append(f"conflicts with {files[file]}:{line}: {difference}")
        else:
            reasons.append(f"duplicate of {files[file]}:{line}")
    return later.assign(outcome="rejected", reason=pd.Series(reasons, index=later.index, dtype="str"))


@dataclass(frozen=True)
class Neighbours:
    """Rows sorted by symbol and date, each with its symbol's rows before and after."""

    rows: pd.DataFrame
    sessions: pd.DatetimeIndex
    """Sessions of the whole market."""
    session: np.ndarray
    """Position of each row's date among ``sessions``."""
    before: pd.DataFrame
    after: pd.DataFrame

    @classmethod
    def of(cls, rows: pd.DataFrame, sessions: pd.DatetimeIndex) -> "Neighbours":
        session = np.searchsorted(sessions.to_numpy(), rows["date"].to_numpy())
        columns = rows[["date", "close", "low", "high", "volume", "previous"]].assign(session=session)
        codes = pd.factorize(rows["symbol"])[0]
        first, last = np.diff(codes, prepend=-1) != 0, np.diff(codes, append=-1) != 0
        before, after = columns.shift(1), columns.shift(-1)
        before.loc[first], after.loc[last] = np.nan, np.nan
        return cls(rows, sessions, session, before, after)

    @property
    def adjacent(self) -> pd.Series:
        """Whether the row before belongs to the session before."""
        return self.before["session"] == self.session - 1

    @property
    def repeats(self) -> pd.Series:
        """Whether prices and volume equal those of the session before."""
        same = (_same(self.rows[name], self.before[name]) for name in ("close", "low", "high", "volume"))
        return self.adjacent & np.logical_and.reduce(list(same))

    @property
    def identical(self) -> pd.Series:
        """Whether the row is a copy of the session before."""
        return self.repeats & _same(self.rows["previous"], self.before["previous"])

    @property
    def flat(self) -> pd.Series:
        """Whether the row repeats the session before with a correct ``Previous``."""
        return self.repeats & (self.rows["previous"] == self.rows["close"])

    def count(self, condition: pd.Series) -> np.ndarray:
        """Count the rows of each session that meet a condition."""
        return np.bincount(self.session[condition.to_numpy()], minlength=len(self.sessions))


def blank_ranges(rows: pd.DataFrame) -> pd.DataFrame:
    """Blank low and high where one is missing or the close lies outside them, and flag the row."""
    original = ~rows["copy"]
    missing = original & (rows["low"].isna() | rows["high"].isna())
    outside = original & ~missing & ((rows["close"] < rows["low"]) | (rows["close"] > rows["high"]))
    rows = rows.assign(low=rows["low"].mask(missing | outside), high=rows["high"].mask(missing | outside))
    mark(rows, missing, Flag.NO_RANGE)
    mark(rows, outside, Flag.BAD_RANGE, "close outside low..high: low and high blanked; ")
    return rows


def mark(rows: pd.DataFrame, where: pd.Series, flag: Flag, repair: str = "") -> None:
    """Set a flag in some rows, and append to their description of repairs."""
    rows.loc[where, "flags"] |= np.int32(flag)
    rows.loc[where, "repair"] += repair


def _same(left: pd.Series, right: pd.Series) -> pd.Series:
    return (left == right) | (left.isna() & right.isna())
