"""ASGI middleware around the application: request ids, limits, the access log, and checks of the request."""

import asyncio
import functools
import ipaddress
import logging
import re
from collections.abc import Iterable
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import NsecastError, Overloaded, TooLarge
from serve.observability.metrics import Facts, Observer
from serve.schemas.problems import problem_of

log = logging.getLogger(__name__)
PROBES = ("/healthz", "/readyz")
"""Answered however busy the service is, so that it is not restarted for being busy."""
REQUEST_ID, CORRELATION_ID = b"x-request-id", b"x-correlation-id"
ASSIGNED = "nsecast.request_id"
"""Key of the ASGI scope for an id that the server assigned; no header can set it."""
_PRINTABLE = re.compile(rb"[\x20-\x7e]{1,128}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{0,5})?")


class ForeignHost(NsecastError):
    """The request names a host that is not this machine."""

    http_status = 403


class RequestIds:
    """Replaces a client's ``X-Request-ID`` by an id of the server; the client's becomes the correlation id.

    Receipts are found by request id, so a client must not be able to choose it. Ray Serve's own middleware
    takes ``X-Request-ID`` from the request, or creates one, and returns it; this one runs before it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ASSIGNED not in scope:
            request_id, correlation_id = ids_of(scope)
            headers = [pair for pair in scope["headers"] if pair[0] not in (REQUEST_ID, CORRELATION_ID)]
            headers.append((REQUEST_ID, request_id.encode()))
            if correlation_id:
                headers.append((CORRELATION_ID, correlation_id.encode()))
            scope = {**scope, "headers": headers, ASSIGNED: request_id}
        await self.app(scope, receive, send)


def ids_of(scope: Scope) -> tuple[str, str]:
    """Return the request id and the correlation id of an HTTP request.

    Returns
    -------
    request id
        The id that the server assigned, 32 hexadecimal digits; a new one if it has assigned none yet.
    correlation id
        The client's ``X-Correlation-ID``, else its ``X-Request-ID``; empty if it sent neither, or a value
        that is not 1 to 128 printable ASCII characters.
    """
    assigned = scope.get(ASSIGNED)
    names = (CORRELATION_ID,) if assigned else (CORRELATION_ID, REQUEST_ID)
    value = next((content for name in names for key, content in scope["headers"] if key == name), b"")
    return assigned or uuid4().hex, value.decode() if _PRINTABLE.fullmatch(value) else ""


def in_rays_servers() -> list[Middleware]:
    """Return the middleware for the HTTP servers of replicas, and for Ray's own proxy.

    ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` names this function, see `serve.launch.proxy_environment`.
    """
    return [Middleware(RequestIds)]


class RequestGuard:
    """The outermost middleware: bounds the requests under way, and turns every failure into a response.

    Parameters
    ----------
    max_requests : requests under way at once; further ones get 503 with ``Retry-After``
    timeout_s : time limit of a request, after which it gets 503 with ``Retry-After``
    send_id : return the request id as a header, unless Ray Serve's own middleware does
    """

    def __init__(
        self, app: ASGIApp, observer: Observer, *, max_requests: int, timeout_s: float, send_id: bool = True
    ) -> None:
        self.app, self._observer, self._send_id = app, observer, send_id
        self._max_requests, self._timeout_s, self._under_way = max_requests, timeout_s, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, correlation_id = ids_of(scope)
        facts = Facts(request_id, correlation_id=correlation_id)
        headers = [(REQUEST_ID, request_id.encode())] if self._send_id else []
        headers += [(CORRELATION_ID, correlation_id.encode())] if correlation_id else []
        scope.setdefault("state", {}).update(request_id=request_id, facts=facts)
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        busy = self._under_way >= self._max_requests and scope["path"] not in PROBES
        self._under_way += 1
        try:
            if busy:
                raise Overloaded(
                    f"this router already handles {self._max_requests} requests, its limit. Retry after 1 s.",
                    retry_after_s=1,
                )
            async with asyncio.timeout(self._timeout_s):
                await self.app(scope, receive, observed)
        except asyncio.CancelledError:
            status = status or 499  # the client disconnected
            raise
        except Exception as error:
            if isinstance(error, TimeoutError):
                error = Overloaded(
                    f"not done within {self._timeout_s:g} s. Retry after 2 s, or send a smaller request.",
                    retry_after_s=2,
                )
            elif not isinstance(error, NsecastError):
                log.error("request failed request_id=%s path=%s", request_id, scope["path"], exc_info=error)
            if not status:
                problem = problem_of(error, instance=scope["path"], request_id=request_id)
                await problem.response()(scope, receive, observed)
        finally:
            self._under_way -= 1
            route = getattr(scope.get("route"), "path", "none")
            self._observer.finished(facts, scope["method"], scope["path"], route, status)


class LocalHosts:
    """Raise ForeignHost unless ``Host`` is one name of this machine; for servers without API keys.

    Probes always pass. ``also`` lists further names without port, such as that of a local reverse proxy.
    """

    def __init__(self, app: ASGIApp, also: Iterable[str] = ()) -> None:
        self.app, self._also = app, frozenset(name.lower() for name in also)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) != 1 or not self._accepts(hosts[0]):
                got = ascii(", ".join(hosts)[:80]) if hosts else "none"
                raise ForeignHost(
                    f"Host: got {got}, need localhost, 127.0.0.1 or [::1]: a server without API keys answers "
                    "only to names of its own machine. Use http://localhost with its port, add the name to "
                    "the setting `allowed_hosts`, or turn on keys: `nsecast serve keys --add NAME`, then "
                    "`nsecast serve --keys FILE`."
                )
        await self.app(scope, receive, send)

    def _accepts(self, host: str) -> bool:
        parts = _HOST.fullmatch(host)
        if parts is None:
            return False
        name = parts[1].strip("[]").removesuffix(".").lower()
        return is_local_name(name) or name in self._also


@functools.lru_cache(10_000)
def is_local_name(name: str) -> bool:
    """Return whether a host name or an address always means the machine on which it is used."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


class BodyCap:
    """Answer 413 to a body of more than ``max_bytes``, whether or not the request states its length.

    A chunked body is passed on as one message, so that small chunks need no more memory than their bytes.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.max_bytes:
            await self._refuse(scope, receive, send)
            return
        if b"transfer-encoding" not in headers:
            await self.app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                await self._refuse(scope, receive, send)
                return
            more = message["type"] == "http.request" and message.get("more_body", False)
        disconnected = message["type"] == "http.disconnect"
        pending: list[Message] = [
            {"type": "http.request", "body": bytes(body), "more_body": disconnected},
            *([message] if disconnected else []),
        ]

        async def replay() -> Message:
            return pending.pop(0) if pending else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = TooLarge(f"body: more than {self.max_bytes:,} bytes. Send fewer prices, or smaller batches.")
        await problem_of(error, instance=scope["path"]).response()(scope, receive, send)
