"""A command's Ray session: on a cluster of its own, or as a driver on an existing one."""

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from cluster.connect import ray_private
from cluster.connect.address import in_job
from cluster.connect.code_package import stage
from common.errors import RayUnavailable

log = logging.getLogger(__name__)

CONNECT_S = 5.0
TIMED_OUT = "timed out during startup"
"""Ray's words if a node does not start in time."""


@contextmanager
def ray_session(
    *, cpus: int | None = None, address: str | None = None, shared: Path | None = None
) -> Iterator[int]:
    """Run a block with a Ray session; yields the number of CPUs to use. Blocks may be nested.

    Parameters
    ----------
    cpus : int, optional
        CPUs to use; default: all that this process may use, or all of the cluster at ``address``. If that
        cluster has fewer, more are used as nodes join.
    address : str, optional
        ``auto`` or ``HOST:PORT`` of an existing cluster; this process must run on one of its nodes.
        Default: a new cluster, which ends with the block.
    shared : Path, optional
        Folder, or mirror of an object store, that all nodes of that cluster must be able to use.

    Raises
    ------
    RayUnavailable
        If no cluster can be started or reached, or if one of its nodes has other packages or code or cannot
        use ``shared``.
    """
    if ray.is_initialized():
        yield cpus or int(ray.cluster_resources().get("CPU", 1))
        return
    # Read by the controller; the default of 2 s detects lost workers later.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    try:
        if address is None:
            start(cpus or usable_cpus())
        else:
            connect(address)
            from cluster.connect.match import check_nodes

            check_nodes(shared)
        available = int(ray.cluster_resources().get("CPU", 1))
        yield available if address is None else cpus or available
    finally:
        shut_down()


def start(cpus: int, **options: Any) -> None:
    """Start a new cluster with options of `ray_private.init`; `shut_down` ends it.

    A start that Ray gives up after its fixed 30 s is tried once more: the first one after an installation
    reads a cold disk.

    Raises
    ------
    RayUnavailable
        If it does not start.
    """
    options |= {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        try:
            _init(**options)
        except Exception as error:  # Ray raises a plain one
            if TIMED_OUT not in str(error):
                raise
            _init(**options)
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RayUnavailable(
            f"Ray: cannot start a local cluster: {reason}. Check memory and free space in the temporary "
            "folder, and repeat the command when the CPUs are less busy."
        ) from error


def connect(address: str) -> None:
    """Join a cluster as a driver and upload our code; `shut_down` leaves it.

    Raises
    ------
    RayUnavailable
        If nothing answers at ``address``, the token is wrong, or the cluster runs another Ray version.
    """
    ray_private.use_token()
    host, _, port = address.rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        with tempfile.TemporaryDirectory(prefix="nse-code-") as folder:
            code = {}
            if not in_job():
                stage(Path(folder))
                code = {"working_dir": folder}
            _init(address=address, runtime_env=code or None, node_ip=_this_node(address))
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        shut_down()
        reason = " ".join(str(error).split())
        raise RayUnavailable(
            f"Ray: cannot join the cluster at {address}: {reason[:500]}. Check the address, that this "
            "process runs on one of its nodes, and that ~/.ray/auth_token (or RAY_AUTH_TOKEN) is its token."
        ) from error


def _this_node(address: str) -> str | None:
    """Return the head's IP where several nodes on this machine have loopback addresses, else None."""
    cluster = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host = cluster.rpartition(":")[0]
    return host if host.startswith("127.") else None


def _init(**options: Any) -> None:
    """Run ``ray.init`` and keep this command's SIGTERM handler.

    ``ray.init`` first installs its own handler, which exits with code 15, as if a command stopped during its
    start had failed. The previous handler is called instead and restored afterwards.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray_private.init(**options)
    except SystemExit as stop:
        if stop.code == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        _handle_sigterm(handler)


def shut_down() -> None:
    """Leave Ray, or end a cluster that `start` started, and keep this command's SIGTERM handler.

    Ray's library resets the signal below Python when it ends, which then still reports the handler.
    """
    ray.shutdown()
    _handle_sigterm(signal.getsignal(signal.SIGTERM))


def _handle_sigterm(handler: Any) -> None:
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
