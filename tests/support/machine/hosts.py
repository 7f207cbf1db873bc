"""A second host on this machine (a network namespace), and who may change the network meanwhile."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4


@contextmanager
def network(kind: int) -> Iterator[None]:
    """Hold the network as it is (``fcntl.LOCK_SH``), or alone to change it (``fcntl.LOCK_EX``).

    A browser ends the requests under way when an interface comes or goes (``ERR_NETWORK_CHANGED``), so tests
    in a browser and tests with a second host wait for each other, whichever processes they run in.
    """
    with (Path(tempfile.gettempdir()) / f"nsecast-tests-{os.geteuid()}.network").open("w") as stream:
        fcntl.flock(stream, kind)
        yield


@dataclass(frozen=True)
class Host:
    """A namespace ``name`` with address ``ip``; this host has ``here``, and ``port`` is the switch's."""

    name: str
    port: str
    here: str
    ip: str

    @property
    def through(self) -> tuple[str, ...]:
        """The words that start a program on that host."""
        return "ip", "netns", "exec", self.name

    def cut(self) -> None:
        """Drop all traffic from now on, without notice to either side."""
        _ip("link", "set", self.port, "down")

    def heal(self) -> None:
        _ip("link", "set", self.port, "up")


def why_no_hosts() -> str | None:
    """Return why this machine cannot have a second host; None if it can."""
    if shutil.which("ip") is None:
        return "no second host: iproute2 (`ip`) is not installed"
    if os.geteuid():
        return "no second host: a network namespace needs root"
    try:
        with second_host():
            return None
    except subprocess.CalledProcessError as error:
        return f"no second host: {' '.join(error.cmd)}: {error.stderr.strip()}"


@contextmanager
def second_host() -> Iterator[Host]:
    """A second host, removed afterwards."""
    with network(fcntl.LOCK_EX):
        yield from _second_host()


def _second_host() -> Iterator[Host]:
    name = f"nse-{uuid4().hex[:6]}"
    host = Host(name, f"{name}-p", *_addresses())
    try:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "bridge")
        _ip("link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", host.port, "master", name, "up")
        _ip("addr", "add", f"{host.here}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "addr", "add", f"{host.ip}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        yield host
    finally:
        for words in (("link", "del", host.port), ("link", "del", name), ("netns", "del", name)):
            subprocess.run(["ip", *words], capture_output=True, check=False)


def _addresses() -> tuple[str, str]:
    """A /30 network that no interface here has: the address here, and the other host's."""
    taken = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    for third in range(1, 255):
        if f"10.77.{third}." not in taken:
            return f"10.77.{third}.1", f"10.77.{third}.2"
    raise RuntimeError("no network 10.77.x.0/30 is free")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
