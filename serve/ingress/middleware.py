"""The outermost layer of the HTTP service: request ids, the bound on what is under way, timeouts, the log."""

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import NsecastError, Overloaded
from serve.ingress.request_ids import CORRELATION_ID, REQUEST_ID, ids_of
from serve.observability.metrics import Facts, Observer
from serve.schemas.problems import problem_of

log = logging.getLogger(__name__)
PROBES = ("/healthz", "/readyz")
"""Answered however busy the service is, so that nobody restarts it for being busy."""


class RequestGuard:
    """ASGI middleware around the whole application; nothing that goes wrong inside leaves as an exception.

    Parameters
    ----------
    most : requests under way at once; one more is answered 503 with ``Retry-After``
    timeout_s : longest time for one request, then 503 with ``Retry-After``
    say_id : return the request id as a header; Ray Serve's own middleware does that by itself
    """

    def __init__(
        self, app: ASGIApp, observer: Observer, *, most: int, timeout_s: float, say_id: bool = True
    ) -> None:
        self.app, self._observer, self._say_id = app, observer, say_id
        self._most, self._timeout_s, self._under_way = most, timeout_s, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, correlation_id = ids_of(scope)
        facts = Facts(request_id, correlation_id=correlation_id)
        sent = [(REQUEST_ID, request_id.encode())] if self._say_id else []
        sent += [(CORRELATION_ID, correlation_id.encode())] if correlation_id else []
        scope.setdefault("state", {}).update(request_id=request_id, facts=facts)
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *sent]}
            await send(message)

        busy = self._under_way >= self._most and scope["path"] not in PROBES
        self._under_way += 1
        try:
            if busy:
                raise Overloaded(
                    f"{self._most} requests are under way, all that this router takes. Retry after 1 s.",
                    retry_after_s=1,
                )
            async with asyncio.timeout(self._timeout_s):
                await self.app(scope, receive, observed)
        except asyncio.CancelledError:
            status = status or 499  # the client went away
            raise
        except Exception as error:
            if isinstance(error, TimeoutError):
                error = Overloaded(
                    f"not done within {self._timeout_s:g} s. Retry after 2 s, or ask for less at once.",
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
