"""The rate limit of each client."""

import time

import limits
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from common.errors import BadRequest, TooManyRequests
from serve.ingress.middleware import is_local_name


class RateLimit:
    """A limit on the forecasts of each client per minute, in windows that begin with its first one.

    Each router counts on its own. A limit of 0 is none.

    Parameters
    ----------
    local : whether it holds for clients with a loopback address too
    """

    def __init__(self, forecasts_per_minute: int, *, local: bool = True) -> None:
        self._item = limits.RateLimitItemPerMinute(forecasts_per_minute or 1)
        self._off, self._local = forecasts_per_minute == 0, local
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

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
        if self._off or (not self._local and is_local_name(client)):
            return
        if cost > self._item.amount:
            raise BadRequest(
                f"batch: {cost} forecasts in one request, at most {self._item.amount} a minute are allowed. "
                "Send smaller batches, a minute apart."
            )
        if not await self._limiter.hit(self._item, client, cost=cost):
            reset = (await self._limiter.get_window_stats(self._item, client)).reset_time
            wait = max(reset - time.time(), 0.001)
            raise TooManyRequests(
                f"more than {self._item.amount} forecasts a minute. Retry after {wait:.0f} s.",
                retry_after_s=wait,
            )
