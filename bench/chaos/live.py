"""Kills on one side, requests on the other."""

import itertools
import random
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import rich.box
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from bench.chaos.faults import Bench, promoted, recovered
from bench.chaos.home import prepared
from bench.chaos.load import Tally
from bench.chaos.result import Row, note, row_of
from bench.chaos.server import REPLICAS, served
from common.release.manifest import Release

PAUSE_S = 3.0
SHOWN = 14
RELEASE = "release"
ROUND = ("SpecificModel", "GeneralModel", RELEASE, "Router")


@dataclass
class Event:
    """One thing that was done to the service."""

    at_s: float
    what: str
    recovery_s: float | None = None
    """Until requests were answered again; 0: they always were. None: not yet."""


@dataclass
class Show:
    """What is on the screen, and the kills themselves."""

    bench: Bench
    minutes: float
    tally: Tally
    events: list[Event] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    rng: random.Random = field(default_factory=random.Random)  # nosec B311 # which replica dies is no secret

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def run(self, *, quiet: bool) -> None:
        """Kill and promote in turn until the time is up, each after recovery from the one before."""
        for number, kind in enumerate(itertools.cycle(ROUND)):
            if self.seconds > 60 * self.minutes:
                return
            at = time.monotonic()
            if kind == RELEASE:
                wanted = self.bench.releases[(number // len(ROUND) + 1) % 2]
                event = self._add(f"release {wanted} promoted")
                promoted(self.bench, self.tally, wanted)
            else:
                there = max(1, len(self.bench.server.ready(kind)))
                event = self._add(f"kill -9 {kind} {self.bench.server.kill(kind, self.rng)}")
                recovered(self.tally, at)
                self.bench.server.wait_for(kind, there)
            event.recovery_s = recovered(self.tally, at)
            if not quiet:
                note(f"{event.at_s:5.0f} s  {event.what}: {_well(event)}; {self.tally.failed_twice} failed")
            time.sleep(PAUSE_S)

    def _add(self, what: str) -> Event:
        self.events.append(Event(self.seconds, what))
        return self.events[-1]

    def row(self) -> Row:
        kills = sum(event.what.startswith("kill") for event in self.events)
        did = f"kill -9 x {kills}, releases x {len(self.events) - kills} in {self.seconds:.0f} s"
        slowest = max((event.recovery_s or 0.0 for event in self.events), default=0.0)
        return row_of(self.tally, "chaos", did, self.tally.failed_twice == 0, recovery_s=slowest)

    def __rich__(self) -> Group:
        left = Table("s", "what", "requests meanwhile", box=rich.box.SIMPLE_HEAD)
        for event in self.events[-SHOWN:]:
            left.add_row(f"{event.at_s:.0f}", event.what, _well(event))
        tally, right = self.tally, Table(box=rich.box.SIMPLE_HEAD, show_header=False)
        right.add_column()
        right.add_column(justify="right")
        for name, text in (
            ("requests", f"{len(tally.requests):,}"),
            ("answered a second", f"{tally.per_s():.0f}"),
            *((f"status {status}", f"{count:,}") for status, count in tally.statuses.items()),
            ("failed once", f"{tally.failed:,}"),
            ("failed twice", _zero(tally.failed_twice)),
            ("wrong or of two releases", _zero(tally.wrongs)),
            ("release", next(iter(tally.newest(1)), None) or "-"),
        ):
            right.add_row(name, text)
        processes = self.bench.server.processes()
        alive = ", ".join(f"{len(processes.get(kind, []))} {kind}" for kind in REPLICAS)
        return Group(
            f"{self.bench.server.url}  {self.seconds:.0f} of {60 * self.minutes:.0f} s  {alive}",
            Columns([Panel(left, title="kills"), Panel(right, title="requests")]),
        )


def show_kills(
    release: Release, console: Console, *, minutes: float, per_s: float, live: bool
) -> tuple[Row, bool]:
    """Kill and promote in turn, on the screen or as lines on stderr; the row, and whether Ctrl-C ended it."""
    stopped = False
    with tempfile.TemporaryDirectory(prefix="nse-chaos-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        releases = prepared(release, place)
        note(f"starting a server with {release.id} on loopback")
        with served(place) as server:
            bench = Bench(server, place, releases, per_s)
            with bench.load() as load:
                show = Show(bench, minutes, load.tally)
                try:
                    screen = Live(
                        console=console, get_renderable=show.__rich__, refresh_per_second=2, transient=True
                    )
                    with screen if live else nullcontext():
                        show.run(quiet=live)
                except KeyboardInterrupt:
                    note("stopping")
                    stopped = True
            return show.row(), stopped


def _well(event: Event) -> str:
    if event.recovery_s is None:
        return "..."
    return "all answered" if event.recovery_s == 0 else f"some failed for {event.recovery_s:.1f} s"


def _zero(count: int) -> str:
    return f"[bold {'red' if count else 'green'}]{count:,}"
