"""A cluster of several Ray nodes on this machine, each its own processes: to try what needs more than one.

Every node has an address of its own on loopback. What runs is kept in ``<home>/cluster/cluster.json``.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from cluster.processes import end, left, marked
from cluster.start import START_S, ray_start
from cluster.token import use_token
from common import storage
from common.errors import ConfigError, RayUnavailable
from serve.ports import free_port, is_free

DASHBOARD_PORT = 8265
FIRST_ADDRESS = 2
"""The head is 127.0.0.2: 127.0.0.1 itself Ray replaces by the machine's outer address."""


@dataclass(frozen=True)
class LocalNode:
    """One node: ``processes`` is numbers to births, as they were when the cluster was up."""

    name: str
    ip: str
    cpus: int
    processes: dict[str, str]


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
        first = {int(pid): when for node in self.nodes for pid, when in node.processes.items()}
        return marked(self.id) | first


def read(home: Path) -> LocalCluster | None:
    """What is written down of this storage root's cluster, running or not."""
    try:
        found = json.loads(_path(home).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{_path(home)}: cannot be read: {error}. `nsecast cluster down` removes it."
        ) from None
    return LocalCluster(**found | {"nodes": tuple(LocalNode(**node) for node in found["nodes"])})


def running(home: Path) -> LocalCluster | None:
    """This storage root's cluster, if its head runs."""
    found = read(home)
    head = found.nodes[0].processes if found else {}
    return found if left({int(pid): when for pid, when in head.items()}) else None


def up(
    home: Path, nodes: int, cpus_each: int, say: Callable[[str], None] = lambda text: None
) -> tuple[LocalCluster, bool]:
    """Start a cluster, or find it running; waits until all its nodes are alive.

    Returns
    -------
    (LocalCluster, bool)
        The cluster, and whether it ran before.

    Raises
    ------
    ConfigError
        If another number of nodes or CPUs runs already.
    RayUnavailable
        If it does not come up; nothing of it is left then.
    """
    if not Path("/proc/self/environ").exists():
        raise ConfigError("cluster up: needs Linux. Elsewhere use Ray on this machine, without --address.")
    with storage.claim(home / "cluster" / "cluster.lock", "nsecast cluster"):
        if found := running(home):
            has = len(found.nodes), found.nodes[0].cpus
            if has != (nodes, cpus_each):
                raise ConfigError(
                    f"a cluster of {has[0]} nodes with {has[1]} CPUs each is up, need {nodes} with "
                    f"{cpus_each}. End it with `nsecast cluster down` first."
                )
            return found, True
        _clear(home)
        use_token(make=True)
        return _start(home, nodes, cpus_each, say), False


def down(home: Path) -> int:
    """End this storage root's cluster and no other process; returns how many processes ended."""
    with storage.claim(home / "cluster" / "cluster.lock", "nsecast cluster"):
        return _clear(home)


def end_node(cluster: LocalCluster, name: str) -> int:
    """End one node at once, as a failing machine would; returns how many processes ended."""
    return end(marked(f"{cluster.id}/{name}"), patience_s=0)


def alive(cluster: LocalCluster) -> list[dict[str, Any]]:
    """The nodes as Ray sees them: ``ip``, ``state``, ``head``, ``cpus``; raises RayUnavailable."""
    from ray.util.state import list_nodes

    use_token()
    try:
        found = list_nodes(address=cluster.dashboard, timeout=10, raise_on_missing_output=False)
    except Exception as error:
        raise RayUnavailable(
            f"{cluster.dashboard}: no answer: {str(error).strip().splitlines()[-1]}"
        ) from error
    return sorted(
        (
            {
                "ip": node.node_ip,
                "state": node.state,
                "head": node.is_head_node,
                "cpus": int((node.resources_total or {}).get("CPU", 0)),
            }
            for node in found
        ),
        key=lambda node: (not node["head"], node["ip"]),
    )


def _start(home: Path, nodes: int, cpus_each: int, say: Callable[[str], None]) -> LocalCluster:
    identity = uuid4().hex[:12]
    folder = Path(tempfile.mkdtemp(prefix="nse-"))  # short, because of its sockets
    port = free_port()
    dashboard = DASHBOARD_PORT if is_free("127.0.0.1", DASHBOARD_PORT) else free_port()
    address = f"127.0.0.{FIRST_ADDRESS}:{port}"
    try:
        started = []
        for number in range(nodes):
            name, ip = f"node-{number}", f"127.0.0.{FIRST_ADDRESS + number}"
            say(f"starting {name} of {nodes}, {ip}")
            where = ["--address", address]
            if number == 0:
                where = ["--head", "--port", str(port)]
                where += ["--include-dashboard", "true", "--dashboard-host", "127.0.0.1"]
                where += ["--dashboard-port", str(dashboard), "--ray-client-server-port", str(free_port())]
            where += ["--temp-dir", str(folder / str(number))]  # two nodes must not unpack code in one place
            where += ["--node-ip-address", ip, "--dashboard-agent-listen-port", str(free_port())]
            ray_start(where, cpus_each, f"{identity}/{name}")
            started.append(LocalNode(name, ip, cpus_each, {}))
        found = LocalCluster(identity, address, f"http://127.0.0.1:{dashboard}", str(folder), tuple(started))
        _wait(found, say)
        nodes_now = tuple(
            LocalNode(node.name, node.ip, node.cpus, _text(marked(f"{identity}/{node.name}")))
            for node in started
        )
        found = LocalCluster(**asdict(found) | {"nodes": nodes_now})
        storage.write_json(_path(home), asdict(found))
        return found
    except BaseException:
        end(marked(identity))
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _wait(cluster: LocalCluster, say: Callable[[str], None]) -> None:
    deadline, last = time.monotonic() + START_S, "no answer"
    say("waiting for all nodes")
    while time.monotonic() < deadline:
        try:
            count = sum(node["state"] == "ALIVE" for node in alive(cluster))
            if count >= len(cluster.nodes):
                return
            last = f"{count} of {len(cluster.nodes)} nodes alive"
        except RayUnavailable as error:
            last = error.message
        time.sleep(0.5)
    raise RayUnavailable(f"the cluster is not up after {START_S:.0f} s: {last}. Check memory and load.")


def _clear(home: Path) -> int:
    """End what is written down, whole or in part, and forget it."""
    try:
        found = read(home)
    except ConfigError:
        found = None
    ended = 0
    if found:
        ended = end(found.processes)
        ended += end(found.processes)  # what was just being started
        shutil.rmtree(found.folder, ignore_errors=True)
    _path(home).unlink(missing_ok=True)
    return ended


def _text(processes: dict[int, str]) -> dict[str, str]:
    return {str(pid): when for pid, when in processes.items()}


def _path(home: Path) -> Path:
    return home / "cluster" / "cluster.json"
