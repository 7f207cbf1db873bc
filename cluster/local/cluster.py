"""A cluster of several Ray nodes on this machine, each its own processes: to try what needs more than one.

Every node has an address of its own on loopback. What runs is kept in ``<home>/cluster/cluster.json``.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from cluster.connect.local_cluster import HEAD, LocalCluster, LocalNode, path_of, read, running
from cluster.connect.ports import free_port, is_free
from cluster.connect.processes import end, marked
from cluster.connect.ray_private import use_token
from cluster.local.start import START_S, ray_start
from common import storage
from common.errors import ConfigError, RayUnavailable

DASHBOARD_PORT = 8265
FIRST_ADDRESS = 2
"""The head is 127.0.0.2: 127.0.0.1 itself Ray replaces by the machine's outer address."""


def up(
    home: Path, nodes: int, cpus_each: int, say: Callable[[str], None] = lambda text: None
) -> tuple[LocalCluster, int]:
    """Have a cluster of so many nodes: start what of it does not run, and wait until all are alive.

    Where its head runs, nodes are added and dead ones started again; drivers and jobs go on meanwhile. A
    cluster whose head is gone is ended and started anew.

    Returns
    -------
    (LocalCluster, int)
        The cluster, and how many nodes were started.

    Raises
    ------
    ConfigError
        If a larger one, or one with other nodes, runs already.
    RayUnavailable
        If it does not come up; nothing of what was started is left then.
    """
    if not psutil.LINUX:
        raise ConfigError("cluster up: needs Linux. Elsewhere use Ray on this machine, without --address.")
    with storage.claim(home / "cluster" / "cluster.lock", "nsecast cluster"):
        found = running(home)
        if found is None:
            _clear(home)
            use_token(make=True)
            found = _nothing_yet()
        elif len(found.nodes) > nodes or found.nodes[0].cpus != cpus_each:
            raise ConfigError(
                f"a cluster of {len(found.nodes)} nodes with {found.nodes[0].cpus} CPUs each is up, need "
                f"{nodes} with {cpus_each}. A larger one it can become; else end it with `nsecast cluster "
                "down` first."
            )
        there = {node.name for node in found.nodes if node.runs}
        missing = [name for name in (f"node-{number}" for number in range(nodes)) if name not in there]
        return (_start(home, found, missing, cpus_each, say) if missing else found), len(missing)


def down(home: Path) -> int:
    """End this storage root's cluster and no other process; returns how many processes ended."""
    with storage.claim(home / "cluster" / "cluster.lock", "nsecast cluster"):
        return _clear(home)


def alive(cluster: LocalCluster) -> list[dict[str, Any]]:
    """The nodes as Ray sees them: ``ip``, ``state``, ``head``, ``cpus``; raises RayUnavailable.

    A node that was started again is there once.
    """
    from ray.util.state import list_nodes

    use_token()
    try:
        found = list_nodes(address=cluster.dashboard, timeout=10, raise_on_missing_output=False)
    except Exception as error:
        raise RayUnavailable(
            f"{cluster.dashboard}: no answer: {str(error).strip().splitlines()[-1]}"
        ) from error
    nodes = {
        node.node_ip: {
            "ip": node.node_ip,
            "state": node.state,
            "head": node.is_head_node,
            "cpus": int((node.resources_total or {}).get("CPU", 0)),
        }
        for node in sorted(found, key=lambda node: node.state == "ALIVE")
    }
    return sorted(nodes.values(), key=lambda node: (not node["head"], node["ip"]))


def _nothing_yet() -> LocalCluster:
    """A cluster without nodes: its ports are chosen."""
    dashboard = DASHBOARD_PORT if is_free("127.0.0.1", DASHBOARD_PORT) else free_port()
    return LocalCluster(
        id=uuid4().hex[:12],
        address=f"127.0.0.{FIRST_ADDRESS}:{free_port()}",
        dashboard=f"http://127.0.0.1:{dashboard}",
        folder=tempfile.mkdtemp(prefix="nse-"),  # short, because of its sockets
        nodes=(),
    )


def _start(
    home: Path, cluster: LocalCluster, names: list[str], cpus_each: int, say: Callable[[str], None]
) -> LocalCluster:
    """Start the nodes ``names``, those that died before anew, and write the cluster down once all live."""
    kept = {node.name: node for node in cluster.nodes if node.name not in names}
    try:
        for name in names:
            end(marked(f"{cluster.id}/{name}"))  # what a dead node's raylet left behind
            number = int(name.partition("-")[2])
            ip = f"127.0.0.{FIRST_ADDRESS + number}"
            say(f"starting {name}, {ip}")
            where = [*_place(cluster, name), "--node-ip-address", ip]
            folder = Path(cluster.folder, str(number))  # two nodes must not unpack code in one place
            shutil.rmtree(folder, ignore_errors=True)
            where += ["--temp-dir", str(folder), "--dashboard-agent-listen-port", str(free_port())]
            ray_start(where, cpus_each, f"{cluster.id}/{name}")
            kept[name] = LocalNode(name, ip, cpus_each, {})
        _wait(replace(cluster, nodes=tuple(kept.values())), say)
    except BaseException:
        for name in names:
            end(marked(f"{cluster.id}/{name}"))
        if not cluster.nodes:
            shutil.rmtree(cluster.folder, ignore_errors=True)
        raise
    for name in names:
        births = {str(pid): when for pid, when in marked(f"{cluster.id}/{name}").items()}
        kept[name] = replace(kept[name], processes=births)
    found = replace(cluster, nodes=tuple(sorted(kept.values(), key=lambda node: int(node.name[5:]))))
    storage.write_json(path_of(home), asdict(found))
    return found


def _place(cluster: LocalCluster, name: str) -> list[str]:
    """What makes a node the head, or one of the head's."""
    if name != HEAD:
        return ["--address", cluster.address]
    port, dashboard = (url.rpartition(":")[2] for url in (cluster.address, cluster.dashboard))
    return [
        *("--head", "--port", port, "--ray-client-server-port", str(free_port())),
        *("--include-dashboard", "true", "--dashboard-host", "127.0.0.1", "--dashboard-port", dashboard),
    ]


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
    path_of(home).unlink(missing_ok=True)
    return ended
