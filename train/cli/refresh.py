"""``nsecast refresh``: forecast from today's prices with the networks in production."""

import functools
import json
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from common import storage
from common.console import console
from common.options import AcceptMixedDates, AsJson, DryRun, Home, Wait, wait_seconds
from common.release.refresh_production import refresh_production, rejects_of
from common.release.refreshed import Refreshed
from train.pipeline.refresh import read_newer

NAMED = 5
"""Largest number of rejected rows that are printed; the ledger has all."""


def refresh(
    archive: Annotated[
        Path,
        typer.Option("--archive", metavar="DIR", help="The exchange's daily files to the newest day."),
    ],
    wait: Wait = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Forecast from newer prices with the networks in production, as a new release that servers load.

    The interval levels learn from the new outcomes. Nothing is trained. The same command continues after a
    stop, and does nothing if there is no new session. Exit codes: 0 refreshed or nothing new, 1 failed or
    refused (production is unchanged), 2 usage.
    """
    root, started = storage.home(home), time.monotonic()
    announce = functools.partial(console(stderr=True).print, highlight=False, soft_wrap=True, markup=False)
    read = functools.partial(read_newer, archive, root, accept_mixed_dates=accept_mixed_dates)
    options: dict[str, Any] = {"dry_run": dry_run, "wait_s": wait_seconds(wait), "announce": announce}
    result, rejects = refresh_production(root, read, **options)
    seconds = time.monotonic() - started
    if as_json:
        document = result.as_dict() | {
            "rejected": len(rejects),
            "rejects": str(storage.display_path(rejects_of(root))),
            "seconds": round(seconds, 2),
        }
        typer.echo(json.dumps(document, indent=1))
    else:
        _print(result, rejects, root, seconds)


def _print(result: Refreshed, rejects: pd.DataFrame, root: Path, seconds: float) -> None:
    write = functools.partial(console().print, highlight=False, soft_wrap=True, markup=False)
    if result.state == "current":
        write(f"nothing new: {result.before} has the prices to {result.last_before}")
    else:
        days = result.first if result.sessions == 1 else f"{result.first} to {result.last}"
        new = f"{result.sessions} session{'s' * (result.sessions > 1)}, {days}, {result.rows} rows"
        verb = "would be added" if result.state == "planned" else "added"
        write(f"{verb} to {result.before} (prices to {result.last_before}): {new}")
    if result.differences:
        kept = "the release keeps its own until the next training"
        write(f"{result.differences} older rows differ from the release's: {kept}")
    if result.posted:
        write(f"posted sessions that the archive lacks, kept: {', '.join(result.posted)}")
    if len(rejects):
        write(f"rejected: {len(rejects)} rows, kept in {storage.display_path(rejects_of(root))}")
        for row in rejects.head(NAMED).itertuples():
            write(f"  {row.symbol or '-'} ({row.file}, line {row.line}): {row.reason}")
    if result.state == "refreshed":
        write(f"forecasts from {result.last}: {result.forecasts} of {result.stocks} stocks")
        write(f"production: {result.release} (was {result.before}), {seconds:.1f} s")
    elif result.state == "planned":
        write(f"it would be {result.release}; nothing was written")
    else:
        write(f"production: {result.release}")
