"""Detect and repair sessions that are copies of the session before, or are missing.

Detection needs the whole market: counts of all blocks of symbols are added up to decide, then each block is
repaired on its own. As in `common.archive.repairs`, repairs use at most the next session.
"""

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.archive.repairs import Neighbours, mark

FEWEST_SYMBOLS = 5
"""Fewest comparable symbols on which a session can be judged."""
COPIED_SHARE = 0.9
"""Least share of symbols, and of those that traded, that repeat the session before in a copy."""
DISAGREEING_SHARE = 0.3
"""Least share of ``Previous`` that differ from the closes before if a session is missing."""
NOTE_COLUMNS = ("kind", "date", "rows", "detail")
Note = tuple[str, pd.Timestamp, int, str]


def count_copies(near: Neighbours) -> np.ndarray:
    """Count what `copied_sessions` needs, shape (6, S); the counts of all symbols are added up."""
    rows, before = near.rows, near.before
    adjacent, identical = near.adjacent, near.identical
    traded = adjacent & (rows["volume"] > 0)
    moved = identical & (rows["previous"] != before["close"]) & rows["previous"].notna()
    conditions = (adjacent, identical, traded, identical & traded, moved, near.flat & traded)
    return np.stack([near.count(condition) for condition in conditions])


def copied_sessions(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the sessions that copy the one before, and those that only repeat its volumes; bool, shape (S,).

    A session is a copy if at least ``COPIED_SHARE`` of its symbols, and of those that traded, repeat close,
    low, high, volume and ``Previous``, although some ``Previous`` should have changed.
    """
    adjacent, identical, traded, identical_traded, moved, flat = counts
    stale = (
        (adjacent >= FEWEST_SYMBOLS)
        & (identical >= COPIED_SHARE * adjacent)
        & (identical_traded >= np.maximum(2, COPIED_SHARE * traded))
        & (moved > 0)
    )
    fake = ~stale & (adjacent >= FEWEST_SYMBOLS) & (flat >= np.maximum(3, COPIED_SHARE * traded))
    return stale, fake


def repair_copies(near: Neighbours, stale: np.ndarray, fake: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Repair the rows of copied sessions from the next session, and blank repeated volumes.

    The true close of a copy is the next session's ``Previous``, unless that session is a copy too.

    Returns
    -------
    rows, counts
        Rows with a new column ``copy`` (bool); number of rows repaired, lost and blanked, shape (3, S).
    """
    rows, session, after = near.rows, near.session, near.after
    copy = near.identical & stale[session]
    follows = (after["session"] == session + 1) & ~np.r_[stale, False][session + 1]
    repaired = copy & follows & (after["previous"] > 0)
    lost = copy & ~repaired
    blanked = near.flat & fake[session] & ~rows["symbol"].str.startswith("^")
    counts = np.stack([near.count(condition) for condition in (repaired, lost, blanked)])

    rows = rows.assign(copy=copy)
    rows.loc[copy, ["low", "high", "volume"]] = np.nan
    rows.loc[repaired, "close"] = after["previous"]
    rows.loc[repaired, "known"] = after["date"]
    rows.loc[blanked, "volume"] = np.nan
    mark(rows, lost, Flag.STALE)
    mark(
        rows, repaired, Flag.REPAIRED, "copy of the session before: close from the next session's Previous; "
    )
    mark(rows, blanked, Flag.FAKE_VOLUME, "volume repeats the session before: blanked; ")
    return rows, counts


def copy_notes(
    sessions: pd.DatetimeIndex, stale: np.ndarray, fake: np.ndarray, counts: np.ndarray
) -> list[Note]:
    """Note the sessions that `repair_copies` changed; ``counts`` are its counts, added up."""
    copied, repeated = "copy of the session before", "volumes repeat the session before"
    details = {"fake volume": repeated, "stale, repaired": copied, "stale, not repaired": copied}
    repaired, lost, blanked = counts
    return [
        (kind, sessions[number], int(rows[number]), details[kind])
        for number in np.flatnonzero(stale | fake)
        for kind, rows in zip(details, (blanked, repaired, lost), strict=True)
        if rows[number]
    ]


def count_gaps(rows: pd.DataFrame, sessions: pd.DatetimeIndex) -> np.ndarray:
    """Count each session's rows with a comparable ``Previous`` and those where it differs; shape (2, S)."""
    near = Neighbours.of(rows, sessions)
    comparable, differs = _compare_previous(near)
    return np.stack([near.count(comparable), near.count(differs)])


def missing_sessions(
    sessions: pd.DatetimeIndex, counts: np.ndarray, weekdays: tuple[str, ...]
) -> tuple[dict[int, pd.Timestamp], list[Note]]:
    """Find missing sessions from `count_gaps`: the days to rebuild, by the next session's number, and notes.

    A session is missing if ``DISAGREEING_SHARE`` of the next one's ``Previous`` differ from the last closes.
    It is rebuilt if exactly one weekday lies between the two; otherwise, or if fewer differ (often only the
    indices), it is noted.
    """
    comparable, differing = counts
    rebuilt, notes = {}, []
    for number in np.flatnonzero(differing >= 2):
        between = pd.bdate_range(
            sessions[number - 1], sessions[number], freq="C", weekmask=" ".join(weekdays), inclusive="neither"
        )
        share = f"{differing[number]} of {comparable[number]} Previous differ from the closes before"
        many = differing[number] >= max(3, DISAGREEING_SHARE * comparable[number])
        if many and len(between) == 1 and comparable[number] >= FEWEST_SYMBOLS:
            rebuilt[int(number)] = between[0]
            notes.append(("session rebuilt", between[0], int(comparable[number]), share))
        elif many or len(between):
            gap = ", ".join(f"{day:%Y-%m-%d}" for day in between[:5]) or "none"
            detail = f"{share}; weekdays without rows: {gap}{', ...' if len(between) > 5 else ''}"
            notes.append(("session missing", sessions[number], 0, detail))
    return rebuilt, notes


def rebuild(rows: pd.DataFrame, sessions: pd.DatetimeIndex, rebuilt: dict[int, pd.Timestamp]) -> pd.DataFrame:
    """Add the rows of the rebuilt days; the result is sorted by symbol and date.

    Their close is the next session's ``Previous``; file and line are those of that row.
    """
    if not rebuilt:
        return rows
    near, added = Neighbours.of(rows, sessions), []
    comparable, _ = _compare_previous(near)
    for number, day in rebuilt.items():
        next_rows = rows[(near.session == number) & comparable]
        new = next_rows.assign(date=day, low=np.nan, high=np.nan, volume=np.nan)
        new = new.assign(close=new["previous"], known=sessions[number], flags=np.int32(Flag.REBUILT))
        added.append(new.assign(previous=np.nan, repair="", order=-1))
    new = pd.concat(added).astype(rows[["date", "known"]].dtypes)
    return pd.concat([rows, new]).sort_values(["symbol", "date"], ignore_index=True)


def _compare_previous(near: Neighbours) -> tuple[pd.Series, pd.Series]:
    rows = near.rows
    comparable = near.adjacent & (rows["previous"] > 0) & ~rows["copy"]
    return comparable, comparable & ~np.isclose(rows["previous"], near.before["close"], rtol=1e-9, atol=0)
