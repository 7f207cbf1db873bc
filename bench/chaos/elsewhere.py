"""Faults with a place of their own: a node that dies, and a clock that jumps."""

import datetime as dt
import os
import tempfile
import time
from pathlib import Path

from bench.chaos import work
from bench.chaos.disk import unsound
from bench.chaos.faults import Bench, recovered
from bench.chaos.home import prepared
from bench.chaos.result import Row, row_of
from bench.chaos.server import served
from cluster.connect.local_cluster import LocalCluster
from cluster.connect.processes import end, processes_with_mark
from cluster.local.cluster import down, up
from common.release.manifest import Release
from common.release.registry import Registry
from serve.launch.proxy_environment import environment

FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/faketime/libfaketimeMT.so.1"),
)
JUMPS = {"+2d": 2, "-400d": -400, "+400d": 400, "-2d": -2}
"""Of the wall clock, against the true one, and in days; the monotonic one goes on."""
SETTLE_S = 3.0


def end_node(cluster: LocalCluster, name: str) -> int:
    """End one node at once, as a failing machine would; returns how many processes ended."""
    return end(processes_with_mark(f"{cluster.id}/{name}"), timeout_s=0)


def node_killed(release: Release, folder: Path, *, per_s: float, seconds: float = 10.0) -> Row:
    """Two nodes with a replica of everything on each; one node dies under load."""
    home = folder / "node"
    releases = prepared(release, home)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="nse-") as sockets:
        os.environ.update(environment(Path(sockets), haproxy=True))
        try:
            cluster = up(home, 2, 1)[0]
            with served(
                home, address="auto", more_pids=lambda: list(processes_with_mark(cluster.id))
            ) as server:
                bench = Bench(server, home, releases, per_s)
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


def clock_jumped(release: Release, folder: Path) -> Row:
    """Publish and promote by processes whose wall clock is days ahead and behind, in turn.

    Ray itself does not start under libfaketime, so that the clock of a whole server cannot be moved this way.
    """
    did = f"published and promoted by processes at {', '.join(JUMPS)}"
    library = next((path for path in FAKETIME if path.exists()), None)
    if library is None:
        return Row("clock", did, None, "needs libfaketime (package faketime)")
    home, registry, problems = folder / "clock", Registry(folder / "clock"), []
    prepared(release, home)
    for number, jump in enumerate(JUMPS):
        name = f"clock-{number}"
        variables = {"LD_PRELOAD": str(library), "FAKETIME": jump, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        work.run("publish", str(home), str(release.path), name, variables=variables)
        created = registry.resolve(name).created
        ahead = round((created - dt.datetime.now(dt.UTC)).total_seconds() / 86_400)
        problems += [] if ahead == JUMPS[jump] else [f"at {jump} it says it is {ahead} days ahead"]
        problems += [] if registry.production() == name else [f"at {jump} it did not go to production"]
        registry.clean()
        problems += [reason] if (reason := unsound(home)) else []
    registry.rollback()
    problems += [] if registry.production() == "clock-2" else ["rolled back to another than the one before"]
    return Row(
        "clock", did, not problems, "; ".join(problems) or "each serves, whatever its date; rolled back"
    )
