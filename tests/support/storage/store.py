"""Object stores for tests: in memory, and two real S3 servers on loopback, with a wire that can be cut."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from obstore.store import MemoryStore

from common import storage
from common.storage import root as places
from support.machine.processes import running

KEY, SECRET = "keykeykey", "secretsecret"


def machine(folder: Path, store: MemoryStore, kind: type[storage.ObjectStore] = storage.ObjectStore) -> Path:
    """The storage root of a machine of its own; those given one ``store`` see the same objects.

    Addresses of the store are located on the machine that was made last.
    """
    url = "s3://memory/home"
    root = storage.register_mirror(storage.Mirror(folder, kind(url, store)))
    places._MIRRORS[places._folder_of(url)] = places._MIRRORS[root]
    return root


def objects(home: Path) -> set[str]:
    """Keys of everything in the store."""
    mirror = storage.mirror_of(home)
    assert mirror is not None
    return {entry.key for entry in mirror.store.below("")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(command: list[str], port: int, *, patience_s: float = 30.0) -> Iterator[str]:
    """Run a server while the block works; its address."""
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + patience_s
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            assert process.poll() is None and time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def moto() -> Iterator[str]:
    """An S3 server that honours conditional writes."""
    port = free_port()
    with served([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as url:
        yield url


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """An S3 server that ignores conditions; its buckets are the folders in ``folder``."""
    port = free_port()
    program = Path(sys.executable).with_name("rclone")
    address = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    with served([str(program), "serve", "s3", str(folder), *address], port) as url:
        yield url


def make_bucket(url: str, name: str) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket=name)


def environment(url: str) -> dict[str, str]:
    """What a user sets to reach that server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "NSECAST_STORE_TIMEOUT_S": "1",
    }


class Wire:
    """A TCP wire to a server on this machine that can be cut after so many bytes, and mended."""

    def __init__(self, to: str) -> None:
        self._to = int(to.rpartition(":")[2])
        self._left: float = float("inf")
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def cut_after(self, count: int) -> None:
        """Let so many more bytes through to the server, then nothing."""
        self._left = count

    @property
    def is_cut(self) -> bool:
        return self._left <= 0

    def mend(self) -> None:
        self._left = float("inf")

    def close(self) -> None:
        self._server.close()
        self._left = 0
        self._drop()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                if self.is_cut:
                    here.close()
                    continue
                there = socket.create_connection(("127.0.0.1", self._to))
                with self._lock:
                    self._open += [here, there]
                for source, target, counted in ((here, there, True), (there, here, False)):
                    threading.Thread(target=self._pipe, args=(source, target, counted), daemon=True).start()

    def _pipe(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(16_384):
                with self._lock:
                    through = piece[: int(min(len(piece), self._left))] if counted else piece
                    self._left -= len(through) if counted else 0
                target.sendall(through)
                if self.is_cut:
                    break
        self._drop() if self.is_cut else target.close()

    def _drop(self) -> None:
        with self._lock:
            for item in self._open:
                with suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)
                item.close()
            self._open = []


def forget_mirrors() -> None:
    """What this process knows of mirrors, as if it had just begun."""
    places._MIRRORS.clear()
