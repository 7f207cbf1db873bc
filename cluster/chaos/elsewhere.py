"""Faults that need a server of their own: a node that dies, and a clock that jumps."""

import datetime as dt
import os
import tempfile
import time
from pathlib import Path

import httpx

from cluster.chaos.child import run_child
from cluster.chaos.disk import unsound
from cluster.chaos.faults import RECOVERS_S, Bench, recovered
from cluster.chaos.home import prepared
from cluster.chaos.result import Row, row_of
from cluster.chaos.server import Server, served
from cluster.chaos.traffic import API, Traffic
from common.model.registry import Registry
from common.model.release import Release

FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/faketime/libfaketimeMT.so.1"),
)
JUMPS = {"+2d": 2, "-2d": -2, "+0": 0}
"""Of the wall clock, against the true one, and in days; the monotonic one goes on."""
SETTLE_S = 3.0


def node_killed(release: Release, folder: Path, *, per_s: float, seconds: float = 10.0) -> Row:
    """Two nodes with a replica of everything on each; one node dies under load."""
    from cluster.local import down, end_node, up
    from cluster.processes import marked
    from serve.serve_cli import environment

    home = folder / "node"
    releases = prepared(release, home)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="nse-") as sockets:
        os.environ.update(environment(Path(sockets), haproxy=True))
        try:
            cluster = up(home, 2, 1)[0]
            with served(home, address="auto", more_pids=lambda: list(marked(cluster.id))) as server:
                bench = Bench(server, Traffic(home, releases), home, releases, per_s)
                with bench.load() as load:
                    time.sleep(SETTLE_S)
                    at = time.monotonic()
                    ended = end_node(cluster, "node-1")
                    recovery = recovered(load.tally, at)
                    time.sleep(seconds)
        finally:
            os.environ.clear()
            os.environ.update(before)
            down(home)
    passed = recovery is not None and load.tally.failed_twice == 0
    did = f"one of two nodes ended ({ended} processes, kill)"
    return row_of(load.tally, "node", did, passed, recovery_s=recovery)


def clock_jumped(release: Release, folder: Path, *, per_s: float, seconds: float = 8.0) -> Row:
    """The wall clock of a whole server jumps under load, and a release is published two days ago."""
    did = f"wall clock of the server {', '.join(JUMPS)} under load; publishing at -2d"
    library = next((path for path in FAKETIME if path.exists()), None)
    if library is None:
        return Row("clock", did, None, "needs libfaketime (package faketime)")
    home, problems = folder / "clock", []
    releases = prepared(release, home)
    with tempfile.TemporaryDirectory(prefix="nse-") as name:
        when = Path(name) / "when"
        variables = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(when),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        when.write_text("+0\n")
        slowest = 0.0
        with served(home, variables=variables) as server:
            bench = Bench(server, Traffic(home, releases), home, releases, per_s)
            with bench.load() as load:
                for jump, days in JUMPS.items():
                    at = time.monotonic()
                    when.write_text(f"{jump}\n")
                    time.sleep(seconds)
                    if (ahead := _days_ahead(server, bench.traffic)) != days:
                        problems.append(f"at {jump} its clock is {ahead} days ahead")
                    found = recovered(load.tally, at)
                    slowest = max(slowest, RECOVERS_S if found is None else found)
            when.write_text("-2d\n")
            run_child("publish", str(home), str(release.path), "earlier", variables=variables)
    problems += [unsound(home), "" if Registry(home).production() == "earlier" else "not promoted"]
    found_problems = [problem for problem in problems if problem]
    passed = load.tally.failed_twice == 0 and not found_problems
    return row_of(load.tally, "clock", did, passed, note="; ".join(found_problems), recovery_s=slowest)


def _days_ahead(server: Server, traffic: Traffic) -> int | None:
    """By the time in an answer; None without one."""
    try:
        body = {"symbol": traffic.symbols[0]}
        said = httpx.post(f"{server.url}{API}/predict", json=body, timeout=20).json()["timestamp"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    return round((dt.datetime.fromisoformat(said) - dt.datetime.now(dt.UTC)).total_seconds() / 86_400)
