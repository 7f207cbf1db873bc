"""A whole service: Ray Serve and the graph, on local Ray or on a cluster, started and stopped together.

Import it after `environment` was applied: Ray Serve reads its switches once, when it is imported.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import ray
import ray.serve
from ray.serve.config import HTTPOptions

from cluster.connect.ports import Listener, beyond_loopback, descendants, in_url
from cluster.connect.processes import born, end, left
from cluster.connect.session import connect, refuse_shadows, start, usable_cpus
from common.errors import ConfigError, RayUnavailable
from serve.app import build_app
from serve.launch.private import routers_host
from serve.settings import ServeSettings

log = logging.getLogger(__name__)
NODE = "127.0.0.2"
"""Address of the Ray node, on loopback: agents and replicas listen there. (127.0.0.1 itself Ray replaces by
the machine's outer address.)"""
START_S = 120.0
LEAVE_S = 5.0
GONE_S = 15.0
"""How long a cluster's head may be away before the service counts as ended."""
HEAD = "node:__internal_head__"
CONTROLLER = {"name": "SERVE_CONTROLLER_ACTOR", "namespace": "serve"}


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    open_ports: list[Listener]
    """Ports of ours that other machines can reach."""
    head: str | None = None
    """The cluster's head, ``HOST:PORT``; None for a Ray of our own."""

    def stay(self, *, gone_s: float = GONE_S) -> None:
        """Block until a signal; raises RayUnavailable once the head was away for ``gone_s``."""
        seen = time.monotonic()
        while time.monotonic() - seen < gone_s:
            time.sleep(min(1.0, gone_s))
            if self.head is None or _answers(self.head):
                seen = time.monotonic()
        raise RayUnavailable(
            f"the cluster's head at {self.head} is gone, and the service with it. Start the head again, then "
            "the same command serves again."
        )


@contextmanager
def running(
    settings: ServeSettings,
    *,
    host: str,
    port: int,
    folder: Path,
    address: str | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[Running]:
    """Run a block while the service answers; afterwards nothing of it is left.

    Parameters
    ----------
    folder : for Ray's and HAProxy's files, a short path, because of its sockets
    address : of a cluster that is there, see `cluster.connect.session`; its head node, which listens, is
    this one say : told how far it is

    Raises
    ------
    RayUnavailable
        If the cluster or the graph does not come up, or that cluster serves already.
    """
    refuse_shadows()
    inside = host
    try:
        if address is None:
            say("starting Ray")
            inside = routers_host(host, port)
            start(max(usable_cpus(), 2), node_ip=NODE, temp_dir=str(folder / "ray"))
        else:
            _join(address, settings, say)
        _start_graph(settings, inside, port, say)
        url = f"http://{in_url('127.0.0.1' if host in ('0.0.0.0', '::') else host)}:{port}"
        _wait_ready(url)
        head = ray.get_runtime_context().gcs_address if address else None
        yield Running(url, beyond_loopback(os.getpid()), head)
    finally:
        _stop(say)


def _join(address: str, settings: ServeSettings, say: Callable[[str], None]) -> None:
    from cluster.connect.match import SERVING, check_nodes

    say(f"joining the cluster at {address}")
    connect(address)
    try:
        check_nodes(Path(settings.home), SERVING)
        here = ray.get_runtime_context().get_node_id()
        head = next((node for node in ray.nodes() if node["Alive"] and HEAD in node["Resources"]), None)
        if head and head["NodeID"] != here:
            raise ConfigError(
                f"serve: the head node {head['NodeManagerAddress']} listens, and this is another one. Run "
                "the command there, or submit it with --address http://HEAD:8265."
            )
        with suppress(ValueError):
            ray.get_actor(**CONTROLLER)
            raise RayUnavailable(
                f"serve: the cluster at {address} serves already. Add to it with `serve deploy "
                "cluster/deploy/serve.yaml`, or end that service first."
            )
    except BaseException:
        ray.shutdown()  # before anything of Serve is stopped that is not ours
        raise


def _start_graph(settings: ServeSettings, host: str, port: int, say: Callable[[str], None]) -> None:
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


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def _stop(say: Callable[[str], None]) -> None:
    """Drain, stop, and end what is left of the processes that this one started."""
    if not ray.is_initialized():
        return
    say("draining and stopping")
    if threading.current_thread() is threading.main_thread():  # a second Ctrl-C leaves nothing behind either
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    ours = {pid: born(pid) for pid in descendants(os.getpid())[1:]}
    try:
        if _answers(ray.get_runtime_context().gcs_address):
            ray.serve.shutdown()
    except Exception as error:
        log.warning("Ray Serve did not shut down by itself: %s", error)
    finally:
        ray.shutdown()
    deadline = time.monotonic() + LEAVE_S
    while left(ours) and time.monotonic() < deadline:
        time.sleep(0.1)
    end(ours, patience_s=0.5)
