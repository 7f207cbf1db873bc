"""What a server listens on: kept to loopback where it can be, and named where it cannot."""

import os
import shlex
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from common import storage

REQUEST_S = 10.0
"""How long a client may take to send a request."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
HAPROXY_WRAPPER = "haproxy-mended"
LISTEN = "NSECAST_LISTEN"
"""For HAProxy's wrapper: ``HOST:PORT`` of the service, see `routers_host`."""
_WRAPPER = """#!/bin/sh
# Six things that Ray has no setting for. HAProxy's statistics and metrics are bound to loopback, not to all
# interfaces; what HAProxy itself answers while no router can be reached is 503 with Retry-After, not 500; and
# so it is before it knows of a router at all, not 404: every path is the application's. And a request that is
# not there after {within_s} s is ended; until it is (or fills a buffer) it takes none of a router's places.
# The address of the client is appended to X-Forwarded-For.
# Where LISTEN names another address than loopback, HAProxy listens there, and routers stay on loopback.
before= listen=${{NSECAST_LISTEN-}}
for argument; do
  [ "$before" = -f ] && [ "$listen" ] &&
    sed -i -E "s/^( *)bind 127[.]0[.]0[.]1:${{listen##*:}}$/\\1bind $listen/" "$argument"
  [ "$before" = -f ] && sed -i -E -e 's/^( *)bind \\*?:({ports})$/\\1bind 127.0.0.1:\\2/' \\
    -e 's#^( *)errorfile (50[234]) .*$#\\1errorfile \\2 {answer}#' \\
    -e 's#^( *)http-request return status 404 .*$#\\1http-request return status 503 '\
'content-type application/problem+json hdr Retry-After 2 file {body}#' \\
    -e '/^ *option forwardfor$/d' -e 's#^( *)option httplog$#&\\n\\1option forwardfor#' \\
    -e '/^ *(timeout http-request|option http-buffer-request|errorfile 408)/d' \\
    -e 's#^( *)option abortonclose$#&\\n\\1timeout http-request {within_s}s\\n'\
'\\1option http-buffer-request\\n\\1errorfile 408 {late}#' "$argument"
  before=$argument
done
exec {binary} "$@"
"""
_NO_ROUTER = """HTTP/1.1 503 Service Unavailable\r
Cache-Control: no-cache\r
Connection: close\r
Retry-After: 2\r
Content-Type: application/problem+json\r
\r
{"type":"urn:nsecast:service-unavailable","title":"Service Unavailable","status":503,\
"detail":"No router can be reached just now. Come again in 2 s.","retry_after_s":2}
"""
_LATE = """HTTP/1.1 408 Request Timeout\r
Cache-Control: no-cache\r
Connection: close\r
Content-Type: application/problem+json\r
\r
{{"type":"urn:nsecast:too-slow","title":"Request Timeout","status":408,\
"detail":"request: not there after {within_s} s. Send it again, at once."}}
"""


@dataclass(frozen=True)
class Listener:
    """One open TCP port."""

    address: str
    port: int
    pid: int
    process: str

    @property
    def on_loopback(self) -> bool:
        return self.address.removeprefix("::ffff:").startswith("127.") or self.address == "::1"

    def __str__(self) -> str:
        return f"{self.port} ({self.process.removeprefix('ray::')})"


def is_loopback(host: str) -> bool:
    return host in LOOPBACK or host.startswith("127.")


def in_url(host: str) -> str:
    """A host as URLs and HAProxy write it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def haproxy_wrapper(folder: Path, binary: str, ports: Iterable[int], within_s: float = REQUEST_S) -> Path:
    """Write a program that mends HAProxy's settings (arguments ``... -f FILE ...``) and starts it.

    ``ports`` are those to bind to loopback; ``within_s`` is how long a client may take to send a request.
    Makes ``folder``; other users may read and run what is in it, since an image is built by another user.
    """
    answer, late, body = (folder / name for name in ("no-router.http", "late.http", "no-router.json"))
    storage.write_bytes(answer, _NO_ROUTER.encode())
    storage.write_bytes(late, _LATE.format(within_s=f"{within_s:g}").encode())
    storage.write_bytes(body, _NO_ROUTER.encode().partition(b"\r\n\r\n")[2])
    path = folder / HAPROXY_WRAPPER
    ends = {"ports": "|".join(map(str, ports)), "within_s": f"{within_s:g}"}
    with storage.atomic_path(path) as wrapper:
        wrapper.write_text(
            _WRAPPER.format(answer=answer, body=body, late=late, binary=shlex.quote(binary), **ends)
        )
        wrapper.chmod(0o755)
    return path


def routers_host(host: str, port: int) -> str:
    """The address that Ray is given for a service on ``host``; to be called before Ray starts.

    Ray has the routers listen where HAProxy does, but has HAProxy look for them on 127.0.0.1: with another
    address the service would not come up, and with 0.0.0.0 other machines could go past HAProxy. So behind
    HAProxy Ray is given loopback, and HAProxy's wrapper is told by ``LISTEN`` where it has to listen.
    """
    os.environ.pop(LISTEN, None)
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1" or host in ("127.0.0.1", "localhost"):
        return host
    os.environ[LISTEN] = f"{in_url(host)}:{port}"
    return "127.0.0.1"


def keep_replica_to_its_node() -> None:
    """Let this replica's own gRPC server listen on the address of its Ray node only.

    That server unpickles what it is sent and asks nobody for a token. Ray 2.60 binds it to all interfaces
    and has no setting for it, while everyone who calls it dials the node's address. To be called in a
    replica's constructor, before the server starts; does nothing where Ray looks different, or is not there.
    """
    import ray
    import ray.serve._private.replica as replica

    add_port = getattr(replica, "add_port_to_grpc_server", None)
    if add_port is None or hasattr(add_port, "on_node") or not ray.is_initialized():
        return
    node = ray.util.get_node_ip_address()

    def on_node(server: object, address: str) -> int:
        port: int = add_port(server, address.replace("[::]", f"[{node}]" if ":" in node else node))
        return port

    on_node.on_node = True  # type: ignore[attr-defined]  # so that it is not done twice
    replica.add_port_to_grpc_server = on_node  # type: ignore[attr-defined]  # no part of Ray's API


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Every TCP port that these processes listen on."""
    found: dict[tuple[str, int], Listener] = {}
    for pid in pids:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN:
                    address, port = each.laddr
                    found.setdefault((address, port), Listener(address, port, pid, _name(process)))
    return sorted(found.values(), key=lambda each: (each.on_loopback, each.port))


def beyond_loopback(root: int) -> list[Listener]:
    """What a process and all that it started listen on where others could reach it."""
    return [each for each in listeners(descendants(root)) if not each.on_loopback]


def descendants(root: int) -> list[int]:
    """A process and all that it started."""
    with suppress(psutil.Error):
        return [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    return [root]


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return Path(next(iter(process.cmdline()), "")).name or "?"
    return "?"
