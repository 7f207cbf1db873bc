"""The record of the cluster that ``nsecast cluster up`` started, and whether it still runs."""

import json
from dataclasses import dataclass
from pathlib import Path

from cluster.connect.processes import name_of, processes_with_mark, still_running
from common.errors import ConfigError

HEAD = "node-0"


@dataclass(frozen=True)
class LocalNode:
    """One node; ``processes`` maps process ids to start times, as recorded when the node was up."""

    name: str
    ip: str
    cpus: int
    processes: dict[str, str]

    @property
    def born(self) -> dict[int, str]:
        return {int(pid): when for pid, when in self.processes.items()}

    @property
    def runs(self) -> bool:
        """Whether the node's raylet is alive, on the head also the GCS server."""
        names = {name_of(pid) for pid in still_running(self.born)}
        return {"raylet", "gcs_server"} <= names if self.name == HEAD else "raylet" in names


@dataclass(frozen=True)
class LocalCluster:
    """The cluster that `up` started."""

    id: str
    address: str
    """For drivers on this machine."""
    dashboard: str
    """For jobs, on loopback."""
    folder: str
    """Ray's sockets and logs; removed with the cluster."""
    nodes: tuple[LocalNode, ...]

    @property
    def processes(self) -> dict[int, str]:
        """All its processes: the recorded ones and those started later."""
        return {pid: when for node in self.nodes for pid, when in node.born.items()} | processes_with_mark(
            self.id
        )


def read(home: Path) -> LocalCluster | None:
    """Return the record of this storage root's cluster, running or not; None without one."""
    try:
        record = json.loads(path_of(home).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path_of(home)}: cannot be read: {error}. `nsecast cluster down` removes it."
        ) from None
    return LocalCluster(**record | {"nodes": tuple(LocalNode(**node) for node in record["nodes"])})


def running(home: Path) -> LocalCluster | None:
    """Return this storage root's cluster if its head runs."""
    cluster = read(home)
    return cluster if cluster and cluster.nodes[0].runs else None


def path_of(home: Path) -> Path:
    """Return the file of the record."""
    return home / "cluster" / "cluster.json"
