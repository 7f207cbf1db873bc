"""The only uses of private parts of Ray Serve 2.60 and HAProxy in serving.

`tests/unit/serve/launch/test_private_parts.py` fails if one of them is gone or has changed, and
`tests/unit/test_architecture.py` if private names are used elsewhere. docs/decisions.md, "Private parts of
the engines", says why each is needed.
"""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cluster.connect.ports import in_url
from common import storage

REQUEST_S = 10.0
"""How long a client may take to send a request."""
HAPROXY_WRAPPER = "haproxy-mended"
LISTEN = "NSECAST_LISTEN"
"""Variable for the HAProxy wrapper: ``HOST:PORT`` of the service, see `routers_host`."""
_WRAPPER = """#!/bin/sh
# Six changes that Ray has no setting for:
# - HAProxy's statistics and metrics listen on loopback, not on all interfaces.
# - While no router can be reached, HAProxy answers 503 with Retry-After, not 500.
# - It also does so before it knows of a router, where it would answer 404.
# - A request that is incomplete after {within_s} s is ended, and is passed on only once it is complete (or
#   fills a buffer), so that it does not occupy a router.
# - The address of the client is appended to X-Forwarded-For.
# - If NSECAST_LISTEN names another address than loopback, HAProxy listens there; routers stay on loopback.
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
"detail":"No router can be reached. Retry after 2 s.","retry_after_s":2}
"""
_LATE = """HTTP/1.1 408 Request Timeout\r
Cache-Control: no-cache\r
Connection: close\r
Content-Type: application/problem+json\r
\r
{{"type":"urn:nsecast:too-slow","title":"Request Timeout","status":408,\
"detail":"request: incomplete after {within_s} s. Send it again without pauses."}}
"""


def haproxy_wrapper(folder: Path, binary: str, ports: Iterable[int], within_s: float = REQUEST_S) -> Path:
    """Write a program that edits Ray's configuration of HAProxy and then starts HAProxy.

    Ray runs it instead of HAProxy, with ``... -f FILE``. The program lists the edits, for which Ray 2.60 has
    no settings (pull request 63622 changed 503 to 500 on purpose; no issues about the others are known).

    Parameters
    ----------
    folder : for the program and the bodies of HAProxy's own responses; created, and readable by other users,
        since an image is built by another user
    binary : HAProxy
    ports : to bind to loopback
    within_s : how long a client may take to send a request
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
    """Return the address to give to Ray for a service on ``host``; call it before Ray starts.

    With Ray, routers listen on the address of HAProxy, but HAProxy connects to them on 127.0.0.1. With
    another address the service would not start, and with 0.0.0.0 other machines could bypass HAProxy. So Ray
    gets the loopback address, and the HAProxy wrapper reads the service's address from ``LISTEN``.
    """
    os.environ.pop(LISTEN, None)
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1" or host in ("127.0.0.1", "localhost"):
        return host
    os.environ[LISTEN] = f"{in_url(host)}:{port}"
    return "127.0.0.1"


def keep_replica_to_its_node() -> None:
    """Bind this replica's gRPC server to the address of its Ray node only.

    The server unpickles every message without authentication. Ray 2.60 binds it to all interfaces and has no
    setting for it (issue 64544), although its clients use the node's address. Call this in a replica's
    constructor, before the server starts; it does nothing if Ray is not running or has changed.
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

    on_node.on_node = True  # type: ignore[attr-defined]  # so that it is not patched twice
    replica.add_port_to_grpc_server = on_node  # type: ignore[attr-defined]  # no part of Ray's API


async def called_replicas(handle: Any, method: str, *arguments: Any) -> dict[str, Any]:
    """Call a method of every replica of a deployment.

    Ray's own ``results_async`` fails for all replicas if one hangs, without naming it (issue 55654, pull
    request 61472).

    Returns
    -------
    dict
        The pending results by actor id: objects with a coroutine ``get_async()``.
    """
    results = await handle.broadcast(method, *arguments)._fetch_replica_results_async()
    return {_actor(result): result for result in results}


def _actor(result: Any) -> str:
    """Return the id of the called actor, from a result of either of Ray Serve's transports."""
    if actor := getattr(result, "_actor_id", None):
        return str(actor.hex())
    reference = getattr(result, "_obj_ref", None)
    return str(reference.task_id().actor_id().hex()) if reference is not None else f"local-{id(result)}"
