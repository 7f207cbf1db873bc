"""What makes a replica unhealthy, so that Ray Serve replaces it after three failed checks, 10 s apart."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from common.errors import NsecastError

if TYPE_CHECKING:
    from serve.inference.release_watcher import ReleaseWatcher


class Unhealthy(NsecastError):
    """A replica that cannot do its work and would do it again once started anew."""

    http_status = 503


class RouterHealth:
    """Whether a router follows production.

    Nothing in production is no fault of the router: it stays healthy, and answers 503 with what to do. So it
    is while an older release serves. A router that for ``after_s`` could not load the release in production,
    and serves none, is unhealthy: its process may be at fault, and a new one begins to count anew.

    Parameters
    ----------
    after_s : how long it may be without a release that can be loaded
    clock : seconds, monotonic
    """

    def __init__(self, after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._after_s, self._clock = after_s, clock
        self._since: float | None = None

    def check(self, watcher: "ReleaseWatcher", watching: "asyncio.Task[None] | None") -> None:
        """Raise Unhealthy if the task that follows production ended, or nothing could be loaded for long."""
        if watching is not None and watching.done():
            cause = "cancelled" if watching.cancelled() else repr(watching.exception())
            raise Unhealthy(f"router: the task that follows production ended: {cause}.")
        if watcher.serves or watcher.problem is None:
            self._since = None
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._after_s:
            raise Unhealthy(
                f"router: nothing could be loaded for {now - self._since:.0f} s. {watcher.problem}"
            )
