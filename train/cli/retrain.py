"""``nsecast retrain``: run the nightly retraining."""

import datetime as dt
import functools
import json
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from cluster.connect.address import Address, resolve_address
from common import storage
from common.console import console
from common.errors import TrainingError
from common.exchange.universe import load_universe
from common.options import (
    AcceptMixedDates,
    ArchiveFolder,
    AsJson,
    Home,
    Refit,
    Wait,
    Workers,
    duration_s,
    wait_seconds,
)
from train.cli.models import comparison_table
from train.nightly.nightly_record import STEPS, NightlyRecord, listed, work_seconds
from train.nightly.table import DECISION_LINES, records_table
from train.progress.console import Mode
from train.progress.snapshot import SYNTHETIC, format_duration, is_synthetic
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
    """Ingest new files, train, gate, promote; running servers load the new release.

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
    from train.nightly.nightly import retrain as work
    from train.nightly.split import next_settings
    from train.nightly.steps import Request

    overrides = merge_overrides(config, None, None, None, None)
    next_settings(None, overrides, where=str(config or "settings"))  # before the archive is read
    mode: Mode | None = "plain" if as_json else None
    every = None
    if retrain_every is not None:
        every = dt.timedelta(seconds=duration_s(retrain_every, "--retrain-every", "7d or 36h"))
    request = Request(
        archive=archive,
        overrides=overrides,
        universe=load_universe(universe) if universe else None,
        retrain_every=every,
        if_stale=if_stale,
        accept_mixed_dates=accept_mixed_dates,
        fetch=fetch,
        workers=workers,
        mode=mode,
        refit=refit,
        address=resolve_address(address, root),
    )
    lines = _ProgressLines()
    try:
        record = work(request, root, wait_s=wait_seconds(wait), announce=lines.print, watch=lines.watch)
    except TrainingError as error:
        lines.close()
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(1) from None
    finally:
        lines.close()
    _print(record, as_json)
    if record.values["state"] == "closed":
        raise typer.Exit(REFUSED)


class _ProgressLines:
    """Prints a line on stderr for each step and, on a terminal, shows the progress of a long step."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._begun = 0.0
        self._status: Status | None = None

    def print(self, text: str) -> None:
        with suppress(OSError):  # a closed stderr must not end the retraining
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def watch(self, step: str, record: NightlyRecord) -> None:
        self.close()
        entry = record.values["steps"][step]
        head = f"[{STEPS.index(step) + 1}/{len(STEPS)}] {step:<8}"
        if entry["state"] == "done":
            took = format_duration(time.monotonic() - self._begun)
            self.print(f"{head} {took:>7}  {DECISION_LINES[step](entry['decision'])}")
            return
        self._begun = time.monotonic()
        if step != "train" and self._console.is_terminal:  # training shows a table of its own
            self._status = self._console.status(head)
            self._status.start()

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _print(record: NightlyRecord, as_json: bool) -> None:
    values = record.values
    if as_json:
        typer.echo(json.dumps(values, indent=1))
        return
    if judged := record.decision("gate"):
        if is_synthetic((record.decision("ingest") or {}).get("source")):
            console().print(SYNTHETIC, style="black on yellow")
        if judged["comparison"] and judged["comparison"]["comparable"]:
            console().print(comparison_table(values["release"], judged["comparison"]))
    write = functools.partial(console().print, highlight=False, soft_wrap=True)
    state = {"current": "nothing to do", "closed": "not promoted"}.get(values["state"], values["state"])
    style = "yellow" if values["state"] == "closed" else None
    write(f"{state}: {values['reason']}", style=style, markup=False)
    write(f"production: {values['production_after'] or 'nothing'} ({format_duration(work_seconds(values))})")
    write(storage.display_path(record.folder))


def _print_status(home: Path, as_json: bool) -> None:
    retrainings = list(islice(listed(home), LISTED))
    if as_json:
        typer.echo(json.dumps(retrainings, indent=1))
    elif retrainings:
        console().print(records_table(retrainings))
    else:
        where = storage.display_path(home)
        typer.echo(f"No retrainings below {where} yet. Start one with `nsecast retrain`.", err=True)
