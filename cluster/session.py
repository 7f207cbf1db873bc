"""One Ray session for a command: a local cluster, started with it and stopped with it."""

import importlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from common.errors import RayUnavailable

log = logging.getLogger(__name__)

PACKAGES = ("common", "train", "serve", "tune", "cluster")
ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def ray_session(*, cpus: int | None = None) -> Iterator[int]:
    """Run a block on Ray; yields the CPUs of the cluster.

    Parameters
    ----------
    cpus : int, optional
        CPUs of the cluster; default: all this process may use.

    Raises
    ------
    RayUnavailable
        If no cluster can be started, or a package of ours is shadowed by a stranger.
    """
    refuse_shadows()
    # Read by the controller: a lost worker is noticed sooner than after the default 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address="local",
            num_cpus=cpus or usable_cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise RayUnavailable(
            f"Ray: cannot start a local cluster: {error}. Check memory and room in the temporary folder."
        ) from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)  # ray.init installs its own
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


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
