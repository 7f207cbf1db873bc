"""What can be mended in the exchange's daily files, and when the mended value became known.

Everything here is causal: a value taken from the next session's ``Previous`` carries that session's
date as ``known``, and no rule looks further ahead.
"""

import re

import numpy as np
import pandas as pd

from common.data.flags import Flag

FEWEST_SYMBOLS = 5
"""A day with fewer comparable symbols is never judged to be a copy or to follow a gap."""
COPIED_SHARE = 0.9
"""Share of symbols, and of those that traded, that must repeat the session before."""
DISAGREEING_SHARE = 0.3
"""Share of ``Previous`` that must differ from the closes before for a session to count as missing."""
LONGEST_STEP = pd.Timedelta(days=14)
"""How far beyond the last good date a mistyped date at the end of a file may lie."""
NOTE_COLUMNS = ("kind", "date", "rows", "detail")
Note = tuple[str, pd.Timestamp, int, str]


def file_year(name: str, years: pd.Series) -> int | None:
    """The one year a file is about, or None if it spans several.

    The year in the file's name if at least half the rows have it, else the year of nine rows in ten.
    """
    shares = years.value_counts(normalize=True)
    named = {int(year) for year in re.findall(r"(?<!\d)(?:19|20)\d\d(?!\d)", name)}
    if len(named) == 1 and shares.get(min(named), 0) >= 0.5:
        return min(named)
    return int(shares.index[0]) if len(shares) and shares.iloc[0] >= 0.9 else None


def redate(dates: pd.Series, name: str) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Put rows dated in another year back between the good rows around them.

    Parameters
    ----------
    dates : datetime64, shape (N,)
        As read from one file, in file order; NaT where there is no date.
    name : str
        The file's name.

    Returns
    -------
    dates, redated, contradicts : shape (N,)
        Mended dates; True where one was mended; True where a date contradicts the file's year and does
        not fit, once put in that year, between the nearest good dates before and after it. After the
        last good date it must lie within ``LONGEST_STEP``.
    """
    nowhere = pd.Series(False, index=dates.index)
    year = file_year(name, dates.dt.year.dropna().astype(int))
    if year is None:
        return dates, nowhere, nowhere
    wrong = dates.notna() & (dates.dt.year != year)
    if not wrong.any():
        return dates, wrong, wrong
    good = dates.where(~wrong & (dates.dt.day_of_week < 5))
    earliest = good.ffill().fillna(pd.Timestamp(year, 1, 1))
    latest = good.bfill().fillna(earliest + LONGEST_STEP)
    moved = pd.to_datetime(f"{year:04d}-" + dates.dt.strftime("%m-%d"), format="%Y-%m-%d", errors="coerce")
    moved = moved.astype(dates.dtype)
    fits = wrong & moved.between(earliest, latest) & (moved.dt.day_of_week < 5)
    return dates.mask(fits, moved), fits, wrong & ~fits


def reject_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Reject all rows of one symbol and date but the first, with the file and line of that one.

    A row that was redated gives way to one that carries the date itself. The reason says whether the
    rejected row says the same or which value it differs in.

    Parameters
    ----------
    table : DataFrame
        ``file, line, outcome, reason, symbol, date, close, low, high, volume, redated``, in the order read.
    """
    key, values = ["symbol", "date"], ["close", "low", "high", "volume"]
    good = table[table["outcome"] == "accepted"].sort_values("redated", kind="stable")
    later = good[good.duplicated(key)]
    if later.empty:
        return table
    first = good.drop_duplicates(key).set_index(key).loc[pd.MultiIndex.from_frame(later[key])]
    ours, kept = later[values].to_numpy(), first[values].to_numpy()
    differs = ~((ours == kept) | (np.isnan(ours) & np.isnan(kept)))
    reasons = []
    for row, (file, line) in enumerate(zip(first["file"], first["line"], strict=True)):
        at = differs[row].argmax()
        if differs[row, at]:
            difference = f"{values[at]} {ours[row, at]:.10g}, kept {kept[row, at]:.10g}"
            reasons.append(f"conflicts with {file}:{line}: {difference}")
        else:
            reasons.append(f"duplicate of {file}:{line}")
    table = table.copy()
    table.loc[later.index, "outcome"] = "rejected"
    table.loc[later.index, "reason"] = reasons
    return table


def repair_repeated_days(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Note]]:
    """Find the days that are copies of the session before, and mend what the next session tells.

    A day is a copy if at least ``COPIED_SHARE`` of its symbols, and of those that traded, repeat close,
    low, high, volume and ``Previous``, though some ``Previous`` should have moved on. Its true closes
    are the next session's ``Previous``, unless that session is a copy too. A day that repeats prices
    and volumes under a correct ``Previous`` only has its volume blanked.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, date, close, low, high, volume, previous, flags, known, repair``, sorted by symbol and
        date.

    Returns
    -------
    rows, notes
        Rows with an added ``copy`` (bool); notes as tuples of ``NOTE_COLUMNS``.
    """
    session, sessions = pd.factorize(rows["date"], sort=True)
    by_symbol = rows.assign(session=session).groupby("symbol")
    before, after = by_symbol.shift(1), by_symbol.shift(-1)
    adjacent = before["session"] == session - 1
    repeats = adjacent & np.logical_and.reduce(
        [_same(rows[name], before[name]) for name in ("close", "low", "high", "volume")]
    )
    identical = repeats & _same(rows["previous"], before["previous"])
    traded = adjacent & (rows["volume"] > 0)

    def count(condition: pd.Series) -> np.ndarray:
        return np.bincount(session[condition.to_numpy()], minlength=len(sessions))

    stale = (
        (count(adjacent) >= FEWEST_SYMBOLS)
        & (count(identical) >= COPIED_SHARE * count(adjacent))
        & (count(identical & traded) >= np.maximum(2, COPIED_SHARE * count(traded)))
        & (count(identical & (rows["previous"] != before["close"]) & rows["previous"].notna()) > 0)
    )
    flat = repeats & (rows["previous"] == rows["close"])
    fake = (
        ~stale
        & (count(adjacent) >= FEWEST_SYMBOLS)
        & (count(flat & traded) >= np.maximum(3, COPIED_SHARE * count(traded)))
    )
    copy = identical & stale[session]
    follows = (after["session"] == session + 1) & ~np.r_[stale, False][session + 1]
    mended = copy & follows & (after["previous"] > 0)
    lost = copy & ~mended
    blanked = flat & fake[session] & ~rows["symbol"].str.startswith("^")

    rows = rows.assign(copy=copy)
    rows.loc[copy, ["low", "high", "volume"]] = np.nan
    rows.loc[mended, "close"] = after["previous"]
    rows.loc[mended, "known"] = after["date"]
    rows.loc[blanked, "volume"] = np.nan
    _mark(rows, lost, Flag.STALE)
    _mark(rows, mended, Flag.REPAIRED, "copy of the session before: close from the next session's Previous; ")
    _mark(rows, blanked, Flag.FAKE_VOLUME, "volume repeats the session before: blanked; ")

    notes = []
    for number in np.flatnonzero(stale | fake):
        day, here = sessions[number], session == number
        if fake[number]:
            notes.append(("fake volume", day, int(blanked[here].sum()), "volumes repeat the session before"))
            continue
        for kind, which in (("stale, repaired", mended), ("stale, not repaired", lost)):
            if which[here].any():
                notes.append((kind, day, int(which[here].sum()), "copy of the session before"))
    return rows, notes


def rebuild_missing_days(
    rows: pd.DataFrame, weekdays: tuple[str, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri")
) -> tuple[pd.DataFrame, list[Note]]:
    """Rebuild a session that has no rows from the next session's ``Previous``.

    A session is missing if ``DISAGREEING_SHARE`` of the next one's ``Previous`` differ from the last
    closes. It is rebuilt only if exactly one weekday lies between the two; otherwise, or if fewer
    differ (often only the indices), it is noted.

    Parameters
    ----------
    rows : DataFrame
        The result of `repair_repeated_days`.
    weekdays : on which the exchange trades

    Returns
    -------
    rows, notes
        With the rebuilt rows added, sorted by symbol and date; a rebuilt row names the file and line its
        close came from.
    """
    session, sessions = pd.factorize(rows["date"], sort=True)
    before = rows.assign(session=session).groupby("symbol").shift(1)
    comparable = (before["session"] == session - 1) & (rows["previous"] > 0) & ~rows["copy"]
    differs = comparable & ~np.isclose(rows["previous"], before["close"], rtol=1e-9, atol=0)
    rebuilt, notes = [], []
    compared = np.bincount(session[comparable.to_numpy()], minlength=len(sessions))
    for number in np.flatnonzero(np.bincount(session[differs.to_numpy()], minlength=len(sessions)) >= 2):
        here = session == number
        between = pd.bdate_range(
            sessions[number - 1], sessions[number], freq="C", weekmask=" ".join(weekdays), inclusive="neither"
        )
        share = f"{differs[here].sum()} of {compared[number]} Previous differ from the closes before"
        many = differs[here].sum() >= max(3, DISAGREEING_SHARE * compared[number])
        if many and len(between) == 1 and compared[number] >= FEWEST_SYMBOLS:
            new = rows[here & comparable].assign(date=between[0], low=np.nan, high=np.nan, volume=np.nan)
            new = new.assign(close=new["previous"], known=sessions[number], flags=np.int32(Flag.REBUILT))
            rebuilt.append(new.assign(previous=np.nan, repair="", order=-1))
            notes.append(("session rebuilt", between[0], len(new), share))
        elif many or len(between):
            gap = ", ".join(f"{day:%Y-%m-%d}" for day in between[:5]) or "none"
            detail = f"{share}; weekdays without rows: {gap}{', ...' if len(between) > 5 else ''}"
            notes.append(("session missing", sessions[number], 0, detail))
    if rebuilt:
        added = pd.concat(rebuilt)
        added["date"] = added["date"].astype(rows["date"].dtype)
        rows = pd.concat([rows, added]).sort_values(["symbol", "date"], ignore_index=True)
    return rows, notes


def blank_ranges(rows: pd.DataFrame) -> pd.DataFrame:
    """Blank low and high where one is missing or the close lies outside them, and flag the row."""
    real = ~rows["copy"]
    missing = real & (rows["low"].isna() | rows["high"].isna())
    outside = real & ~missing & ((rows["close"] < rows["low"]) | (rows["close"] > rows["high"]))
    rows = rows.assign(low=rows["low"].mask(missing | outside), high=rows["high"].mask(missing | outside))
    _mark(rows, missing, Flag.NO_RANGE)
    _mark(rows, outside, Flag.BAD_RANGE, "close outside low..high: low and high blanked; ")
    return rows


def _mark(rows: pd.DataFrame, where: pd.Series, flag: Flag, repair: str = "") -> None:
    rows.loc[where, "flags"] |= np.int32(flag)
    rows.loc[where, "repair"] += repair


def _same(left: pd.Series, right: pd.Series) -> pd.Series:
    return (left == right) | (left.isna() & right.isna())
