"""``nsecast retrain``: run the nightly retraining."""

import datetime as dt
import functools
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from cluster.connect.address import Address, resolve_address
from common import storage
from common.console import console
from common.errors import ConfigError, NsecastError, TrainingError
from common.exchange.universe import load_universe
from common.options import (
    AcceptMixedDates,
    ArchiveFolder,
    AsJson,
    Home,
    Refit,
    Wait,
    Workers,
    wait_seconds,
)
from train.nightly.nightly_record import STEPS, NightlyRecord, listed, work_seconds
from train.nightly.table import DECISION_LINES, figures_table, records_table
from train.progress.console import Mode
from train.progress.snapshot import format_duration
from train.run.inputs import merge_overrides

REFUSED = 3
"""Exit code if a gate refused the new release or the new prices."""
LISTED = 20


def retrain(
    archive: ArchiveFolder = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="First download the publisher's files to --archive.")
    ] = False,
    retrain_every: Annotated[
        str | None,
        typer.Option(
            metavar="7d",
            help="Refresh production every time, and train only if the newest session is at least this long "
            "after the data of its networks. Default: train whenever there are new data.",
        ),
    ] = None,
    if_stale: Annotated[
        bool,
        typer.Option("--if-stale", help="Only for a new session or other settings, not for corrected rows."),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings that change production's.")
    ] = None,
    universe: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Stocks, sectors and tiers; default: production's."),
    ] = None,
    wait: Wait = None,
    workers: Workers = None,
    refit: Refit = None,
    address: Address = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    status: Annotated[bool, typer.Option("--status", help="List the last retrainings and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ingest new files, train, backtest, gate, promote; running servers load the new release.

    The same command continues a stopped or failed retraining, and does nothing if nothing is new.
    Production's settings are used, and its split moves on with the sessions. Exit codes: 0 promoted,
    refreshed or nothing to do, 1 a step failed, 2 usage, 3 a gate refused the new release or prices, 130
    stopped. Newly trained networks go to production only with exit code 0.
    """
    root = storage.home(home)
    if status:
        _print_status(root, as_json)
        return
    if fetch and archive is None:
        raise typer.BadParameter("--fetch needs --archive DIR, the folder for the files.")
    from train.nightly.nightly import Request
    from train.nightly.nightly import retrain as work

    mode: Mode | None = "plain" if as_json else None
    overrides = merge_overrides(config, None, None, None, None)
    if config:
        _check_settings(overrides, root, str(config))
    request = Request(
        archive=archive,
        overrides=overrides,
        universe=load_universe(universe) if universe else None,
        retrain_every=_every(retrain_every),
        if_stale=if_stale,
        accept_mixed_dates=accept_mixed_dates,
        fetch=_fetcher(archive) if fetch and archive else None,
        workers=workers,
        mode=mode,
        refit=refit,
        address=resolve_address(address, root),
    )
    lines = _ProgressLines()
    try:
        record = work(
            request,
            root,
            wait_s=wait_seconds(wait),
            announce=lines.print,
            watch=lines.watch,
            progress=lines.progress,
        )
    except TrainingError as error:
        lines.close()
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(1) from None
    finally:
        lines.close()
    _print(record, as_json)
    if record.values["state"] == "closed":
        raise typer.Exit(REFUSED)


def _check_settings(overrides: dict[str, Any], root: Path, where: str) -> None:
    """Raise ConfigError for an invalid settings file before the archive is read."""
    from common.release.registry import Registry
    from train.nightly.split import next_settings

    try:
        registry = Registry(root)
        production = registry.open(registry.resolve("production").id)
    except NsecastError:  # the run reports a missing or damaged release
        production = None
    next_settings(production, overrides, where=where)


def _every(text: str | None) -> dt.timedelta | None:
    """Convert a number of days or hours, such as ``7d`` or ``36h``."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})([hd])", text.strip())
    if not match:
        raise ConfigError(
            f"--retrain-every: got {text!r}; need days or hours (up to 5 digits), such as 7d or 36h."
        )
    return dt.timedelta(hours=int(match[1]) * {"h": 1, "d": 24}[match[2]])


def _fetcher(archive: Path) -> Callable[[], dict[str, Any]]:
    """Return a function that downloads the archive and returns the file names by outcome."""

    def fetch() -> dict[str, Any]:
        from common.archive.fetch import fetch_archive

        result = fetch_archive(archive)
        return {name: list(getattr(result, name)) for name in ("written", "present", "unpinned", "missing")}

    return fetch


class _ProgressLines:
    """Prints a line on stderr for each step and, on a terminal, shows the progress of a long step."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._begun: dict[str, float] = {}
        self._status: Status | None = None

    def print(self, text: str) -> None:
        with suppress(OSError):  # a closed stderr must not end the retraining
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def watch(self, step: str, record: NightlyRecord) -> None:
        self.close()
        entry = record.values["steps"][step]
        head = f"[{STEPS.index(step) + 1}/{len(STEPS)}] {step:<8}"
        if entry["state"] == "done":
            took = format_duration(time.monotonic() - self._begun[step]) if step in self._begun else "before"
            self.print(f"{head} {took:>7}  {DECISION_LINES[step](entry['decision'])}")
            return
        self._begun[step] = time.monotonic()
        if step != "train" and self._console.is_terminal:  # training shows a table of its own
            self._status = self._console.status(head)
            self._status.start()

    def progress(self, release: str, done: int, of: int) -> None:
        if self._status is not None:
            self._status.update(f"{release}: {done:,} of {of:,} forecasts")

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _print(record: NightlyRecord, as_json: bool) -> None:
    values = record.values
    if as_json:
        typer.echo(json.dumps(values, indent=1))
        return
    if figures := record.decision("backtest"):
        console().print(figures_table(values, figures))
    say = functools.partial(console().print, highlight=False, soft_wrap=True)
    words = {
        "promoted": "promoted",
        "refreshed": "refreshed",
        "current": "nothing to do",
        "closed": "not promoted",
    }
    style = "yellow" if values["state"] == "closed" else None
    say(f"{words[values['state']]}: {values['reason']}", style=style, markup=False)
    say(f"production: {values['production_after'] or 'nothing'} ({format_duration(work_seconds(values))})")
    say(storage.display_path(record.folder))


def _print_status(home: Path, as_json: bool) -> None:
    retrainings = list(islice(listed(home), LISTED))
    if as_json:
        typer.echo(json.dumps(retrainings, indent=1))
    elif retrainings:
        console().print(records_table(retrainings))
    else:
        where = storage.display_path(home)
        typer.echo(f"No retrainings below {where} yet. Start one with `nsecast retrain`.", err=True)
