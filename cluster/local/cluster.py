"""A test cluster of several Ray nodes on this machine, each with its own processes.

Every node has its own loopback address. The cluster is recorded in ``<home>/cluster/cluster.json``.
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

from cluster.connect.local_cluster import HEAD, LocalCluster, path_of, read, running
from cluster.connect.ports import free_port, is_free
from cluster.connect.processes import end, processes_with_mark
from cluster.connect.ray_private import use_token
from cluster.local.start import START_S, ray_start
from common import storage
from common.errors import ConfigError, RayUnavailable

DASHBOARD_PORT = 8265
FIRST_ADDRESS = 2
"""The head is 127.0.0.2; Ray would replace 127.0.0.1 by the machine's outer address."""


def up(
    home: Path, nodes: int, cpus_each: int, note: Callable[[str], None] = lambda text: None
) -> tuple[LocalCluster, int]:
    """Start the missing nodes of a cluster and wait until all are alive.

    If its head runs, missing nodes are added and dead ones restarted, while drivers and jobs continue. A
    cluster whose head is gone is ended and started again.

    Returns
    -------
    (LocalCluster, int)
        The cluster, and the number of nodes started.

    Raises
    ------
    ConfigError
        If a cluster with more nodes, or with other CPUs per node, is up.
    RayUnavailable
        If it does not come up; the started nodes are ended then.
    """
    if not psutil.LINUX:
        raise ConfigError("cluster up: needs Linux. Elsewhere use Ray on this machine, without --address.")
    with storage.lock_or_fail(home / "cluster" / "cluster.lock", "nsecast cluster"):
        cluster = running(home)
        if cluster is None:
            _clear(home)
            use_token(make=True)
            cluster = _new_cluster(nodes, cpus_each)
        elif cluster.nodes > nodes or cluster.cpus != cpus_each:
            raise ConfigError(
                f"a cluster of {cluster.nodes} nodes with {cluster.cpus} CPUs each is up, need {nodes} with "
                f"{cpus_each}. Nodes can only be added; else end it with `nsecast cluster down` first."
            )
        missing = [node for node in range(nodes) if not cluster.runs(node)]
        if missing:
            cluster = replace(cluster, nodes=nodes)
            _start(home, cluster, missing, note)
        return cluster, len(missing)


def down(home: Path) -> int:
    """End this storage root's cluster and no other process; returns the number of processes ended."""
    with storage.lock_or_fail(home / "cluster" / "cluster.lock", "nsecast cluster"):
        return _clear(home)


def list_nodes(cluster: LocalCluster) -> list[dict[str, Any]]:
    """Return ``ip``, ``state``, ``head`` and ``cpus`` of each node from Ray; raises RayUnavailable.

    A restarted node is listed once.
    """
    from ray.util import state

    use_token()
    try:
        states = state.list_nodes(address=cluster.dashboard, timeout=10, raise_on_missing_output=False)
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
        for node in sorted(states, key=lambda node: node.state == "ALIVE")
    }
    return sorted(nodes.values(), key=lambda node: (not node["head"], node["ip"]))


def _new_cluster(nodes: int, cpus: int) -> LocalCluster:
    """Choose the id, ports and folder of a new cluster."""
    dashboard = DASHBOARD_PORT if is_free("127.0.0.1", DASHBOARD_PORT) else free_port()
    return LocalCluster(
        id=uuid4().hex[:12],
        address=f"127.0.0.{FIRST_ADDRESS}:{free_port()}",
        dashboard=f"http://127.0.0.1:{dashboard}",
        folder=tempfile.mkdtemp(prefix="nse-"),  # short, because of its sockets
        nodes=nodes,
        cpus=cpus,
    )


def _start(home: Path, cluster: LocalCluster, nodes: list[int], note: Callable[[str], None]) -> None:
    """Start or restart some nodes of a cluster, and record it once all its nodes are alive."""
    try:
        for node in nodes:
            end(processes_with_mark(cluster.mark(node)))  # processes that a dead raylet left
            ip = f"127.0.0.{FIRST_ADDRESS + node}"
            note(f"starting node-{node}, {ip}")
            folder = Path(cluster.folder, str(node))  # nodes must not unpack code in the same folder
            shutil.rmtree(folder, ignore_errors=True)
            options = [*_role_options(cluster, node), "--node-ip-address", ip, "--temp-dir", str(folder)]
            options += ["--dashboard-agent-listen-port", str(free_port())]
            ray_start(options, cluster.cpus, cluster.mark(node))
        _wait(cluster, note)
    except BaseException:
        for node in nodes:
            end(processes_with_mark(cluster.mark(node)))
        if HEAD in nodes:
            shutil.rmtree(cluster.folder, ignore_errors=True)
        raise
    storage.write_json(path_of(home), asdict(cluster))


def _role_options(cluster: LocalCluster, node: int) -> list[str]:
    """Return the options of ``ray start`` for the head, or for a node that joins it."""
    if node != HEAD:
        return ["--address", cluster.address]
    port, dashboard = (url.rpartition(":")[2] for url in (cluster.address, cluster.dashboard))
    return [
        *("--head", "--port", port, "--ray-client-server-port", str(free_port())),
        *("--include-dashboard", "true", "--dashboard-host", "127.0.0.1", "--dashboard-port", dashboard),
    ]


def _wait(cluster: LocalCluster, note: Callable[[str], None]) -> None:
    deadline, last = time.monotonic() + START_S, "no answer"
    note("waiting for all nodes")
    while time.monotonic() < deadline:
        try:
            count = sum(node["state"] == "ALIVE" for node in list_nodes(cluster))
            if count >= cluster.nodes:
                return
            last = f"{count} of {cluster.nodes} nodes alive"
        except RayUnavailable as error:
            last = error.message
        time.sleep(0.5)
    raise RayUnavailable(f"the cluster is not up after {START_S:.0f} s: {last}. Check memory and load.")


def _clear(home: Path) -> int:
    """End the recorded cluster and remove its record."""
    try:
        cluster = read(home)
    except ConfigError:
        cluster = None
    ended = 0
    if cluster:
        ended = end(cluster.processes)
        ended += end(cluster.processes)  # processes that were just being started
        shutil.rmtree(cluster.folder, ignore_errors=True)
    path_of(home).unlink(missing_ok=True)
    return ended
