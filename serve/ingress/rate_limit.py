"""The rate limit of each client."""

import asyncio
import logging
import time
from collections.abc import Callable

import limits
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter, RateLimiter
from limits.errors import StorageError

from common.errors import BadRequest, TooManyRequests
from serve.ingress.rate_storage import ANSWER_S, shared_limiter
from serve.settings import Limits, redacted_url

log = logging.getLogger(__name__)
RETRY_S = 5.0
"""How often a lost Redis server is tried again."""


class RateLimit:
    """A limit on the forecasts of each client per minute, in windows that begin with its first one.

    While a shared Redis server cannot be reached, each router counts on its own. A client may then have up to
    its limit from every router, and none is refused because of the loss.
    """

    def __init__(self, settings: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._item = limits.RateLimitItemPerMinute(settings.forecasts_per_minute or 1)
        self._off = settings.forecasts_per_minute == 0
        self._local = FixedWindowRateLimiter(MemoryStorage())
        self._shared = None if self._off else shared_limiter(settings.rate_storage)
        self._storage = redacted_url(settings.rate_storage)
        self._clock, self._lost, self._try_at = clock, False, clock()

    def at_most(self, cost: int) -> int:
        """Bound the cost of a request for every stock by the limit of a minute."""
        return min(cost, self._item.amount)

    async def hit(self, client: str, cost: int = 1) -> None:
        """Count ``cost`` forecasts of a client.

        Raises
        ------
        TooManyRequests
            If the client exceeds its limit; ``retry_after_s`` in the context is the time to wait.
        BadRequest
            If the request alone exceeds the limit of a minute.
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
            wait = await self._count(self._local, client, cost)
        if wait:
            raise TooManyRequests(
                f"more than {self._item.amount} forecasts a minute. Retry after {wait:.0f} s.",
                retry_after_s=wait,
            )

    async def _count(self, limiter: RateLimiter, client: str, cost: int) -> float:
        """Return the seconds to wait; 0 if the forecasts are within the limit."""
        if await limiter.hit(self._item, client, cost=cost):
            return 0.0
        reset = (await limiter.get_window_stats(self._item, client)).reset_time
        return max(reset - time.time(), 0.001)

    async def _count_shared(self, client: str, cost: int) -> float | None:
        """Count in the shared storage; return None if there is none, or if it cannot be reached."""
        now = self._clock()
        if self._shared is None or (self._lost and now < self._try_at):
            return None
        self._try_at = now + RETRY_S  # so that other requests do not wait for a lost server
        try:
            async with asyncio.timeout(2 * ANSWER_S):
                wait = await self._count(self._shared, client, cost)
        except (StorageError, TimeoutError) as error:
            if not self._lost:
                reason = getattr(error, "storage_error", None) or "no reply in time"
                log.warning(
                    "rate storage lost, each router counts on its own storage=%s: %s", self._storage, reason
                )
            self._lost = True
            return None
        if self._lost:
            log.warning("rate storage reachable again storage=%s", self._storage)
        self._lost = False
        return wait
