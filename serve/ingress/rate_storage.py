"""Where rates are counted: in each router, or in a Redis server that the routers share.

Redis needs its client, which is an extra of this package: ``pip install 'nsecast[redis]'``.
"""

from typing import Any

import limits.aio.storage
import limits.aio.strategies
import limits.storage
import limits.strategies
from limits.errors import ConfigurationError, StorageError

from common.errors import ConfigError
from serve.settings import MEMORY, shown

CONNECT_S = 3.0
"""How long a start waits for the Redis server."""
ANSWER_S = 0.5
"""How long a request waits for it to connect, or to answer."""
_PREFIX = "nsecast"


def check_rate_storage(url: str) -> None:
    """Count once in a rate storage, to know before a server starts that it can be used.

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
            f"rate_storage: {shown(url)} cannot be used: {error.storage_error}. Start the Redis server, "
            "correct the setting `rate_storage`, or leave it out: then each router counts for itself."
        ) from error


def shared_limiter(url: str) -> limits.aio.strategies.RateLimiter | None:
    """What counts in a Redis server without blocking the event loop; None for ``memory://``.

    It raises StorageError for whatever goes wrong with the server. Nothing is connected yet.

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
        f"rate_storage: {shown(url)} needs the Redis client, which is not installed. Install it on every "
        "node: `pip install 'nsecast[redis]'`; or leave the setting out: then each router counts for itself."
    )
