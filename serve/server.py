"""A whole service on this machine: local Ray, Ray Serve and the graph, started and stopped together.

Import it after `environment` was applied: Ray Serve reads its switches once, when it is imported.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import ray
import ray.serve
from ray.serve.config import HTTPOptions

from cluster.session import refuse_shadows, usable_cpus
from common.errors import RayUnavailable
from serve.app import build_app
from serve.ports import Listener, descendants, listeners
from serve.settings import ServeSettings

log = logging.getLogger(__name__)
NODE = "127.0.0.2"
"""Address of the Ray node, on loopback: agents and replicas listen there. (127.0.0.1 itself Ray replaces by
the machine's outer address.)"""
START_S = 120.0
LEAVE_S = 5.0


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    open_ports: list[Listener]
    """Ports of ours that other machines can reach."""


@contextmanager
def running(
    settings: ServeSettings,
    *,
    host: str,
    port: int,
    folder: Path,
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[Running]:
    """Run a block while the service answers; afterwards nothing of it is left.

    Parameters
    ----------
    folder : for Ray's and HAProxy's files, a short path, because of its sockets
    say : told how far it is

    Raises
    ------
    RayUnavailable
        If the cluster or the graph does not come up.
    """
    refuse_shadows()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _start(settings, host, port, folder, say)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)  # ray.init installs its own
        url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
        _wait_ready(url)
        found = listeners(descendants(os.getpid()))
        yield Running(url, [each for each in found if not each.on_loopback])
    finally:
        _stop(say)


def _start(settings: ServeSettings, host: str, port: int, folder: Path, say: Callable[[str], None]) -> None:
    say("starting Ray")
    try:
        ray.init(
            address="local",
            num_cpus=max(usable_cpus(), 2),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address=NODE,
            _temp_dir=str(folder / "ray"),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise RayUnavailable(
            f"Ray: cannot start a local cluster: {error}. Check memory and room in the temporary folder."
        ) from error
    say("starting the router and the models")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    try:
        ray.serve.start(
            proxy_location="HeadOnly",
            http_options=HTTPOptions(
                host=host, port=port, request_timeout_s=settings.limits.timeout_s + 5, keep_alive_timeout_s=75
            ),
            logging_config=quiet,
        )
        ray.serve.run(build_app(settings), name="nsecast", route_prefix="/", logging_config=quiet)
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise RayUnavailable(f"Ray Serve: the graph did not come up: {error}.") from error


def _wait_ready(url: str) -> None:
    deadline, last = time.monotonic() + START_S, "no answer"
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/readyz", timeout=5)
            if answer.status_code == 200:
                return
            last = answer.text[:500]
        except httpx.HTTPError as error:
            last = f"{type(error).__name__}: {error}"
        time.sleep(0.2)
    raise RayUnavailable(f"the service at {url} is not ready after {START_S:.0f} s: {last}")


def _stop(say: Callable[[str], None]) -> None:
    """Drain, stop, and end what is left of the processes that this one started."""
    if not ray.is_initialized():
        return
    say("draining and stopping")
    if threading.current_thread() is threading.main_thread():  # a second Ctrl-C leaves nothing behind either
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    ours = {pid: _born(pid) for pid in descendants(os.getpid())[1:]}
    try:
        ray.serve.shutdown()
    except Exception as error:
        log.warning("Ray Serve did not shut down by itself: %s", error)
    finally:
        ray.shutdown()
    deadline = time.monotonic() + LEAVE_S
    while (left := _left(ours)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        time.sleep(0.5 if left else 0)
        left = _left(ours)


def _left(ours: dict[int, str]) -> list[int]:
    return [pid for pid, born in ours.items() if born and _born(pid) == born]


def _born(pid: int) -> str:
    """When a process began, so that a number used again is not taken for it; empty if it is gone."""
    try:
        columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if columns[0] == "Z" else columns[19]
