"""A cluster's commands, and one whose nodes are on two hosts."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

from cluster.connect.ports import free_port
from cluster.connect.processes import end, marked, name_of
from cluster.connect.ray_private import use_token
from cluster.local.start import ray_start
from support.hosts import Host


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "nsecast", *words]


def environment(home: Path, **more: str) -> dict[str, str]:
    return os.environ | {"NSECAST_HOME": str(home)} | more


def nsecast(*words: str, home: Path, timeout: float = 240) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*words), env=environment(home), capture_output=True, text=True, timeout=timeout
    )


@contextmanager
def hosts(second: Host) -> Iterator["Hosts"]:
    """A cluster's head on this host, for nodes on the other; all is ended afterwards, whatever happens."""
    found = Hosts(uuid4().hex[:12], f"{second.here}:{free_port()}", Path(mkdtemp(prefix="nse-")), second)
    use_token(make=True)
    try:
        where = ["--head", "--port", found.address.rpartition(":")[2], "--include-dashboard", "false"]
        found.start("head", second.here, where)
        yield found
    finally:
        end(marked(found.mark))
        end(marked(found.mark))  # what was just being started
        shutil.rmtree(found.folder, ignore_errors=True)


@dataclass(frozen=True)
class Hosts:
    """Nodes with a CPU each, on two hosts."""

    mark: str
    address: str
    folder: Path
    second: Host

    def join(self) -> None:
        """Start a node on the second host."""
        self.start("second", self.second.ip, ["--address", self.address], through=self.second.through)

    def on_second(self) -> set[int]:
        """Processes of the second host's node."""
        return set(marked(f"{self.mark}/second"))

    def named_on_second(self) -> set[str]:
        """The programs that run there."""
        return {name_of(pid) for pid in self.on_second()}

    def start(self, name: str, ip: str, where: list[str], *, through: Sequence[str] = ()) -> None:
        where = [*where, "--node-ip-address", ip, "--temp-dir", str(self.folder / name)]
        ray_start(where, 1, f"{self.mark}/{name}", through=through)
