"""What whoever runs the service wants to see: releases, the moves of production, and deployments."""

import asyncio
import datetime as dt
import logging
import threading
import time
from pathlib import Path
from typing import Any, Literal

from common.release.registry import Registry, ReleaseInfo
from serve.schemas.forecast import Model

log = logging.getLogger(__name__)
SHOWN = 50
KEPT_S = 2.0
"""How long the state of the deployments is good for: however many pages are open, Ray is asked this often."""


class ReleaseLine(Model):
    """One release of the registry; null: its manifest cannot be read, or says nothing of it."""

    id: str
    state: Literal["ok", "incomplete", "damaged"]
    reason: str
    created: dt.datetime | None
    preset: str | None
    source: str | None
    synthetic: bool | None
    quick: bool | None
    models: int | None
    data_end: dt.date | None
    """Last session of its test part."""
    rel_mae: float | None
    """On its test part at its shortest horizon; 1 is naive."""
    mape: float | None
    naive_mape: float | None
    failed: list[str]
    """Specific models that could not be trained."""


class Move(Model):
    """One move of production."""

    release: str
    action: str
    """``promote`` or ``rollback``."""
    at: dt.datetime
    forced: bool
    """The gate was overruled."""
    reasons: list[str]
    """Why the gate would have stayed closed."""


class ReleasesPage(Model):
    """The registry, and what was in production when; newest first."""

    production: str | None
    serving: str
    """The release that this router answers with."""
    releases: list[ReleaseLine]
    moves: list[Move]


class Deployment(Model):
    """One deployment, as Ray Serve sees it."""

    name: str
    status: str
    """``HEALTHY``, ``UPDATING``, ``UPSCALING`` and so on."""
    replicas: dict[str, int]
    """How many by state, such as ``RUNNING``."""
    message: str


def releases_page(home: Path, serving: str) -> ReleasesPage:
    """Reads manifests and sizes of files: call it in a thread; BundleError if the alias is damaged."""
    registry = Registry(home)
    return ReleasesPage(
        production=registry.production(),
        serving=serving,
        releases=[_line(each) for each in registry.releases()[:SHOWN]],
        moves=[_move(each) for each in reversed(registry.history()[-SHOWN:])],
    )


class Deployments:
    """The deployments of this cluster; empty outside of one."""

    def __init__(self) -> None:
        self._until = 0.0
        self._found: tuple[Deployment, ...] = ()
        self._asking = threading.Lock()

    def look(self) -> tuple[Deployment, ...]:
        """Asks Ray's controller, at most every ``KEPT_S``: call it in a thread.

        While one thread waits for the controller, the others get the state before.
        """
        if time.monotonic() >= self._until and self._asking.acquire(blocking=False):
            try:
                self._found, self._until = self._ask(), time.monotonic() + KEPT_S
            finally:
                self._asking.release()
        return self._found

    async def look_within(self, seconds: float) -> tuple[Deployment, ...]:
        """As `look`, from an event loop; the state before if the controller takes longer."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(self.look)
        except TimeoutError:
            log.warning("no state of the deployments: Ray's controller did not answer in %g s", seconds)
            return self._found

    def _ask(self) -> tuple[Deployment, ...]:
        import ray.serve  # clients use the classes above without Ray

        if not ray.is_initialized():
            return ()
        return tuple(
            Deployment(
                name=name,
                status=_word(found.status),
                replicas={_word(state): count for state, count in found.replica_states.items() if count},
                message=found.message,
            )
            for application in ray.serve.status().applications.values()
            for name, found in application.deployments.items()
        )


def _word(state: Any) -> str:
    """Of a state that Ray gives as its enumeration here and as text there."""
    return str(getattr(state, "value", state))


def _line(release: ReleaseInfo) -> ReleaseLine:
    info = release.info
    source = info.get("source")
    return ReleaseLine(
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


def _move(entry: dict[str, Any]) -> Move:
    return Move(
        forced=bool(entry.get("forced")),
        reasons=list(entry.get("reasons", ())),
        **{name: entry[name] for name in ("release", "action", "at")},
    )
