"""Request ids, assigned by the server; the client's own id becomes the correlation id.

Receipts are found by request id, so a client must not be able to choose it. Ray Serve's own middleware takes
``X-Request-ID`` from the request, or creates one, and returns it; `RequestIds` runs before it.
"""

import re
from uuid import uuid4

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_ID, CORRELATION_ID = b"x-request-id", b"x-correlation-id"
ASSIGNED = "nsecast.request_id"
"""Key of the ASGI scope for an id that the server assigned; no header can set it."""
_PRINTABLE = re.compile(rb"[\x20-\x7e]{1,128}")


class RequestIds:
    """ASGI middleware that replaces a client's ``X-Request-ID`` by an id of the server."""

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
