"""Refresh the release in production from a source of new prices, one process at a time."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common import storage
from common.archive.price_lines import LEDGER_COLUMNS
from common.prices.panel import Panel
from common.release.lock import hold_lock, lock_of
from common.release.refresh import refresh_release
from common.release.refreshed import Refreshed
from common.release.registry import Registry
from common.release.released_models import ReleasedModels

REJECTS_KEPT = 10_000
"""Rows in the ledger of rejects; the oldest are dropped."""


@dataclass(frozen=True)
class NewPrices:
    """Prices that may be newer than a release's."""

    panel: Panel
    rejects: pd.DataFrame
    """The rows that were rejected, ``LEDGER_COLUMNS``."""
    since: pd.Timestamp | None = None
    """The panel is complete from this day on; None: from its start."""
    partial: bool = False
    """Whether the panel may lack any of the release's rows."""


def refresh_production(
    home: Path,
    read: Callable[[Panel], NewPrices],
    *,
    dry_run: bool = False,
    wait_s: float = 0.0,
    announce: Callable[[str], None] = lambda text: None,
    evidence: dict[str, Any] | None = None,
) -> tuple[Refreshed, pd.DataFrame]:
    """Refresh the release in production, and keep the rejected rows in the ledger (`rejects_of`).

    Parameters
    ----------
    read : returns the new prices, given the panel of the release in production
    wait_s : seconds to wait for another refresh, or for a retraining that refreshes or promotes
    announce : called with a text that names the process that is waited for
    dry_run, evidence : as in `refresh_release`

    Returns
    -------
    (Refreshed, DataFrame)
        The result, and the rejected rows.

    Raises
    ------
    ReleaseNotFound
        If nothing is in production.
    Busy
        If that is still running after ``wait_s``.
    ArchiveError, GateClosed
        As in `refresh_release`.
    """
    registry = Registry(home)
    with nullcontext() if dry_run else hold_lock(lock_of(home), wait_s=wait_s, announce=announce):
        models = ReleasedModels(registry.open(registry.resolve("production").id))
        prices = read(models.panel)
        if not dry_run:
            registry.clean()
            keep_rejects(home, prices.rejects)
        options: dict[str, Any] = {"since": prices.since, "partial": prices.partial, "dry_run": dry_run}
        result = refresh_release(registry, models, prices.panel, evidence=evidence, **options)
    return result, prices.rejects


def rejects_of(home: Path) -> Path:
    """Return the ledger of the rows that refreshes rejected: CSV with the columns of `nsecast data check`."""
    return home / "checks" / "rejects.csv"


def keep_rejects(home: Path, rejects: pd.DataFrame) -> None:
    """Add rejected rows to the ledger; a row that is in it already is not added again.

    The caller holds the lock of `common.release.lock`.
    """
    if rejects.empty:
        return
    path = rejects_of(home)
    dates = pd.to_datetime(rejects["date"]).dt.strftime("%Y-%m-%d").fillna("")
    rows = rejects[list(LEDGER_COLUMNS)].assign(date=dates).astype("str")
    try:
        kept = pd.read_csv(storage.up_to_date(path), dtype="str", keep_default_na=False)
        rows = pd.concat([kept, rows], ignore_index=True)
    except FileNotFoundError:
        pass
    rows = rows.drop_duplicates(ignore_index=True).tail(REJECTS_KEPT)
    storage.write_with(path, lambda temporary: rows.to_csv(temporary, index=False))
