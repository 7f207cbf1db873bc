"""Compare new price files with the data of the release in production: new, the same, or damaged."""

from typing import Any

from common.archive.reader import Archive
from common.errors import ArchiveError
from common.prices.panel import Panel

TOLERANCE = 0.01
"""Share of production's closes that may be missing or changed: publishers correct only a few."""


def count_rows(archive: Archive, panel: Panel) -> dict[str, Any]:
    """Count the rows of an archive by outcome, and the sessions and symbols of its panel."""
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


def compare_panels(before: Panel, now: Panel) -> dict[str, int | str]:
    """Count the sessions and rows that were added, lost or changed since production's data."""
    end = before.dates[-1]
    both = before.frame[["symbol", "date", "close"]].merge(
        now.frame[["symbol", "date", "close"]], on=["symbol", "date"], how="left", suffixes=("", "_now")
    )
    lost = both["close_now"].isna()
    return {
        "last_before": f"{end:%Y-%m-%d}",
        "new_sessions": int((now.dates > end).sum()),
        "new_rows": int((now.frame["date"] > end).sum()),
        "sessions_lost": max(0, len(before.dates) - int((now.dates <= end).sum())),
        "rows_lost": int(lost.sum()),
        "rows_changed": int((~lost & (both["close"] != both["close_now"])).sum()),
    }


def refuse_damage(before: Panel, now: Panel, change: dict[str, Any], release: str) -> None:
    """Raise ArchiveError if the files lack sessions of production's data, or too many of its closes.

    At most a share of ``TOLERANCE`` of the closes may be missing or changed.
    """
    advice = (
        "Restore the files (`nsecast data check` accounts for every row). If they are correct, use "
        "`nsecast train` and `nsecast models promote` instead."
    )
    if change["sessions_lost"]:
        lost = before.dates.difference(now.dates)
        years = sorted(set(before.dates.year.tolist()) - set(now.dates.year.tolist()))
        empty = f"; nothing is left of {', '.join(map(str, years))}" if years else ""
        raise ArchiveError(
            f"archive: {change['sessions_lost']} of the {len(before.dates)} sessions of production "
            f"({release}) are missing, {lost[0]:%Y-%m-%d} the first{empty}. {advice}",
            sessions=change["sessions_lost"],
            years=years,
        )
    different, rows = change["rows_lost"] + change["rows_changed"], len(before.frame)
    if different > TOLERANCE * rows:
        raise ArchiveError(
            f"archive: of the {rows} rows of production ({release}) {change['rows_lost']} are missing "
            f"and {change['rows_changed']} have another close, more than {TOLERANCE:.0%}. {advice}",
            rows_lost=change["rows_lost"],
            rows_changed=change["rows_changed"],
        )
