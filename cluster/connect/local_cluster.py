"""What is written down of the cluster that ``nsecast cluster up`` started, and whether it still runs."""

import json
from dataclasses import dataclass
from pathlib import Path

from cluster.connect.processes import left, marked, name_of
from common.errors import ConfigError

HEAD = "node-0"


@dataclass(frozen=True)
class LocalNode:
    """One node: ``processes`` is numbers to births, as they were when the cluster was up."""

    name: str
    ip: str
    cpus: int
    processes: dict[str, str]

    @property
    def born(self) -> dict[int, str]:
        return {int(pid): when for pid, when in self.processes.items()}

    @property
    def runs(self) -> bool:
        """Whether Ray's own process of the node lives, on the head also the control plane's."""
        names = {name_of(pid) for pid in left(self.born)}
        return {"raylet", "gcs_server"} <= names if self.name == HEAD else "raylet" in names


@dataclass(frozen=True)
class LocalCluster:
    """What `up` started."""

    id: str
    address: str
    """For drivers on this machine."""
    dashboard: str
    """For jobs: on loopback."""
    folder: str
    """Of Ray's sockets and logs; goes with the cluster."""
    nodes: tuple[LocalNode, ...]

    @property
    def processes(self) -> dict[int, str]:
        """Everything that runs for it: what was there at first, and what came since."""
        return {pid: when for node in self.nodes for pid, when in node.born.items()} | marked(self.id)


def read(home: Path) -> LocalCluster | None:
    """What is written down of this storage root's cluster, running or not."""
    try:
        found = json.loads(path_of(home).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path_of(home)}: cannot be read: {error}. `nsecast cluster down` removes it."
        ) from None
    return LocalCluster(**found | {"nodes": tuple(LocalNode(**node) for node in found["nodes"])})


def running(home: Path) -> LocalCluster | None:
    """This storage root's cluster, if its head runs."""
    found = read(home)
    return found if found and found.nodes[0].runs else None


def path_of(home: Path) -> Path:
    """The file that says what was started."""
    return home / "cluster" / "cluster.json"
