"""Every scenario of load and faults, and how much of each is done."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.chaos import disk, elsewhere, faults
from bench.chaos.home import prepared
from bench.chaos.result import Row, note
from bench.chaos.server import served
from common.errors import NsecastError
from common.release.manifest import Release


@dataclass(frozen=True)
class Size:
    """How much of each; seconds and counts."""

    per_s: float
    steady: float
    overload: float
    replicas: int
    routers: int
    proxies: int
    reloads: int
    soak: float
    publish_kills: int
    train_kills: int


SHORT = Size(30, 8, 6, 2, 1, 1, 3, 0, 8, 2)
FULL = Size(50, 600, 30, 20, 5, 5, 50, 1_800, 80, 20)
APART = ("node",)
"""Scenarios of ``--full`` alone: a cluster takes long to start."""
BUSY = {"requests_under_way": 24, "questions_at_once": 8, "questions_queued": 16}
"""Settings of a server that is soon overloaded."""


@dataclass
class Scenarios:
    """All of them, those that share a server together."""

    release: Release
    folder: Path
    size: Size
    full: bool

    def run(self, only: list[str]) -> Iterator[Row]:
        """A row for each scenario, or for those in ``only``; one that cannot be done is a failed row."""
        size = self.size
        on_server: dict[str, Callable[[faults.Bench], Row]] = {
            "steady": lambda bench: faults.steady(bench, size.steady),
            "replicas": lambda bench: faults.killed(
                bench, ("SpecificModel", "GeneralModel"), size.replicas, name="replicas"
            ),
            "routers": lambda bench: faults.killed(bench, ("Router",), size.routers, name="routers"),
            "proxy": lambda bench: faults.killed(
                bench, ("haproxy", "manager"), size.proxies, name="proxy", retried=False
            ),
            "reload": lambda bench: faults.reloaded(bench, size.reloads),
            "soak": lambda bench: faults.steady(bench, size.soak, name="soak", soak=True),
        }
        alone: dict[str, Callable[[], Row]] = {
            "disk full": lambda: disk.disk_full(self.release),
            "publish": lambda: disk.publish_killed(self.release, self.folder / "publish", size.publish_kills),
            "train": lambda: disk.train_killed(size.train_kills, self.folder / "train"),
            "node": lambda: elsewhere.node_killed(self.release, self.folder, per_s=size.per_s),
            "clock": lambda: elsewhere.clock_jumped(self.release, self.folder),
        }
        if unknown := set(only) - {*on_server, *alone, "overload"}:
            raise SystemExit(f"--only: no scenario {', '.join(sorted(unknown))}")
        wanted = only or [*on_server, *alone, "overload"]
        sizes = {"soak": size.soak} | dict.fromkeys(APART, self.full or only)
        wanted = [name for name in wanted if sizes.get(name, True)]
        yield from self._served({name: on_server[name] for name in on_server if name in wanted}, {})
        if "overload" in wanted:
            overload = {"overload": lambda bench: faults.overloaded(bench, size.overload)}
            yield from self._served(overload, BUSY)
        for name, work in alone.items():
            if name in wanted:
                yield timed(name, work)

    def _served(
        self, scenarios: dict[str, Callable[[faults.Bench], Row]], settings: dict[str, Any]
    ) -> Iterator[Row]:
        if not scenarios:
            return
        home = self.folder / "served"
        releases = prepared(self.release, home)
        with ExitStack() as stack:
            try:
                server = stack.enter_context(served(home, settings=settings, niceness=5 if settings else 0))
            except NsecastError as error:
                yield Row(next(iter(scenarios)), "starting the server", False, error.message)
                return
            bench = faults.Bench(server, home, releases, self.size.per_s)
            for name, work in scenarios.items():
                yield timed(name, partial(work, bench))
        shutil.rmtree(home)


def timed(name: str, work: Callable[[], Row]) -> Row:
    """The row with the seconds it took; what cannot be carried out is a failed one."""
    started = time.monotonic()
    try:
        row = work()
    except (NsecastError, OSError) as error:
        row = Row(name, "-", False, f"could not be carried out: {type(error).__name__}: {error}")
    row = replace(row, seconds=round(time.monotonic() - started, 1))
    note(json.dumps(row.as_dict()))
    return row
