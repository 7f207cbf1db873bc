"""Disconnection of slow clients where no HAProxy does it.

uvicorn on its own waits forever for the first request of a connection, and for the rest of a request.
"""

import asyncio

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import TooSlow
from serve.ingress.request_ids import RequestIds
from serve.launch.private import REQUEST_S, end_idle_connections
from serve.schemas.problems import problem_of

MAX_BUFFERED = 1_048_576
"""Bytes of a body that are awaited; the rest of a longer body is passed through."""


def in_rays_proxy() -> list[Middleware]:
    """Return the middleware for Ray's HTTP proxy, see `serve.launch.proxy_environment.CALLBACK`."""
    end_idle_connections()
    return [Middleware(BodyTimeout), Middleware(RequestIds)]


class BodyTimeout:
    """ASGI middleware that awaits the body of a request, and answers 408 if it takes too long."""

    def __init__(self, app: ASGIApp, within_s: float = REQUEST_S, max_buffered: int = MAX_BUFFERED) -> None:
        self.app, self._within_s, self._max_buffered = app, within_s, max_buffered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages: list[Message] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._within_s):
                while more and size <= self._max_buffered:
                    message = await receive()
                    messages.append(message)
                    size += len(message.get("body", b""))
                    more = message["type"] == "http.request" and message.get("more_body", False)
        except TimeoutError:
            error = TooSlow(f"body: incomplete after {self._within_s:g} s. Send it again without pauses.")
            headers = {"Connection": "close"}
            await problem_of(error, instance=scope["path"]).response(headers)(scope, receive, send)
            return
        messages.reverse()

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)
