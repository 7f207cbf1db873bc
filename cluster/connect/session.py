"""One Ray session for a command: a cluster of its own, or a driver on one that is there."""

import importlib
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
from cluster.connect.source import PACKAGES, ROOT, stage
from common.errors import RayUnavailable

log = logging.getLogger(__name__)

CONNECT_S = 5.0


@contextmanager
def ray_session(
    *, cpus: int | None = None, address: str | None = None, shared: Path | None = None
) -> Iterator[int]:
    """Run a block on Ray; yields how many CPUs to use. A block inside another one uses that one's Ray.

    Parameters
    ----------
    cpus : int, optional
        CPUs to use; default: all this process may use, or all of the cluster at ``address``. More than that
        cluster has are used as nodes join it.
    address : str, optional
        ``auto`` or ``HOST:PORT`` of a cluster that is there, on one of whose nodes this process runs;
        default: a cluster of its own, which ends with the block.
    shared : Path, optional
        Folder, or mirror of an object store, that all nodes of that cluster have to see.

    Raises
    ------
    RayUnavailable
        If no cluster can be started or reached, a node of it has other packages or code or does not see
        ``shared``, or a package of ours is shadowed by a stranger.
    """
    if ray.is_initialized():
        yield cpus or int(ray.cluster_resources().get("CPU", 1))
        return
    refuse_shadows()
    # Read by the controller: a lost worker is noticed sooner than after the default 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    try:
        if address is None:
            start(cpus or usable_cpus())
        else:
            connect(address)
            from cluster.connect.match import check_nodes

            check_nodes(shared)
        there = int(ray.cluster_resources().get("CPU", 1))
        yield there if address is None else cpus or there
    finally:
        ray.shutdown()


def start(cpus: int, **options: Any) -> None:
    """Start a cluster of this process's own, with options of `ray_private.init`; ``ray.shutdown()`` ends it.

    Raises
    ------
    RayUnavailable
        If it does not come up.
    """
    try:
        _init(address="local", num_cpus=cpus, include_dashboard=False, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise RayUnavailable(
            f"Ray: cannot start a local cluster: {error}. Check memory and room in the temporary folder."
        ) from error


def connect(address: str) -> None:
    """Join a cluster as a driver; our code goes along. To be ended with ``ray.shutdown()``.

    Raises
    ------
    RayUnavailable
        If nothing answers at ``address``, it wants another token, or another Ray runs there.
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
        ray.shutdown()
        reason = " ".join(str(error).split())
        raise RayUnavailable(
            f"Ray: cannot join the cluster at {address}: {reason[:500]}. Check the address, that this "
            "process runs on one of its nodes, and that ~/.ray/auth_token (or RAY_AUTH_TOKEN) is its token."
        ) from error


def _this_node(address: str) -> str | None:
    """The node to join where several are on this machine, each with a loopback address: the head."""
    found = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host = found.rpartition(":")[0]
    return host if host.startswith("127.") else None


def _init(**options: Any) -> None:
    """Run ``ray.init`` without letting it take this command's end on SIGTERM.

    Ray sets a handler of its own at the first step of ``ray.init``, which exits with 15, as if a command that
    is stopped while it starts had failed: the handler from before is called instead, and set again. Ray's
    handler in C would print a stack before it calls that one.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray_private.init(**options)
    except SystemExit as stop:
        if stop.code == signal.SIGTERM and callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_shadows() -> None:
    """Raise RayUnavailable naming a package of ours that is not installed, or imported from elsewhere.

    ``tune`` and ``cluster`` are also names of packages that others publish.
    """
    for name in PACKAGES:
        if not (ROOT / name).is_dir():
            continue
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise RayUnavailable(
                f"package {name!r} is not installed, though {ROOT / name} is there. Run `make setup` again."
            ) from None
        origin = Path(next(iter(getattr(module, "__path__", [module.__file__])))).resolve()
        if origin.parent != ROOT:
            raise RayUnavailable(
                f"package {name!r} was imported from {origin}, need {ROOT / name}. "
                f"Uninstall the stranger, or install this project with `make setup`."
            )
