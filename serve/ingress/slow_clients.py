"""How long a client may take to send a request: where HAProxy does not stand in front, uvicorn has to end it.

uvicorn waits for ever for the first request of a connection, and for the rest of one that has begun.
"""

import asyncio

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import TooSlow
from serve.ingress.request_ids import RequestIds
from serve.launch.private import REQUEST_S, end_idle_connections
from serve.schemas.problems import problem_of

MOST_HELD = 1_048_576
"""Bytes of a body that are waited for; the rest of a longer one passes through."""


def in_rays_proxy() -> list[Middleware]:
    """What Ray calls in its own HTTP proxy, see ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``."""
    end_idle_connections()
    return [Middleware(BodyTimeout), Middleware(RequestIds)]


class BodyTimeout:
    """ASGI middleware: a request goes on once all of its body is there; 408 if it takes too long."""

    def __init__(self, app: ASGIApp, within_s: float = REQUEST_S, most: int = MOST_HELD) -> None:
        self.app, self._within_s, self._most = app, within_s, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: list[Message] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._within_s):
                while more and size <= self._most:
                    message = await receive()
                    held.append(message)
                    size += len(message.get("body", b""))
                    more = message["type"] == "http.request" and message.get("more_body", False)
        except TimeoutError:
            error = TooSlow(f"body: not there after {self._within_s:g} s. Send the request again, at once.")
            headers = {"Connection": "close"}
            await problem_of(error, instance=scope["path"]).response(headers)(scope, receive, send)
            return
        held.reverse()

        async def replay() -> Message:
            return held.pop() if held else await receive()

        await self.app(scope, replay, send)
