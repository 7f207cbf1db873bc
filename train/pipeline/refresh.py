"""Read the prices of an archive that are newer than a release's."""

import functools
from pathlib import Path

import pandas as pd

from common.archive.price_lines import LEDGER_COLUMNS
from common.archive.reader import Archive, read_archive
from common.prices.panel import Panel
from common.release.refresh_production import NewPrices
from train.run.price_source import load_archive

CONTEXT = pd.Timedelta(days=45)
"""Period before the release's end that is read again, so that repairs see earlier sessions."""
COMPARED = pd.Timedelta(days=30)
"""Part of this period that is compared with the release's prices."""


def read_newer(
    archive: Path | None, home: Path, before: Panel, *, accept_mixed_dates: bool = False
) -> NewPrices:
    """Read the sessions after a release's last one, and those shortly before it.

    The rows that became known after the release's last session are the same as in the whole archive. If a
    stock traded again after a longer pause, the whole archive is read, since corporate actions are placed
    by the row before.

    Raises
    ------
    ArchiveError
        As `load_archive`.
    """
    end = before.dates[-1]
    load = functools.partial(load_archive, archive, home, accept_mixed_dates=accept_mixed_dates)
    rows, source = load(reader=functools.partial(read_archive, since=(end - CONTEXT).date()))
    since: pd.Timestamp | None = end - COMPARED
    if rows.rows.empty or _resumed(rows.rows, before):
        (rows, source), since = load(), None
    return NewPrices(Panel.from_archive(rows, source), new_rejects(rows, end), since)


def new_rejects(archive: Archive, end: pd.Timestamp) -> pd.DataFrame:
    """Return the rejected rows after ``end``, and those without a date in files that go further."""
    ledger, counts = archive.ledger, archive.counts
    newer = counts.loc[counts["last"] > end, "file"]
    new = (ledger["date"] > end) | (ledger["date"].isna() & ledger["file"].isin(newer))
    chosen = ledger[new & (ledger["outcome"] == "rejected")]
    return chosen[list(LEDGER_COLUMNS)].reset_index(drop=True)


def _resumed(rows: pd.DataFrame, before: Panel) -> bool:
    """Return whether a stock of the release has new rows but none shortly before them."""
    end = before.dates[-1]
    new, old = rows[rows["date"] > end]["symbol"], rows[rows["date"] <= end]["symbol"]
    return bool((set(new) - set(old)) & set(before.symbols))
