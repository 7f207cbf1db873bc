"""Free ports, and the ports that processes listen on."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from common.errors import ConfigError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Listener:
    """One open TCP port."""

    address: str
    port: int
    pid: int
    process: str

    @property
    def on_loopback(self) -> bool:
        return self.address.removeprefix("::ffff:").startswith("127.") or self.address == "::1"

    def __str__(self) -> str:
        return f"{self.port} ({self.process.removeprefix('ray::')})"


def is_loopback(host: str) -> bool:
    return host in LOOPBACK or host.startswith("127.")


def in_url(host: str) -> str:
    """Return a host as URLs and HAProxy write it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def need_free(host: str, port: int) -> None:
    """Check that a service can listen there; raises ConfigError, with the process if it can be seen."""
    if is_free(host, port):
        return
    anywhere = ("0.0.0.0", "::")  # nosec B104: compared, not bound
    there = [
        each
        for each in listeners(psutil.pids())
        if each.port == port and (host in anywhere or each.address in (host, *anywhere))
    ]
    who = f"process {there[0].pid} ({there[0].process})" if there else "the process that listens there"
    raise ConfigError(f"port {port} of {host} is taken. Stop {who}, or choose with --port.")


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Return every TCP port that these processes listen on."""
    by_address: dict[tuple[str, int], Listener] = {}
    for pid in pids:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    address, port = connection.laddr
                    by_address.setdefault((address, port), Listener(address, port, pid, _name(process)))
    return sorted(by_address.values(), key=lambda listener: (listener.on_loopback, listener.port))


def beyond_loopback(root: int) -> list[Listener]:
    """Return the ports beyond loopback that a process and its descendants listen on."""
    return [listener for listener in listeners(descendants(root)) if not listener.on_loopback]


def descendants(root: int) -> list[int]:
    """Return the ids of a process and of all its descendants."""
    with suppress(psutil.Error):
        return [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    return [root]


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return Path(next(iter(process.cmdline()), "")).name or "?"
    return "?"
