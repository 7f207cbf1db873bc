"""Watch the production alias, and replace the loaded release once the new one is verified and rehearsed."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common import storage
from common.errors import BundleError, NothingServes, NsecastError
from common.release.registry import Registry
from serve.inference.loaded_release import LoadedRelease
from serve.inference.memory import give_back
from serve.observability.metrics import Observer

log = logging.getLogger(__name__)
RETRY_S, RETRY_SOON_S = 60.0, 5.0
"""A refused release is retried after this time, since its files may have been restored; the shorter one while
nothing serves, or if the replicas did not answer."""
OFFLINE = "offline"


@dataclass(frozen=True)
class CheckResult:
    """Result of a check of the production alias."""

    outcome: Literal["unchanged", "taken", "refused"]
    release: str | None
    """The release that serves now."""
    detail: str = ""


class ReleaseWatcher:
    """Holds the `LoadedRelease` that serves.

    A request reads the loaded release once and calls models by its id, so that no response mixes two. A new
    release is loaded, verified and rehearsed beside the old one, and swapped in by one assignment. If that
    fails it is refused: the old one keeps serving, and a metric and the log report it. One check runs at a
    time, and it completes even if its caller is cancelled.

    Parameters
    ----------
    rehearse : awaited with a new release before it serves; raises if the replicas cannot forecast with it
    """

    def __init__(
        self,
        home: Path,
        observer: Observer,
        rehearse: Callable[[LoadedRelease], Awaitable[None]],
        *,
        every_s: float = 2.0,
    ) -> None:
        self._registry = Registry(storage.home(home), offline_ok=True)
        self._observer, self._rehearse, self._every_s = observer, rehearse, every_s
        self._loaded: LoadedRelease | None = None
        self._stamp: Any = None
        self._offline = False
        self._refused: tuple[float, str] | None = None
        self._lock = asyncio.Lock()
        self._looking: asyncio.Task[CheckResult] | None = None

    @property
    def loaded(self) -> LoadedRelease:
        """The release that serves; raises NothingServes if there is none."""
        if self._loaded is None:
            if self._refused:
                raise NothingServes(
                    f"nothing serves yet: {self._refused[1].rstrip('.')}. Loading it is tried again every "
                    f"{RETRY_SOON_S:.0f} s; `nsecast models rollback` serves the release before."
                )
            raise NothingServes(
                "no release is in production. Train one with `nsecast train`, or promote one with "
                "`nsecast models promote ID`."
            )
        return self._loaded

    @property
    def serves(self) -> bool:
        """Whether a release serves."""
        return self._loaded is not None

    @property
    def problem(self) -> str | None:
        """Why the production release does not serve; None if it does."""
        return self._refused[1] if self._refused else None

    async def watch(self) -> None:
        """Check forever; a check costs one ``stat``, or one request, unless the alias changed."""
        while True:
            await asyncio.sleep(self._every_s)
            self._observer.still_serves()
            try:
                await self.check()
            except Exception:
                log.exception("the check of the production alias failed; the current release keeps serving")

    async def check(self, *, force: bool = False) -> CheckResult:
        """Load the production release if it is new; ``force``: even if it was refused before.

        Cancelling the caller does not cancel the check: the next caller waits until it has ended.
        """
        await self._lock.acquire()
        # In a context of its own: Ray Serve cancels the replica calls of a request whose client is gone.
        task = asyncio.create_task(self._check(force), context=contextvars.Context())
        task.add_done_callback(lambda _: self._lock.release())
        self._looking = task
        return await asyncio.shield(task)

    async def _check(self, force: bool) -> CheckResult:
        """Compare the alias with that of the last completed check, and load the release if it is new."""
        stamp = await asyncio.to_thread(self._stamp_now)
        now = asyncio.get_running_loop().time()
        again = self._refused is not None and now >= self._refused[0]
        if stamp == self._stamp and not force and not again:
            return self._result("unchanged")
        wanted = "?"
        try:
            production = await asyncio.to_thread(self._registry.production)
            wanted = production or ""
            if not wanted or (self._loaded is not None and wanted == self._loaded.release.id):
                self._stamp, self._refused = stamp, None
                return self._result("unchanged")
            loaded = await asyncio.to_thread(self._open, wanted)
            await self._rehearse(loaded)
        except (Exception, asyncio.CancelledError) as error:
            if _cancelled(error):
                raise
            reason = f"{type(error).__name__}: {error}".rstrip(": ")  # a timeout has no words
            reason = error.message if isinstance(error, NsecastError) else reason
            detail = f"{wanted} is in production and was refused: {reason}"
            damaged = isinstance(error, BundleError) and self._loaded is not None
            self._stamp, self._refused = stamp, (now + (RETRY_S if damaged else RETRY_SOON_S), detail)
            self._observer.refused(wanted)
            log.error("release refused release=%s serving=%s: %s", wanted, self._serving(), reason)
            return self._result("refused", detail)
        before = self._serving()
        self._loaded, self._stamp, self._refused = loaded, stamp, None
        self._observer.serves(wanted)
        log.info("release taken release=%s before=%s", wanted, before)
        return self._result("taken")

    def _open(self, release_id: str) -> LoadedRelease:
        """Verify and load a release."""
        loaded = LoadedRelease(self._registry.open(release_id))
        give_back()
        return loaded

    def _stamp_now(self) -> Any:
        """Return a stamp that changes with the alias; the last one while the store is unreachable."""
        try:
            stamp, offline = self._registry.stamp(), False
        except storage.StorageError as error:
            stamp, offline = OFFLINE if self._loaded is None else self._stamp, True
            if not self._offline:
                log.warning(
                    "production alias not readable, the current release keeps serving: %s",
                    error.message,
                )
        if self._offline and not offline:
            log.warning("production alias readable again")
        self._offline = offline
        return stamp

    def _serving(self) -> str | None:
        return self._loaded.release.id if self._loaded else None

    def _result(self, outcome: Any, detail: str = "") -> CheckResult:
        return CheckResult(outcome, self._serving(), detail or (self._refused[1] if self._refused else ""))


def _cancelled(error: BaseException) -> bool:
    """Whether this task itself was cancelled, and not only a replica call that it awaited."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
