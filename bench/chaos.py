"""Load and faults against a real server on loopback, and what killed work leaves on disk: a row for each.

    python bench/chaos.py [--short | --full] [--only NAME,...] [--home DIR] [--json] [--out FILE]

``--short`` takes about two minutes, ``--full`` about an hour and a half. What serves is a copy of the
release in production below ``--home``; where there is none, a quick synthetic one is trained first. Every
answer is compared with the release's own forecasts. *Failed* are first tries without a 200, *after a retry*
those that failed a second time, *wrong* answers with other numbers, or of two releases. *Recovery* is from
a fault to the first of 50 good answers in a row. A scenario passes if nothing is wrong, and: no request
failed (steady, soak, reload), none failed twice (replicas, routers, node, clock), the service came back
(proxy: there is one, so requests fail meanwhile), only 200, 429 and 503 with Retry-After were given
(overload), everything on disk loads (publish, train, disk full). Exit code 1 if one failed. All temporary
files and processes are gone at the end.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import machine
from rich.console import Console

sys.path.insert(0, str(machine.ROOT))

from cluster.chaos import disk, elsewhere, faults
from cluster.chaos.home import prepared, source
from cluster.chaos.result import Row, table
from cluster.chaos.server import served
from cluster.chaos.traffic import Traffic
from common.errors import NsecastError
from common.model.release import Release


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
ON_DISK = ("disk full", "publish", "train")
BUSY = {"requests_under_way": 24, "questions_at_once": 8, "questions_queued": 16}
"""Settings of a server that is soon overloaded."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="the default")
    size.add_argument("--full", action="store_true")
    parser.add_argument("--only", help="names of scenarios, separated by commas")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=N", help="a size, as in `Size`")
    parser.add_argument("--home", type=Path, default=None, help="default: a temporary one")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to a file as well")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = machine.facts()
    with tempfile.TemporaryDirectory(prefix="nse-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        release = source(asked.home or folder / "source")
        scenarios = Scenarios(release, folder, _size(asked), asked.full)
        rows, stopped = [], False
        try:
            for row in scenarios.run(asked.only.split(",") if asked.only else []):
                rows.append(row)
        except KeyboardInterrupt:
            stopped = True
    document = {"machine": found, "release": release.id, "size": vars(scenarios.size)}
    document |= {"rows": [row.as_dict() for row in rows]}
    if asked.out:
        asked.out.write_text(json.dumps(document, indent=1) + "\n")
    if asked.json:
        print(json.dumps(document, indent=1))
    else:
        print(f"{machine.header(found)}, release {release.id}")
        Console(width=None if sys.stdout.isatty() else 200).print(table(rows))
    if stopped or any(row.passed is False for row in rows):
        raise SystemExit(130 if stopped else 1)


def _size(asked: argparse.Namespace) -> Size:
    given = dict(each.split("=", 1) for each in asked.set)
    return replace(
        FULL if asked.full else SHORT, **{name: type_of(name)(text) for name, text in given.items()}
    )


def type_of(name: str) -> type:
    return Size.__annotations__[name]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
            "publish": lambda: disk.publish_killed(
                self.release, self.folder / "publish", size.publish_kills, say=say
            ),
            "train": lambda: disk.train_killed(size.train_kills, self.folder / "train", say=say),
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
            traffic = Traffic(home, releases)
            bench = faults.Bench(server, traffic, home, releases, self.size.per_s, say)
            for name, work in scenarios.items():
                yield timed(name, lambda work=work: work(bench))
        shutil.rmtree(home)


def timed(name: str, work: Callable[[], Row]) -> Row:
    """The row with the seconds it took; what cannot be carried out is a failed one."""
    started = time.monotonic()
    try:
        row = work()
    except (NsecastError, OSError) as error:
        row = Row(name, "-", False, f"could not be carried out: {type(error).__name__}: {error}")
    row = replace(row, seconds=round(time.monotonic() - started, 1))
    say(json.dumps(row.as_dict()))
    return row


if __name__ == "__main__":
    main()
