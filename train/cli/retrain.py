"""``nsecast retrain``: the nightly job from the command line."""

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from cluster.connect.address import Address, placed
from common import storage
from common.errors import ConfigError, NsecastError, TrainingError
from common.exchange.universe import load_universe
from common.options import AcceptMixedDates, AsJson, Home
from train.nightly.record import STEPS, NightlyRecord, listed, work_seconds
from train.nightly.table import SAID, figures_table, records_table
from train.progress.console import Mode
from train.progress.snapshot import duration
from train.run.inputs import overrides_of

REFUSED = 3
"""Exit code of a retraining that worked, whose release the gate refused."""
LISTED = 20


def retrain(
    archive: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The exchange's daily files; default: the synthetic market."),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="First bring what the publisher has into --archive.")
    ] = False,
    if_stale: Annotated[
        bool,
        typer.Option("--if-stale", help="Only for a new session or other settings, not for corrected rows."),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings that change production's.")
    ] = None,
    universe: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Counters, sectors and tiers; default production's."),
    ] = None,
    wait: Annotated[
        str | None, typer.Option(metavar="30m", help="Wait for another retraining so long; 90s, 30m or 2h.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Default: all CPUs.")] = None,
    address: Address = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    status: Annotated[bool, typer.Option("--status", help="List the last retrainings and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ingest new files, train, backtest, gate, promote; a running server takes the new release up by itself.

    The same command continues what was stopped or failed, and does nothing if nothing is new. Production's
    settings are kept and its split moves on with the sessions. Exit codes: 0 promoted or nothing to do,
    1 a step failed, 2 usage, 3 the gate refused the new release, 130 stopped; production moves with 0 alone.
    """
    root = storage.home(home)
    if status:
        _print_status(root, as_json)
        return
    if fetch and archive is None:
        raise typer.BadParameter("--fetch needs --archive DIR, where the files go.")
    from train.nightly.nightly import Request
    from train.nightly.nightly import retrain as work

    mode: Mode | None = "plain" if as_json else None
    overrides = overrides_of(config, None, None, None, None)
    if config:
        _refuse_wrong(overrides, root, str(config))
    request = Request(
        archive=archive,
        overrides=overrides,
        universe=load_universe(universe) if universe else None,
        if_stale=if_stale,
        accept_mixed_dates=accept_mixed_dates,
        fetch=_fetcher(archive) if fetch and archive else None,
        workers=workers,
        mode=mode,
        address=placed(address, root),
    )
    lines = _Lines()
    try:
        record = work(
            request,
            root,
            wait_s=_seconds(wait),
            announce=lines.say,
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


def _refuse_wrong(overrides: dict[str, Any], root: Path, where: str) -> None:
    """Raise ConfigError for a settings file now, rather than once the archive was read."""
    from common.release.registry import Registry
    from train.nightly.split import next_settings

    try:
        registry = Registry(root)
        production = registry.open(registry.resolve("production").id)
    except NsecastError:  # there is none, or it is damaged, which the run reports
        production = None
    next_settings(production, overrides, where=where)


def _seconds(text: str | None) -> float:
    """Seconds in ``90s``, ``30m`` or ``2h``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", (text or "0s").strip())
    if not found:
        raise ConfigError(f"--wait: got {text!r}; need a number and a unit, such as 90s, 30m or 2h.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _fetcher(archive: Path) -> Callable[[], dict[str, Any]]:
    """The download of `nsecast data fetch`, for the record: file names by what became of them."""

    def fetch() -> dict[str, Any]:
        from common.archive.fetch import fetch_archive

        found = fetch_archive(archive)
        return {name: list(getattr(found, name)) for name in ("written", "present", "unpinned", "missing")}

    return fetch


class _Lines:
    """A line on stderr for each step, and on a terminal what the long ones are at."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._begun: dict[str, float] = {}
        self._status: Status | None = None

    def say(self, text: str) -> None:
        with suppress(OSError):  # nobody may be reading any more: no reason to end a night
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def watch(self, step: str, record: NightlyRecord) -> None:
        self.close()
        entry = record.values["steps"][step]
        head = f"[{STEPS.index(step) + 1}/{len(STEPS)}] {step:<8}"
        if entry["state"] == "done":
            took = time.monotonic() - self._begun[step] if step in self._begun else None
            said = "before" if took is None else duration(took)
            self.say(f"{head} {said:>7}  {SAID[step](entry['decision'])}")
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
    console = _console()
    if found := record.decision("backtest"):
        console.print(figures_table(values, found))
    words = {"promoted": "promoted", "current": "nothing to do", "closed": "not promoted"}
    style = "yellow" if values["state"] == "closed" else None
    console.print(
        f"{words[values['state']]}: {values['reason']}",
        style=style,
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    took = work_seconds(values)
    console.print(
        f"production: {values['production_after'] or 'nothing'} ({duration(took)})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(storage.shown(record.folder), highlight=False, soft_wrap=True)


def _print_status(home: Path, as_json: bool) -> None:
    found = list(islice(listed(home), LISTED))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    elif found:
        _console().print(records_table(found))
    else:
        where = storage.shown(home)
        typer.echo(f"No retrainings below {where} yet. Start one with `nsecast retrain`.", err=True)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
