"""Sessions that are copies of the one before, or are missing: how they are found and mended.

Whether a session is one is a matter of the whole market, its rows are mended a block of symbols at a time:
counts of each block, added up, decide, then every block is mended. Causal like `common.archive.repairs`.
"""

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.archive.repairs import Neighbours, mark

FEWEST_SYMBOLS = 5
"""A day with fewer comparable symbols is never judged to be a copy or to follow a gap."""
COPIED_SHARE = 0.9
"""Share of symbols, and of those that traded, that must repeat the session before."""
DISAGREEING_SHARE = 0.3
"""Share of ``Previous`` that must differ from the closes before for a session to count as missing."""
NOTE_COLUMNS = ("kind", "date", "rows", "detail")
Note = tuple[str, pd.Timestamp, int, str]


def count_copies(near: Neighbours) -> np.ndarray:
    """What `copied_sessions` goes by: six counts of each session, shape (6, S), added up over all symbols."""
    rows, before = near.rows, near.before
    adjacent, identical = near.adjacent, near.identical
    traded = adjacent & (rows["volume"] > 0)
    moved = identical & (rows["previous"] != before["close"]) & rows["previous"].notna()
    conditions = (adjacent, identical, traded, identical & traded, moved, near.flat & traded)
    return np.stack([near.count(condition) for condition in conditions])


def copied_sessions(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which sessions are copies of the one before, and which only repeat its volumes; bool, shape (S,).

    A session is a copy if at least ``COPIED_SHARE`` of its symbols, and of those that traded, repeat close,
    low, high, volume and ``Previous``, though some ``Previous`` should have moved on.
    """
    adjacent, identical, traded, both, moved, flat = counts
    stale = (
        (adjacent >= FEWEST_SYMBOLS)
        & (identical >= COPIED_SHARE * adjacent)
        & (both >= np.maximum(2, COPIED_SHARE * traded))
        & (moved > 0)
    )
    fake = ~stale & (adjacent >= FEWEST_SYMBOLS) & (flat >= np.maximum(3, COPIED_SHARE * traded))
    return stale, fake


def mend_copies(near: Neighbours, stale: np.ndarray, fake: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Mend the rows of copied sessions as far as the next session tells.

    Their true closes are the next session's ``Previous``, unless that session is a copy too. Where only
    volumes are repeated, these are blanked.

    Returns
    -------
    rows, counts
        Rows with an added ``copy`` (bool); rows mended, lost and blanked in each session, shape (3, S).
    """
    rows, session, after = near.rows, near.session, near.after
    copy = near.identical & stale[session]
    follows = (after["session"] == session + 1) & ~np.r_[stale, False][session + 1]
    mended = copy & follows & (after["previous"] > 0)
    lost = copy & ~mended
    blanked = near.flat & fake[session] & ~rows["symbol"].str.startswith("^")
    counts = np.stack([near.count(condition) for condition in (mended, lost, blanked)])

    rows = rows.assign(copy=copy)
    rows.loc[copy, ["low", "high", "volume"]] = np.nan
    rows.loc[mended, "close"] = after["previous"]
    rows.loc[mended, "known"] = after["date"]
    rows.loc[blanked, "volume"] = np.nan
    mark(rows, lost, Flag.STALE)
    mark(rows, mended, Flag.REPAIRED, "copy of the session before: close from the next session's Previous; ")
    mark(rows, blanked, Flag.FAKE_VOLUME, "volume repeats the session before: blanked; ")
    return rows, counts


def copy_notes(
    sessions: pd.DatetimeIndex, stale: np.ndarray, fake: np.ndarray, counts: np.ndarray
) -> list[Note]:
    """Notes on the sessions that `mend_copies` worked on; ``counts`` as it gives them, added up."""
    mended, lost, blanked = counts
    notes = []
    for number in np.flatnonzero(stale | fake):
        day = sessions[number]
        if fake[number]:
            notes.append(("fake volume", day, int(blanked[number]), "volumes repeat the session before"))
            continue
        for kind, count in (("stale, repaired", mended[number]), ("stale, not repaired", lost[number])):
            if count:
                notes.append((kind, day, int(count), "copy of the session before"))
    return notes


def count_gaps(rows: pd.DataFrame, sessions: pd.DatetimeIndex) -> np.ndarray:
    """Rows of each session that can be, and whose ``Previous`` differs when it is, compared; shape (2, S)."""
    near = Neighbours.of(rows, sessions)
    comparable, differs = _compared(near)
    return np.stack([near.count(comparable), near.count(differs)])


def missing_sessions(
    sessions: pd.DatetimeIndex, counts: np.ndarray, weekdays: tuple[str, ...]
) -> tuple[dict[int, pd.Timestamp], list[Note]]:
    """The days that are rebuilt, by the number of the session after, and notes; ``counts``: `count_gaps`.

    A session is missing if ``DISAGREEING_SHARE`` of the next one's ``Previous`` differ from the last
    closes. It is rebuilt only if exactly one weekday lies between the two; otherwise, or if fewer
    differ (often only the indices), it is noted.
    """
    compared, differing = counts
    rebuilt, notes = {}, []
    for number in np.flatnonzero(differing >= 2):
        between = pd.bdate_range(
            sessions[number - 1], sessions[number], freq="C", weekmask=" ".join(weekdays), inclusive="neither"
        )
        share = f"{differing[number]} of {compared[number]} Previous differ from the closes before"
        many = differing[number] >= max(3, DISAGREEING_SHARE * compared[number])
        if many and len(between) == 1 and compared[number] >= FEWEST_SYMBOLS:
            rebuilt[int(number)] = between[0]
            notes.append(("session rebuilt", between[0], int(compared[number]), share))
        elif many or len(between):
            gap = ", ".join(f"{day:%Y-%m-%d}" for day in between[:5]) or "none"
            detail = f"{share}; weekdays without rows: {gap}{', ...' if len(between) > 5 else ''}"
            notes.append(("session missing", sessions[number], 0, detail))
    return rebuilt, notes


def rebuild(rows: pd.DataFrame, sessions: pd.DatetimeIndex, rebuilt: dict[int, pd.Timestamp]) -> pd.DataFrame:
    """The rows with those of the rebuilt days added, sorted by symbol and date.

    Their close is the next session's ``Previous``; a rebuilt row names the file and line it came from.
    """
    if not rebuilt:
        return rows
    near, added = Neighbours.of(rows, sessions), []
    comparable, _ = _compared(near)
    for number, day in rebuilt.items():
        here = (near.session == number) & comparable
        new = rows[here].assign(date=day, low=np.nan, high=np.nan, volume=np.nan)
        new = new.assign(close=new["previous"], known=sessions[number], flags=np.int32(Flag.REBUILT))
        added.append(new.assign(previous=np.nan, repair="", order=-1))
    new = pd.concat(added)
    new["date"], new["known"] = (
        new["date"].astype(rows["date"].dtype),
        new["known"].astype(rows["known"].dtype),
    )
    return pd.concat([rows, new]).sort_values(["symbol", "date"], ignore_index=True)


def _compared(near: Neighbours) -> tuple[pd.Series, pd.Series]:
    rows = near.rows
    comparable = near.adjacent & (rows["previous"] > 0) & ~rows["copy"]
    return comparable, comparable & ~np.isclose(rows["previous"], near.before["close"], rtol=1e-9, atol=0)
