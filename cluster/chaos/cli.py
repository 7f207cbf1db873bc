"""``nsecast chaos``: a server under load whose parts are ended, to look at."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from common import storage
from common.options import Home

if TYPE_CHECKING:
    from cluster.chaos.result import Row

INTERRUPTED = 130


def chaos(
    live: Annotated[
        bool, typer.Option("--live", help="A screen: kills on one side, requests on the other.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.1, max=240, help="How long.")] = 2.0,
    per_s: Annotated[float, typer.Option(min=1, max=500, help="Requests a second.")] = 30.0,
    home: Home = None,
) -> None:
    """End parts of a server under load and count what fails; on loopback, with a copy of production.

    It starts a server of its own (two of everything), asks it steadily, and in turn ends replicas and routers
    (kill -9) and promotes releases. What is in production is only read; without any release a quick synthetic
    one is trained first. Exit codes: 0 no request failed when asked again and no answer was wrong, 1 one did,
    130 stopped; nothing is left running.
    """
    try:
        row, stopped = _shown(storage.home(home), minutes, per_s, live)
    except KeyboardInterrupt:  # before there was anything to show
        raise typer.Exit(INTERRUPTED) from None
    if stopped or not row.passed:
        raise typer.Exit(INTERRUPTED if stopped else 1)


def _shown(home: Path, minutes: float, per_s: float, live: bool) -> "tuple[Row, bool]":
    """Do it, and print what it came to; whether Ctrl-C ended it."""
    from cluster.chaos.faults import Bench
    from cluster.chaos.home import prepared, source
    from cluster.chaos.live import Show, shown
    from cluster.chaos.result import table
    from cluster.chaos.server import served
    from cluster.chaos.traffic import Traffic

    release, stopped = source(home), False
    console = Console(width=None if sys.stdout.isatty() else 160)
    with tempfile.TemporaryDirectory(prefix="nse-chaos-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        releases = prepared(release, place)
        _note(f"starting a server with {release.id} on loopback")
        with served(place) as server:
            bench = Bench(server, Traffic(place, releases), place, releases, per_s)
            with bench.load() as load:
                show = Show(bench, minutes, load.tally)
                try:
                    with shown(show, console, live=live):
                        show.run(_note if not live else lambda text: None)
                except KeyboardInterrupt:
                    _note("stopping")
                    stopped = True
            row = show.row()
    console.print(table([row]))
    return row, stopped


def _note(text: str) -> None:
    typer.echo(text, err=True)
