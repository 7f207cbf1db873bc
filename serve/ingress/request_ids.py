"""Request ids: the server makes each one, and keeps the client's own id beside it as the correlation id.

Receipts are found by request id, so a client must not be able to choose it. Ray Serve's own middleware takes
``X-Request-ID`` from the request, or makes one, and returns it; `RequestIds` stands in front of that.
"""

import re
from uuid import uuid4

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_ID, CORRELATION_ID = b"x-request-id", b"x-correlation-id"
MADE_HERE = "nsecast.request_id"
"""Key of the ASGI scope for an id that the server made; no header can set it."""
_PLAIN = re.compile(rb"[\x20-\x7e]{1,128}")


class RequestIds:
    """ASGI middleware: replace a client's ``X-Request-ID`` by an id of our own before anybody reads it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and MADE_HERE not in scope:
            request_id, correlation_id = ids_of(scope)
            headers = [pair for pair in scope["headers"] if pair[0] not in (REQUEST_ID, CORRELATION_ID)]
            headers.append((REQUEST_ID, request_id.encode()))
            if correlation_id:
                headers.append((CORRELATION_ID, correlation_id.encode()))
            scope = {**scope, "headers": headers, MADE_HERE: request_id}
        await self.app(scope, receive, send)


def ids_of(scope: Scope) -> tuple[str, str]:
    """Request id and correlation id of an HTTP request.

    Returns
    -------
    request id
        The one that the server made, 32 hexadecimal digits; a new one if there is none yet.
    correlation id
        The client's ``X-Correlation-ID``, else its ``X-Request-ID``; empty if it sent neither, or one that is
        not 1 to 128 printable ASCII characters.
    """
    made = scope.get(MADE_HERE)
    names = (CORRELATION_ID,) if made else (CORRELATION_ID, REQUEST_ID)
    given = next((value for name in names for key, value in scope["headers"] if key == name), b"")
    return made or uuid4().hex, given.decode() if _PLAIN.fullmatch(given) else ""


def in_rays_servers() -> list[Middleware]:
    """What Ray calls for the HTTP servers of its replicas and of the proxy that HAProxy falls back on.

    See ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` in `serve.launch.proxy_environment`.
    """
    return [Middleware(RequestIds)]
