"""Storage of the rate limits: a Redis server that several routers share.

It needs the Redis client, an extra of this package: ``pip install 'nsecast[redis]'``.
"""

from typing import Any

import limits.aio.storage
import limits.aio.strategies
import limits.storage
import limits.strategies
from limits.errors import ConfigurationError, StorageError

from common.errors import ConfigError
from serve.settings import MEMORY, redacted_url

CONNECT_S = 3.0
"""Time limit for the Redis server when a service starts."""
ANSWER_S = 0.5
"""Time limit for a connection to it, and for a reply, during a request."""
_PREFIX = "nsecast"


def check_rate_storage(url: str) -> None:
    """Check before a server starts that a rate storage can be used, by counting once.

    Raises
    ------
    ConfigError
        If the Redis client is not installed, or the server cannot be reached or refuses.
    """
    if url == MEMORY:
        return
    times = {"socket_timeout": CONNECT_S, "socket_connect_timeout": CONNECT_S}
    try:
        storage = limits.storage.storage_from_string(url, wrap_exceptions=True, key_prefix=_PREFIX, **times)
        limiter = limits.strategies.FixedWindowRateLimiter(storage)
        limiter.hit(limits.RateLimitItemPerMinute(1), "start")
    except ConfigurationError as error:
        raise _no_client(url) from error
    except StorageError as error:
        raise ConfigError(
            f"rate_storage: {redacted_url(url)} cannot be used: {error.storage_error}. Start the Redis "
            "server, "
            "correct the setting `rate_storage`, or leave it out: then each router counts on its own."
        ) from error


def shared_limiter(url: str) -> limits.aio.strategies.RateLimiter | None:
    """Return a limiter that counts in a Redis server, without blocking; None for ``memory://``.

    Nothing is connected yet; every later failure of the server raises StorageError.

    Raises
    ------
    ConfigError
        If the Redis client is not installed.
    """
    if url == MEMORY:
        return None
    try:
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise _no_client(url) from error
    options: dict[str, Any] = {
        "socket_timeout": ANSWER_S,
        "socket_connect_timeout": ANSWER_S,
        "retry": Retry(NoBackoff(), 1),
    }
    storage = limits.storage.storage_from_string(
        f"async+{url}", implementation="redispy", wrap_exceptions=True, key_prefix=_PREFIX, **options
    )
    return limits.aio.strategies.FixedWindowRateLimiter(storage)


def _no_client(url: str) -> ConfigError:
    return ConfigError(
        f"rate_storage: {redacted_url(url)} needs the Redis client, which is not installed. Install it on "
        "every "
        "node: `pip install 'nsecast[redis]'`; or leave the setting out: then each router counts on its own."
    )
