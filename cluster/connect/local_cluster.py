"""The record of the cluster that ``nsecast cluster up`` started, and whether it still runs."""

import json
from dataclasses import dataclass
from pathlib import Path

from cluster.connect.ports import descendants
from cluster.connect.processes import name_of, processes_with_mark, start_time
from common.errors import ConfigError

HEAD = 0
"""Number of the head among the nodes."""


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
    nodes: int
    cpus: int
    """Of each node."""

    @property
    def processes(self) -> dict[int, str]:
        """All its processes, with their start times; those that Ray has renamed show no mark any more."""
        marked = processes_with_mark(self.id)
        return {pid: start_time(pid) for root in marked for pid in descendants(root)}

    def mark(self, node: int) -> str:
        """Return the mark of a node's processes, see `cluster.connect.processes`."""
        return f"{self.id}/node-{node}"

    def runs(self, node: int) -> bool:
        """Whether a node's raylet is alive, on the head also the GCS server."""
        names = {name_of(pid) for pid in processes_with_mark(self.mark(node))}
        return ({"raylet", "gcs_server"} if node == HEAD else {"raylet"}) <= names


def read(home: Path) -> LocalCluster | None:
    """Return the record of this storage root's cluster, running or not; None without one."""
    try:
        record = json.loads(path_of(home).read_bytes())
        if isinstance(record["nodes"], list):  # of earlier versions, with the processes of each node
            record |= {"cpus": record["nodes"][0]["cpus"], "nodes": len(record["nodes"])}
        return LocalCluster(**record)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise ConfigError(
            f"{path_of(home)}: cannot be read: {error}. `nsecast cluster down` removes it."
        ) from None


def running(home: Path) -> LocalCluster | None:
    """Return this storage root's cluster if its head runs."""
    cluster = read(home)
    return cluster if cluster and cluster.runs(HEAD) else None


def path_of(home: Path) -> Path:
    """Return the file of the record."""
    return home / "cluster" / "cluster.json"
