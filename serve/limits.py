"""What a client may ask for: caps on bodies and batches, and a rate for each key."""

import time
from typing import Annotated

import limits.storage
import limits.strategies
from annotated_types import Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.config import Config
from common.errors import BadRequest, TooLarge, TooManyRequests
from serve.problems import problem_of
from serve.schemas import MAX_BATCH


class Limits(Config):
    """Caps of one server."""

    body_bytes: PositiveInt = 1_048_576
    """Largest request body; 5,000 bars are half of it."""
    batch_symbols: Annotated[PositiveInt, Le(MAX_BATCH)] = MAX_BATCH
    """Most symbols in one batch."""
    forecasts_per_minute: NonNegativeInt = 6_000
    """For each API key (address, without keys), in each router; a batch counts its symbols; 0: no limit."""
    rate_storage: str = "memory://"
    """Where the counts are kept; with a URL that the ``limits`` package knows, such as ``redis://``, several
    routers share them."""
    timeout_s: PositiveFloat = 10.0
    """Longest time to answer one request."""

    def check_batch(self, symbols: int) -> None:
        """Raises BadRequest for a batch beyond the cap."""
        if symbols > self.batch_symbols:
            raise BadRequest(
                f"batch: got {symbols} symbols, at most {self.batch_symbols} are allowed. Send several."
            )


class RateLimit:
    """So many forecasts a minute for each client, counted in windows that begin with its first one."""

    def __init__(self, settings: Limits) -> None:
        self._item = limits.RateLimitItemPerMinute(settings.forecasts_per_minute or 1)
        self._off = settings.forecasts_per_minute == 0
        storage = limits.storage.storage_from_string(settings.rate_storage)
        self._limiter = limits.strategies.FixedWindowRateLimiter(storage)

    def at_most(self, cost: int) -> int:
        """The cost of a request for every stock: a minute's worth if there are more stocks than that."""
        return min(cost, self._item.amount)

    def hit(self, client: str, cost: int = 1) -> None:
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
        if not self._limiter.hit(self._item, client, cost=cost):
            reset = self._limiter.get_window_stats(self._item, client).reset_time
            wait = max(reset - time.time(), 0.0)
            raise TooManyRequests(
                f"more than {self._item.amount} forecasts a minute. Come again in {wait:.0f} s.",
                retry_after_s=wait,
            )


class BodyCap:
    """ASGI middleware: 413 for a body of more than ``most`` bytes, whether it says its length or not."""

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
        first, size = [], 0
        while True:
            message = await receive()
            first.append(message)
            size += len(message.get("body", b""))
            if size > self.most:
                await self._refuse(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body"):
                break

        async def replay() -> Message:
            return first.pop(0) if first else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = TooLarge(f"body: more than {self.most:,} bytes. Send fewer prices, or smaller batches.")
        await problem_of(error, instance=scope["path"]).response()(scope, receive, send)
