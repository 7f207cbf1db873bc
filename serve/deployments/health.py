"""Health of the replicas; Ray Serve replaces one after three failed checks, 10 s apart."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from common.errors import NsecastError

if TYPE_CHECKING:
    from serve.inference.release_watcher import ReleaseWatcher


class Unhealthy(NsecastError):
    """The replica does not work, and a new one may."""

    http_status = 503


class RouterHealth:
    """The health of a router: whether it follows the production alias.

    A router stays healthy while nothing is in production, when it answers 503 with the next step, and while
    it serves an older release. It is unhealthy if it serves no release and could not load the one in
    production for ``after_s`` seconds, since its process may be at fault.
    """

    def __init__(self, after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._after_s, self._clock = after_s, clock
        self._since: float | None = None

    def check(self, watcher: "ReleaseWatcher", watching: "asyncio.Task[None] | None") -> None:
        """Raise Unhealthy if the watching task has ended, or if no release could be loaded for too long."""
        if watching is not None and watching.done():
            cause = "cancelled" if watching.cancelled() else repr(watching.exception())
            raise Unhealthy(f"router: the task that watches the production alias ended: {cause}.")
        if watcher.serves or watcher.problem is None:
            self._since = None
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._after_s:
            raise Unhealthy(
                f"router: no release could be loaded for {now - self._since:.0f} s. {watcher.problem}"
            )
