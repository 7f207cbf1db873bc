"""A server of our own, its processes by what they do, and how one of them is ended at once."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.chaos.home import ROOT
from cluster.connect.ports import descendants, free_port, listeners
from cluster.connect.processes import end, start_time
from common.errors import RayUnavailable
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.launch.proxy_environment import FIRST_INNER_PORT, INNER_PORTS, RANGES

START_S, STOP_S, BACK_S = 300.0, 90.0, 120.0
TIERS = {"GeneralModel": GENERAL, "SpecificModel": SPECIFIC}
REPLICAS = ("GeneralModel", "SpecificModel", "Router")
TITLES = {f"ray::ServeReplica:nsecast:{name}": name for name in REPLICAS} | {
    "ray::HAProxyManager": "manager",
    "ray::ProxyActor": "manager",
    "ray::ServeController": "controller",
}
SETTINGS: dict[str, Any] = {
    "routers": 2,
    "general_replicas": 2,
    "specific_min": 2,
    "specific_max": 2,
    "reload_every_s": 0.5,
    "forecasts_remembered": 0,  # so that requests reach the replicas
    "access_log": "off",
}
"""Two of everything, as a service that must not stop has."""


@dataclass(frozen=True)
class Server:
    """One that answers at ``url``; ``pids`` lists its processes."""

    url: str
    log: Path
    pids: Callable[[], list[int]]

    def processes(self) -> dict[str, list[int]]:
        """Numbers by kind: ``REPLICAS``, ``haproxy``, ``manager``, ``controller``."""
        results: dict[str, list[int]] = {}
        for pid in self.pids():
            if (kind := _kind(pid)) and start_time(pid):
                results.setdefault(kind, []).append(pid)
        return results

    def kill(self, kind: str, rng: random.Random) -> int:
        """End one process of a kind at once (SIGKILL); its number. RayUnavailable if there is none."""
        pids = self.processes().get(kind, [])
        if not pids:
            raise RayUnavailable(f"chaos: no process of {kind} runs; see {self.log}.")
        pid = rng.choice(pids)
        os.kill(pid, signal.SIGKILL)
        return pid

    def ready(self, kind: str) -> set[int]:
        """Those of a kind that answer: models by the router's account, routers by their open port."""
        there = set(self.processes().get(kind, []))
        if kind == "Router":
            ports = range(FIRST_INNER_PORT, FIRST_INNER_PORT + INNER_PORTS * RANGES)
            return there & {socket.pid for socket in listeners(there) if socket.port in ports}
        if kind not in TIERS:
            return there
        try:
            replicas = httpx.get(f"{self.url}/api/v4/stats", timeout=15).json()["replicas"]
        except (httpx.HTTPError, ValueError, KeyError):
            return set()
        return there & {replica["pid"] for replica in replicas if replica["tier"] == TIERS[kind]}

    def wait_for(self, kind: str, count: int, *, timeout_s: float = BACK_S) -> bool:
        """Return whether so many of a kind respond in that time."""
        deadline = time.monotonic() + timeout_s
        while len(self.ready(kind)) < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def memory_mb(self) -> dict[str, float]:
        """Resident memory by kind, of all its processes together."""
        return {kind: sum(map(_resident_mb, pids)) for kind, pids in self.processes().items()}


@contextmanager
def served(
    home: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    address: str | None = None,
    haproxy: bool = True,
    niceness: int = 0,
    more_pids: Callable[[], list[int]] = list,
) -> Iterator[Server]:
    """Run a block while ``nsecast serve`` serves production below ``home`` on loopback, in its own process.

    Parameters
    ----------
    settings : changes to ``SETTINGS``
    variables : added to the environment
    address : of a cluster, as for ``nsecast serve``; ``more_pids`` are its processes
    haproxy : as for ``nsecast serve``
    niceness : how much its processes give way to who asks

    Raises
    ------
    RayUnavailable
        If it does not come up, with the end of its log.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nse-chaos-") as name:
        log, chosen = Path(name) / "log", Path(name) / "settings.json"
        chosen.write_text(json.dumps(SETTINGS | dict(settings or {})))
        command = [sys.executable, "-m", "nsecast", "serve", "--no-train", "--port", str(port)]
        command += ["--settings", str(chosen), "--home", str(home.resolve())]
        command += ["--haproxy" if haproxy else "--no-haproxy", *(["--address", address] if address else [])]
        if niceness and (nice := shutil.which("nice")):
            command = [nice, "-n", str(niceness), *command]
        with log.open("w") as out:
            process = subprocess.Popen(  # nosec B603 # our own command, no shell
                command,
                cwd=ROOT,
                env=os.environ | dict(variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for this process, which ends the server
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_ready(url, process, log)
            yield Server(url, log, lambda: [*descendants(process.pid), *more_pids()])
        finally:
            _stop(process)


def _wait_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "Ctrl-C stops" not in (text := log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RayUnavailable(f"chaos: the server at {url} did not come up: {text[-2000:]}")
        time.sleep(0.2)
    httpx.get(f"{url}/readyz", timeout=10)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM (a background job's children ignore Ctrl-C), then SIGKILL for whatever is left of it."""
    ours = {pid: start_time(pid) for pid in descendants(process.pid)}
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        ours |= {pid: start_time(pid) for pid in descendants(process.pid)}
    finally:
        end(ours, timeout_s=1.0)
        process.wait()


def _kind(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.name() == "haproxy":
            return "haproxy"
        title = " ".join(process.cmdline())
    except psutil.Error:
        return None
    return next((kind for start, kind in TITLES.items() if title.startswith(start)), None)


def _resident_mb(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0
