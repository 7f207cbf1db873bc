"""Slow clients: silent connections, and requests sent a byte at a time."""

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

KINDS = {
    "silent": b"",
    "header": b"POST /api/v4/predict HTTP/1.1\r\nHost: slow\r\nX-Slow: ",
    "body": (
        b"POST /api/v4/predict HTTP/1.1\r\nHost: slow\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    ),
}
"""What each kind of connection sends first; all but the silent ones then send single spaces."""
EVERY_S = 2.0


@dataclass
class Slow:
    """Connections of one kind, kept open until the server ends them."""

    kind: str
    open: list[socket.socket] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)
    """Seconds until the server ended each connection that it ended."""
    first_lines: Counter[str] = field(default_factory=Counter)
    """First lines of the server's answers."""
    refused: int = 0
    """Connections that could not be opened."""
    began: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Send a byte on each connection, and remove those that the server has ended."""
        for connection in list(self.open):
            try:
                if self.kind != "silent":
                    connection.send(b" ")
                while answer := connection.recv(4096):
                    self.first_lines[answer.split(b"\r\n", 1)[0].decode(errors="replace")] += (
                        answer[:5] == b"HTTP/"
                    )
            except BlockingIOError:
                continue
            except OSError:
                pass
            connection.close()
            self.open.remove(connection)
            self.ended_s.append(time.monotonic() - self.began)

    def close(self) -> None:
        for connection in self.open:
            connection.close()
        self.open.clear()


@contextlib.contextmanager
def slow_clients(url: str, counts: dict[str, int], *, every_s: float = EVERY_S) -> Iterator[dict[str, Slow]]:
    """Hold ``counts`` connections of each kind while the block runs."""
    place = urlsplit(url)
    held = {kind: Slow(kind) for kind in counts}
    for kind, count in counts.items():
        for _ in range(count):
            try:
                connection = socket.create_connection((place.hostname, place.port), timeout=5)
                connection.sendall(KINDS[kind])
                connection.setblocking(False)
                held[kind].open.append(connection)
            except OSError:
                held[kind].refused += 1
    over = threading.Event()

    def drip() -> None:
        while not over.wait(every_s):
            for item in held.values():
                item.look()

    thread = threading.Thread(target=drip, name="slow clients", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join(30)
        for entry in held.values():
            entry.close()


def descriptors(pids: Iterable[int]) -> int:
    """Count the open file descriptors of some processes."""
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += len(os.listdir(f"/proc/{pid}/fd"))
    return count
