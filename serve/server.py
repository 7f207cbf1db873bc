"""Start and stop the service: Ray Serve and the graph, on local Ray or on a cluster.

Apply `environment` before importing this module: Ray Serve reads its switches at import.
"""

import logging
import os
import re
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

from cluster.connect.ports import Listener, beyond_loopback, descendants, in_url, need_free
from cluster.connect.processes import end, start_time, still_running
from cluster.connect.session import connect, start, usable_cpus
from common.errors import ConfigError, RayUnavailable
from serve.app import build_app
from serve.launch.private import routers_host
from serve.settings import ServeSettings

log = logging.getLogger(__name__)
NODE = "127.0.0.2"
"""Loopback address of the Ray node, where agents and replicas listen. (Ray replaces 127.0.0.1 by the
machine's external address.)"""
START_S = 120.0
SHOWN = 300
"""Characters of a failure's end that its message shows."""
LEAVE_S = 5.0
GONE_S = 15.0
"""How long a cluster's head may be unreachable before the service counts as ended."""
HEAD = "node:__internal_head__"
CONTROLLER = {"name": "SERVE_CONTROLLER_ACTOR", "namespace": "serve"}


@dataclass(frozen=True)
class Service:
    """A service that is ready."""

    url: str
    open_ports: list[Listener]
    """Ports of this process tree that other machines can reach."""
    head: str | None = None
    """The cluster's head, ``HOST:PORT``; None for local Ray."""

    def stay(self) -> None:
        """Block until a signal; raises RayUnavailable if the head is unreachable for ``GONE_S``."""
        reached = time.monotonic()
        while time.monotonic() - reached < GONE_S:
            time.sleep(1.0)
            if self.head is None or _answers(self.head):
                reached = time.monotonic()
        raise RayUnavailable(
            f"the cluster's head at {self.head} is gone, and the service with it. Restart the head, then run "
            "the same command again."
        )


@contextmanager
def running(
    settings: ServeSettings,
    *,
    host: str,
    port: int,
    folder: Path,
    address: str | None,
    report: Callable[[str], None],
) -> Iterator[Service]:
    """Run the service for the length of a ``with`` block, and end all its processes afterwards.

    Parameters
    ----------
    folder : for the files of Ray and HAProxy; its path must be short, because of the sockets in it
    address : of a running cluster, see `cluster.connect.session`; this must be its head node, which listens
    report : called with messages of progress

    Raises
    ------
    RayUnavailable
        If the cluster or the graph does not start, or the cluster serves already.
    """
    router_host = host
    try:
        if address is None:
            report("starting Ray")
            router_host = routers_host(host, port)
            start(max(usable_cpus(), 2), node_ip=NODE, temp_dir=str(folder / "ray"))
            need_free(host, port)  # another server may have started meanwhile
        else:
            _join(address, settings, report)
        _start_graph(settings, router_host, port, report)
        url = f"http://{in_url('127.0.0.1' if host in ('0.0.0.0', '::') else host)}:{port}"
        _wait_ready(url)
        head = ray.get_runtime_context().gcs_address if address else None
        yield Service(url, beyond_loopback(os.getpid()), head)
    finally:
        _stop(report)


def _join(address: str, settings: ServeSettings, report: Callable[[str], None]) -> None:
    from cluster.connect.match import SERVING, check_nodes

    report(f"joining the cluster at {address}")
    connect(address)
    try:
        check_nodes(Path(settings.home), SERVING)
        here = ray.get_runtime_context().get_node_id()
        head = next((node for node in ray.nodes() if node["Alive"] and HEAD in node["Resources"]), None)
        if head and head["NodeID"] != here:
            raise ConfigError(
                f"serve: the head node {head['NodeManagerAddress']} listens, but this is another node. Run "
                "the command there, or submit it with --address http://HEAD:8265."
            )
        with suppress(ValueError):
            ray.get_actor(**CONTROLLER)
            raise RayUnavailable(
                f"serve: the cluster at {address} serves already. Extend it with `serve deploy "
                "cluster/deploy/serve.yaml`, or stop that service first."
            )
    except BaseException:
        ray.shutdown()  # so that `_stop` does not stop a Ray Serve that is not ours
        raise


def _start_graph(settings: ServeSettings, host: str, port: int, report: Callable[[str], None]) -> None:
    report("starting the router and the models")
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
        reason = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()).rstrip(".")
        if len(reason) > SHOWN:  # a traceback, whose end has the cause
            reason = f"{reason[: SHOWN // 3]} ... {reason[-SHOWN:]}"
        raise RayUnavailable(
            f"Ray Serve: the graph did not start: {reason}. Repeat the command when the CPUs are less busy."
        ) from error


def _wait_ready(url: str) -> None:
    deadline, last = time.monotonic() + START_S, "no response"
    while time.monotonic() < deadline:
        try:
            response = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
            if response.status_code == 200:
                return
            last = response.text[:500]
        except httpx.HTTPError as error:
            last = f"{type(error).__name__}: {error}"
        time.sleep(0.2)
    raise RayUnavailable(
        f"the service at {url} is not ready after {START_S:.0f} s: {last}. Repeat the command when the CPUs "
        "are less busy."
    )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def _stop(report: Callable[[str], None]) -> None:
    """Drain and stop the service, then end the remaining processes that this one started."""
    if not ray.is_initialized():
        return
    report("draining and stopping")
    if (
        threading.current_thread() is threading.main_thread()
    ):  # a second Ctrl-C must not interrupt the cleanup
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    ours = {pid: start_time(pid) for pid in descendants(os.getpid())[1:]}
    try:
        if _answers(ray.get_runtime_context().gcs_address):
            ray.serve.shutdown()
    except Exception as error:
        log.warning("Ray Serve did not shut down: %s", error)
    finally:
        ray.shutdown()
    deadline = time.monotonic() + LEAVE_S
    while still_running(ours) and time.monotonic() < deadline:
        time.sleep(0.1)
    end(ours, timeout_s=0.5)
