"""What the files say, next to what production was trained on: new, the same, or damaged."""

from typing import Any

import numpy as np
import pandas as pd

from common.archive.reader import Archive
from common.errors import ArchiveError
from common.prices.panel import Panel

TOLERANCE = 0.01
"""Share of production's closes that may be missing or another now: publishers correct a few, not more."""


def counted(archive: Archive, panel: Panel) -> dict[str, Any]:
    """The account of an archive: rows read, accepted, repaired, rejected; sessions and symbols kept."""
    totals = archive.counts[["read", "accepted", "repaired", "rejected"]].sum()
    return {
        "source": panel.source,
        **{name: int(total) for name, total in totals.items()},
        "rows": len(panel.frame),
        "sessions": len(panel.dates),
        "symbols": len(panel.symbols),
        "first": f"{panel.dates[0]:%Y-%m-%d}",
        "last": f"{panel.dates[-1]:%Y-%m-%d}",
    }


def compared(before: Panel, now: Panel) -> dict[str, int | str]:
    """What is new and what is gone since production's data, in sessions and rows."""
    end = before.dates[-1]
    both = before.frame[["symbol", "date", "close"]].merge(
        now.frame[["symbol", "date", "close"]], on=["symbol", "date"], how="left", suffixes=("", "_now")
    )
    gone = both["close_now"].isna()
    return {
        "last_before": f"{end:%Y-%m-%d}",
        "new_sessions": int((now.dates > end).sum()),
        "new_rows": int((now.frame["date"] > end).sum()),
        "sessions_lost": max(0, len(before.dates) - int((now.dates <= end).sum())),
        "rows_lost": int(gone.sum()),
        "rows_changed": int((~gone & (both["close"] != both["close_now"])).sum()),
    }


def refuse_damage(before: Panel, now: Panel, change: dict[str, Any], release: str) -> None:
    """Raise ArchiveError if the files hold less than production was trained on, or something else.

    That are fewer sessions up to production's last one, a year that vanished, or more than ``TOLERANCE`` of
    its closes gone or changed.
    """
    advice = (
        "Restore the files (`nsecast data check` accounts for every row); if they are right as they are, "
        "`nsecast train` and `nsecast models promote` take them all the same."
    )
    if change["sessions_lost"]:
        lost = before.dates.difference(now.dates)
        held = set(now.dates.year)
        years = sorted({int(year) for year in before.dates.year if year not in held})
        whole = f"; of {', '.join(map(str, years))} there is nothing left" if years else ""
        raise ArchiveError(
            f"archive: {change['sessions_lost']} of the {len(before.dates)} sessions that production "
            f"({release}) knows are gone, {lost[0]:%Y-%m-%d} the first{whole}. {advice}",
            sessions=change["sessions_lost"],
            years=years,
        )
    other, rows = change["rows_lost"] + change["rows_changed"], len(before.frame)
    if other > TOLERANCE * rows:
        raise ArchiveError(
            f"archive: of the {rows} rows that production ({release}) knows {change['rows_lost']} are gone "
            f"and {change['rows_changed']} have another close, more than {TOLERANCE:.0%}. {advice}",
            rows_lost=change["rows_lost"],
            rows_changed=change["rows_changed"],
        )


def sessions_of(panel: Panel) -> np.ndarray:
    """datetime64[D], sorted."""
    sessions: np.ndarray = pd.DatetimeIndex(panel.dates).to_numpy().astype("datetime64[D]")
    return sessions
