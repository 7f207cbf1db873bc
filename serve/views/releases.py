"""Views for operators: releases, moves of the production alias, and deployments."""

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

from common.release.registry import Registry, ReleaseInfo
from serve.schemas.releases import AliasMove, ReleasesPage, ReleaseSummary
from serve.schemas.service import Deployment

log = logging.getLogger(__name__)
SHOWN = 50
"""Number of releases and of moves that are listed."""
REUSE_S = 2.0
"""How long the state of the deployments is reused, however many pages are open."""


def releases_page(home: Path, serving: str) -> ReleasesPage:
    """Read the registry, in a thread; raises BundleError if the alias is damaged."""
    registry = Registry(home)
    return ReleasesPage(
        production=registry.production(),
        serving=serving,
        releases=[_summary(release) for release in registry.releases()[:SHOWN]],
        moves=[_move(entry) for entry in reversed(registry.history()[-SHOWN:])],
    )


class Deployments:
    """The deployments of this Ray cluster; empty outside a cluster."""

    def __init__(self) -> None:
        self._until = 0.0
        self._states: tuple[Deployment, ...] = ()
        self._lock = threading.Lock()

    def look(self) -> tuple[Deployment, ...]:
        """Ask Ray's controller at most every ``REUSE_S``; call it in a thread.

        While one thread waits for the controller, the others get the previous state.
        """
        if time.monotonic() >= self._until and self._lock.acquire(blocking=False):
            try:
                self._states, self._until = _deployments(), time.monotonic() + REUSE_S
            finally:
                self._lock.release()
        return self._states

    async def look_within(self, seconds: float) -> tuple[Deployment, ...]:
        """Await `look`; return the previous state if the controller takes longer."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(self.look)
        except TimeoutError:
            log.warning("no new state of the deployments: Ray's controller did not answer in %g s", seconds)
            return self._states


def _deployments() -> tuple[Deployment, ...]:
    import ray.serve  # the rest of the module works without Ray

    if not ray.is_initialized():
        return ()
    return tuple(
        Deployment(
            name=name,
            status=_text(state.status),
            replicas={_text(kind): count for kind, count in state.replica_states.items() if count},
            message=state.message,
        )
        for application in ray.serve.status().applications.values()
        for name, state in application.deployments.items()
    )


def _text(state: Any) -> str:
    """Return the text of a state; Ray reports some as enumerations and some as text."""
    return str(getattr(state, "value", state))


def _summary(release: ReleaseInfo) -> ReleaseSummary:
    info = release.info
    source = info.get("source")
    return ReleaseSummary(
        id=release.id,
        state=release.state,
        reason=release.reason,
        created=release.created,
        source=source,
        synthetic=None if source is None else "synthetic" in source.lower(),
        data_end=info.get("test_end"),
        rel_mae=info.get("test_relMAE"),
        mape=info.get("test_MAPE"),
        naive_mape=info.get("test_naive_MAPE"),
        failed=sorted(info.get("failed") or {}),
        **{name: info.get(name) for name in ("preset", "quick", "models")},
    )


def _move(entry: dict[str, Any]) -> AliasMove:
    return AliasMove(
        forced=bool(entry.get("forced")),
        reasons=list(entry.get("reasons", ())),
        **{name: entry[name] for name in ("release", "action", "at")},
    )
