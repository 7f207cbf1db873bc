"""Follow the production alias and replace the loaded release once the new one is verified and tried."""

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
TRY_AGAIN_S, TRY_SOON_S = 60.0, 5.0
OFFLINE = "offline"
"""A refused release is looked at again after this long, since its files may have been restored; soon, while
nothing serves or if it was the replicas that did not answer."""


@dataclass(frozen=True)
class Refresh:
    """What a look at the production alias came to."""

    outcome: Literal["unchanged", "taken", "refused"]
    release: str | None
    """The release that serves now."""
    detail: str = ""


class ReleaseWatcher:
    """Holds the `LoadedRelease` that serves.

    A request takes the loaded release once, keeps it to its end and calls models by its id, so that no
    response mixes two. The new release is loaded, verified and tried beside the old one; the swap is one
    assignment. One that fails is refused: the old one goes on serving, and a metric and the log say so.
    A check that has begun runs to its end even if its caller is cancelled, and one check runs at a time.

    Parameters
    ----------
    rehearse : awaited with a new loaded release before it serves; raises if the replicas cannot answer for it
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
        self._looking: asyncio.Task[Refresh] | None = None

    @property
    def loaded(self) -> LoadedRelease:
        """The loaded release that serves; raises NothingServes while there is none."""
        if self._loaded is None:
            reason = f" {self._refused[1]}" if self._refused else ""
            raise NothingServes(
                f"no release is in production.{reason} Train one with `nsecast train`, or promote one with "
                "`nsecast models promote ID`."
            )
        return self._loaded

    @property
    def serves(self) -> bool:
        """Whether a release serves."""
        return self._loaded is not None

    @property
    def problem(self) -> str | None:
        """Why what is in production is not what serves; None if it is."""
        return self._refused[1] if self._refused else None

    async def watch(self) -> None:
        """Look for ever; a look costs one ``stat``, or one request, unless the alias changed."""
        while True:
            await asyncio.sleep(self._every_s)
            self._observer.still_serves()
            try:
                await self.look()
            except Exception:
                log.exception("the look at production failed; the release that serves stays")

    async def look(self, *, force: bool = False) -> Refresh:
        """Take what is in production if it is new and good; ``force``: also if it was refused before.

        Cancelling the caller does not cancel the look: the next caller waits until it has ended.
        """
        await self._lock.acquire()
        # In a context of its own: Ray Serve cancels the replica calls of a request whose client is gone.
        task = asyncio.create_task(self._look(force), context=contextvars.Context())
        task.add_done_callback(lambda _: self._lock.release())
        self._looking = task
        return await asyncio.shield(task)

    async def _look(self, force: bool) -> Refresh:
        """Compare the alias with the last look that had an outcome, and take the release if it is new."""
        stamp = await asyncio.to_thread(self._stamp_now)
        now = asyncio.get_running_loop().time()
        again = self._refused is not None and now >= self._refused[0]
        if stamp == self._stamp and not force and not again:
            return self._result("unchanged")
        wanted = "?"
        try:
            found = await asyncio.to_thread(self._registry.production)
            wanted = found or ""
            if not wanted or (self._loaded is not None and wanted == self._loaded.release.id):
                self._stamp, self._refused = stamp, None
                return self._result("unchanged")
            loaded = await asyncio.to_thread(self._open, wanted)
            await self._rehearse(loaded)
        except (Exception, asyncio.CancelledError) as error:
            if _cancelled(error):
                raise
            reason = error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"
            detail = f"{wanted} is in production and was refused: {reason}"
            damaged = isinstance(error, BundleError) and self._loaded is not None
            self._stamp, self._refused = stamp, (now + (TRY_AGAIN_S if damaged else TRY_SOON_S), detail)
            self._observer.refused(wanted)
            log.error("release refused release=%s serving=%s: %s", wanted, self._serving(), reason)
            return self._result("refused", detail)
        before = self._serving()
        self._loaded, self._stamp, self._refused = loaded, stamp, None
        self._observer.serves(wanted)
        log.info("release taken release=%s before=%s", wanted, before)
        return self._result("taken")

    def _open(self, release_id: str) -> LoadedRelease:
        """Hash every file of the release, then read what a loaded release needs."""
        loaded = LoadedRelease(self._registry.open(release_id))
        give_back()
        return loaded

    def _stamp_now(self) -> Any:
        """What the alias looks like; while the store cannot be asked, nothing has moved."""
        try:
            stamp, offline = self._registry.stamp(), False
        except storage.StorageError as error:
            stamp, offline = OFFLINE if self._loaded is None else self._stamp, True
            if not self._offline:
                log.warning("production is not watched, what serves goes on: %s", error.message)
        if self._offline and not offline:
            log.warning("production is watched again")
        self._offline = offline
        return stamp

    def _serving(self) -> str | None:
        return self._loaded.release.id if self._loaded else None

    def _result(self, outcome: Any, detail: str = "") -> Refresh:
        return Refresh(outcome, self._serving(), detail or (self._refused[1] if self._refused else ""))


def _cancelled(error: BaseException) -> bool:
    """Whether this task was cancelled, rather than a call to a replica that it awaited."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
