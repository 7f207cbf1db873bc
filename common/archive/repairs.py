"""What can be mended in the exchange's daily files, and when the mended value became known.

Everything here is causal: a value taken from the next session's ``Previous`` carries that session's
date as ``known``, and no rule looks further ahead.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.archive.flags import Flag

LONGEST_STEP = pd.Timedelta(days=14)
"""How far beyond the last good date a mistyped date at the end of a file may lie."""


@dataclass(frozen=True)
class Redating:
    """How dates of another year are put back in some of the rows of a file."""

    year: int
    """The file's."""
    before: pd.Timestamp
    """The last good date before these rows; NaT for none."""
    after: pd.Timestamp
    """The first good date after them; NaT for none."""


def file_year(name: str, rows: dict[int, int]) -> int | None:
    """The one year a file is about, or None if it spans several.

    The year in the file's name if at least half the ``rows``, counted by year, have it, else the year of
    nine rows in ten.
    """
    total = sum(rows.values())
    named = {int(year) for year in re.findall(r"(?<!\d)(?:19|20)\d\d(?!\d)", name)}
    if total and len(named) == 1 and rows.get(min(named), 0) >= 0.5 * total:
        return min(named)
    most = max(rows, key=rows.__getitem__, default=None)
    return most if most is not None and rows[most] >= 0.9 * total else None


def redate(dates: pd.Series, redating: Redating) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Put rows dated in another year back between the good rows around them.

    Parameters
    ----------
    dates : datetime64, shape (N,)
        As read from one file, in file order; NaT where there is no date.
    redating : Redating

    Returns
    -------
    dates, redated, contradicts : shape (N,)
        Mended dates; True where one was mended; True where a date contradicts the file's year and does
        not fit, once put in that year, between the nearest good dates before and after it. After the
        last good date it must lie within ``LONGEST_STEP``.
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
    """The rows that are rejected because an earlier row has their symbol and date, each with the reason.

    A row that was redated gives way to one that carries the date itself. The reason names the row that is
    kept, and says whether the rejected row says the same or which value it differs in.

    Parameters
    ----------
    table : DataFrame
        ``file, line, symbol, date, close, low, high, volume, redated``, in the order read.
    files : names by the number in ``file``
    """
    key, values = ["symbol", "date"], ["close", "low", "high", "volume"]
    good = table.sort_values("redated", kind="stable") if table["redated"].any() else table
    later = good[good.duplicated(key)]
    first = good.drop_duplicates(key).set_index(key).loc[pd.MultiIndex.from_frame(later[key])]
    ours, kept = later[values].to_numpy(), first[values].to_numpy()
    differs = ~((ours == kept) | (np.isnan(ours) & np.isnan(kept)))
    reasons = []
    for row, (file, line) in enumerate(zip(first["file"], first["line"], strict=True)):
        at = differs[row].argmax()
        if differs[row, at]:
            difference = f"{values[at]} {ours[row, at]:.10g}, kept {kept[row, at]:.10g}"
            reasons.append(f"conflicts with {files[file]}:{line}: {difference}")
        else:
            reasons.append(f"duplicate of {files[file]}:{line}")
    return later.assign(outcome="rejected", reason=pd.Series(reasons, index=later.index, dtype="str"))


@dataclass(frozen=True)
class Neighbours:
    """Rows of some symbols next to the symbol's rows before and after, sorted by symbol and date.

    ``session`` is the position of a row's date among ``sessions``, those of the whole market.
    """

    rows: pd.DataFrame
    sessions: pd.DatetimeIndex
    session: np.ndarray
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
        """Whether the row before is of the session before."""
        return self.before["session"] == self.session - 1

    @property
    def repeats(self) -> pd.Series:
        same = (_same(self.rows[name], self.before[name]) for name in ("close", "low", "high", "volume"))
        return self.adjacent & np.logical_and.reduce(list(same))

    @property
    def identical(self) -> pd.Series:
        """Whether the row is a copy of the one of the session before."""
        return self.repeats & _same(self.rows["previous"], self.before["previous"])

    @property
    def flat(self) -> pd.Series:
        """Whether the row repeats the session before under a correct ``Previous``."""
        return self.repeats & (self.rows["previous"] == self.rows["close"])

    def count(self, condition: pd.Series) -> np.ndarray:
        """Rows of each session for which it is true."""
        return np.bincount(self.session[condition.to_numpy()], minlength=len(self.sessions))


def blank_ranges(rows: pd.DataFrame) -> pd.DataFrame:
    """Blank low and high where one is missing or the close lies outside them, and flag the row."""
    real = ~rows["copy"]
    missing = real & (rows["low"].isna() | rows["high"].isna())
    outside = real & ~missing & ((rows["close"] < rows["low"]) | (rows["close"] > rows["high"]))
    rows = rows.assign(low=rows["low"].mask(missing | outside), high=rows["high"].mask(missing | outside))
    mark(rows, missing, Flag.NO_RANGE)
    mark(rows, outside, Flag.BAD_RANGE, "close outside low..high: low and high blanked; ")
    return rows


def mark(rows: pd.DataFrame, where: pd.Series, flag: Flag, repair: str = "") -> None:
    """Set a flag in some rows, and add to their text on repairs."""
    rows.loc[where, "flags"] |= np.int32(flag)
    rows.loc[where, "repair"] += repair


def _same(left: pd.Series, right: pd.Series) -> pd.Series:
    return (left == right) | (left.isna() & right.isna())
