"""One Ray session for a command: start a local cluster or join one, and leave nothing behind."""

import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from common.errors import RayUnavailable

log = logging.getLogger(__name__)

PACKAGES = ("common", "train", "serve", "tune", "cluster")
ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def ray_session(address: str | None = None, *, cpus: int | None = None) -> Iterator[int]:
    """Run a block on Ray; yields the CPUs of the cluster.

    Parameters
    ----------
    address : str, optional
        A running cluster (``auto``, ``ray://...``); by default a local one is started, on loopback
        and without a dashboard, and stopped at the end.
    cpus : int, optional
        CPUs of the local cluster; default: all this process may use.

    Raises
    ------
    RayUnavailable
        If no cluster can be started or reached, or a package of ours is shadowed by a stranger.
    """
    refuse_shadows()
    # A local cluster reads this when it starts: a lost worker is noticed sooner than the default 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    local = {"num_cpus": cpus or usable_cpus(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            **({} if address else local),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = address or "a local cluster"
        raise RayUnavailable(f"Ray: cannot use {where}: {error}. Check it with `ray status`.") from error
    try:
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_shadows() -> None:
    """Raise RayUnavailable naming a package that was imported from elsewhere than this project.

    ``tune`` and ``cluster`` are also names of packages that others publish.
    """
    for name in PACKAGES:
        if not (ROOT / name).is_dir():
            continue
        module = importlib.import_module(name)
        origin = Path(next(iter(module.__path__))).resolve()
        if origin.parent != ROOT:
            raise RayUnavailable(
                f"package {name!r} was imported from {origin}, need {ROOT / name}. "
                f"Uninstall the stranger, or install this project with `make setup`."
            )
