"""What a client may ask for: caps on bodies and batches, and a rate for each key."""

import asyncio
import logging
import time
from collections.abc import Callable

import limits
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter, RateLimiter
from limits.errors import StorageError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import BadRequest, TooLarge, TooManyRequests
from serve.ingress.rate_storage import ANSWER_S, shared_limiter
from serve.schemas.problems import problem_of
from serve.settings import Limits, shown

log = logging.getLogger(__name__)
TRY_AGAIN_S = 5.0
"""How often a lost Redis server is tried again."""


class RateLimit:
    """So many forecasts a minute for each client, counted in windows that begin with its first one.

    While a Redis server that counts for several routers is lost, each router counts for itself: clients may
    then have up to the number of routers times their rate, and none is refused because of the loss.
    """

    def __init__(self, settings: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._item = limits.RateLimitItemPerMinute(settings.forecasts_per_minute or 1)
        self._off = settings.forecasts_per_minute == 0
        self._here = FixedWindowRateLimiter(MemoryStorage())
        self._shared = None if self._off else shared_limiter(settings.rate_storage)
        self._storage = shown(settings.rate_storage)
        self._clock, self._lost, self._try_at = clock, False, clock()

    def at_most(self, cost: int) -> int:
        """The cost of a request for every stock: a minute's worth if there are more stocks than that."""
        return min(cost, self._item.amount)

    async def hit(self, client: str, cost: int = 1) -> None:
        """Count ``cost`` forecasts of a client.

        Raises
        ------
        TooManyRequests
            If that is more than it may have; ``retry_after_s`` in the context is when to come again.
        BadRequest
            If one request alone is more than a minute's worth.
        """
        if self._off:
            return
        if cost > self._item.amount:
            raise BadRequest(
                f"batch: {cost} forecasts in one request, at most {self._item.amount} a minute are allowed. "
                "Send smaller batches, a minute apart."
            )
        wait = await self._count_shared(client, cost)
        if wait is None:
            wait = await self._count(self._here, client, cost)
        if wait:
            raise TooManyRequests(
                f"more than {self._item.amount} forecasts a minute. Retry after {wait:.0f} s.",
                retry_after_s=wait,
            )

    async def _count(self, limiter: RateLimiter, client: str, cost: int) -> float:
        """Seconds to wait; 0: the client may have them."""
        if await limiter.hit(self._item, client, cost=cost):
            return 0.0
        reset = (await limiter.get_window_stats(self._item, client)).reset_time
        return max(reset - time.time(), 0.001)

    async def _count_shared(self, client: str, cost: int) -> float | None:
        """As `_count`, in the shared storage; None if there is none, or it is lost just now."""
        now = self._clock()
        if self._shared is None or (self._lost and now < self._try_at):
            return None
        self._try_at = now + TRY_AGAIN_S  # others do not wait for a lost server meanwhile
        try:
            async with asyncio.timeout(2 * ANSWER_S):
                wait = await self._count(self._shared, client, cost)
        except (StorageError, TimeoutError) as error:
            if not self._lost:
                reason = getattr(error, "storage_error", None) or "no answer in time"
                log.warning(
                    "rate storage lost, each router counts for itself storage=%s: %s", self._storage, reason
                )
            self._lost = True
            return None
        if self._lost:
            log.warning("rate storage reachable again storage=%s", self._storage)
        self._lost = False
        return wait


class BodyCap:
    """ASGI middleware: 413 for a body of more than ``most`` bytes, whether it states its length or not.

    A body in chunks goes on as one message, so that many small chunks take no more memory than their bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length, chunks = headers.get(b"content-length"), b"transfer-encoding" in headers
        if length is not None and length.isdigit() and int(length) > self.most:
            await self._refuse(scope, receive, send)
            return
        if not chunks:
            await self.app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.most:
                await self._refuse(scope, receive, send)
                return
            more = message["type"] == "http.request" and message.get("more_body", False)
        gone = message["type"] == "http.disconnect"
        waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": gone}]
        if gone:
            waiting.insert(0, message)

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = TooLarge(f"body: more than {self.most:,} bytes. Send fewer prices, or smaller batches.")
        await problem_of(error, instance=scope["path"]).response()(scope, receive, send)
