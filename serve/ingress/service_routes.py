"""The routes of API v4 about the service itself: counts, health, refresh."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Response

from common.errors import GateClosed
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.ingress.etag import JSON, NOT_KEPT
from serve.schemas.forecast import Model
from serve.schemas.pages import Health, Stats, TierStats
from serve.schemas.problems import responses
from serve.views.registry import Deployment, Deployments

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient

V4 = "/api/v4"
TIERS = (GENERAL, SPECIFIC)
REPLY_S = 3.0
"""How long Ray's controller may take to report the deployments."""


class RefreshResponse(Model):
    """What serves after a refresh."""

    outcome: Literal["unchanged", "taken"]
    release: str | None


class ClearResponse(Model):
    """How many loaded models were dropped, in all replicas that answered."""

    cleared: int


class ReplicaStats(Model):
    """One process that holds models."""

    tier: str
    pid: int
    requests: int
    errors: int
    cache_hits: int
    cache_misses: int
    loaded: tuple[str, ...]
    """Models, least recently used first."""
    bad: tuple[str, ...]
    rss_mb: float | None
    """Resident memory."""


class SilentReplica(Model):
    """One process that did not report in time: its counts are missing."""

    tier: str
    actor: str
    """Id of its Ray actor, as in `ray list actors`; ``every``: no replica of the tier could be called."""
    pid: int | None
    """Null if it never reported to this router."""


class Slice(Model):
    """Requests of a few seconds that one router answered."""

    at: dt.datetime
    seconds: int
    forecasts: int
    """Requests that asked a model."""
    other: int
    errors: int
    """Of both: status 400 or more."""
    p50_ms: float | None
    """Time to answer those that asked a model; null if there were none."""
    p99_ms: float | None


class ServiceStats(Stats):
    """Counts of the router that answers, and of the model replicas behind it."""

    router: int
    """Process of the router that answers."""
    replicas: tuple[ReplicaStats, ...]
    silent: tuple[SilentReplica, ...]
    """Replicas that did not report in time."""
    deployments: tuple[Deployment, ...]
    """As Ray Serve sees them; empty outside of a cluster."""
    traffic: tuple[Slice, ...]
    """Of the last ten minutes, oldest first."""
    reloads_taken: int
    reloads_refused: int
    rehearsals_incomplete: int
    """How often a release began to serve although replicas of a tier had not loaded it."""


class Alive(Model):
    """The service is there."""

    status: Literal["ok"] = "ok"


def as_json(body: Model, *, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), headers=headers, media_type=JSON)


async def rendered(body: Model, *, headers: Mapping[str, str] | None = None) -> Response:
    """A body so large that it is made in a thread."""
    return Response(await asyncio.to_thread(body.model_dump_json), headers=headers, media_type=JSON)


def add_service_routes(api: FastAPI, model_client: ModelClient, reader: Any, admin: Any) -> None:
    deployments = Deployments()
    pids: dict[str, int] = {}  # of the replicas that reported, by actor

    @api.get(f"{V4}/stats", response_model=ServiceStats, responses=responses(), dependencies=[reader])
    async def stats() -> Response:
        """Counts of the router that answers, and of every replica's models."""
        seen, release = model_client.observer.snapshot(), model_client.loaded.release.id
        replies, states = await asyncio.gather(
            asyncio.gather(*(model_client.broadcast(tier, "stats") for tier in TIERS)),
            deployments.look_within(REPLY_S),
        )
        replicas, silent = [], []
        for tier, reply in zip(TIERS, replies, strict=True):
            pids.update({actor: each["pid"] for actor, each in reply.returned.items()})
            found = [ReplicaStats(tier=tier, **each) for each in reply.returned.values()]
            silent += [SilentReplica(tier=tier, actor=each, pid=pids.get(each)) for each in reply.silent]
            replicas += found
            counts = seen["tiers"].setdefault(tier, {})
            for name in ("loaded", "bad"):
                counts[name] = tuple(sorted({key for each in found for key in getattr(each, name)}))
        for actor in pids.keys() - {actor for each in replies for actor in (*each.returned, *each.silent)}:
            del pids[actor]
        tiers = {tier: TierStats(**counts) for tier, counts in seen.pop("tiers").items()}
        answer = ServiceStats(
            release=release,
            tiers=tiers,
            router=os.getpid(),
            replicas=tuple(replicas),
            silent=tuple(silent),
            deployments=states,
            traffic=tuple(Slice(**each) for each in model_client.observer.traffic.slices()),
            **seen,
        )
        return as_json(answer, headers=NOT_KEPT)

    @api.get(f"{V4}/health", response_model=Health, responses=responses(), dependencies=[reader])
    async def health() -> Response:
        """Whether forecasts can be had, and what is wrong if not all is well."""
        loaded = model_client.loaded
        problems = [
            f"{key} cannot be loaded: the general model answers" for key in sorted(model_client.bad())
        ]
        if model_client.watcher.problem:
            problems.append(model_client.watcher.problem)
        if model_client.config_problem:
            problems.append(model_client.config_problem)
        return as_json(
            Health(
                status="degraded" if problems else "ok",
                release=loaded.release.id,
                preset=loaded.preset,
                synthetic=loaded.panel.synthetic,
                quick=bool(loaded.release.info.get("quick")),
                data_end=loaded.data_end,
                timezone=loaded.clock.timezone,
                stocks=len(loaded.universe.symbols),
                problems=tuple(problems),
            ),
            headers=NOT_KEPT,
        )

    @api.get("/healthz", response_model=Alive)
    async def healthz() -> Alive:
        """200 while the process answers at all."""
        return Alive()

    @api.get("/readyz", response_model=Alive, responses=responses())
    async def readyz() -> Alive:
        """200 once a release serves."""
        _ = model_client.loaded
        return Alive()

    @api.post(f"{V4}/refresh", response_model=RefreshResponse, responses=responses(409), dependencies=[admin])
    async def refresh() -> RefreshResponse:
        """Look at production now; other routers follow by themselves within seconds.

        If loading exceeds the request time limit, the answer is 503 and loading continues: see `health`.
        """
        found = await model_client.watcher.look(force=True)
        if found.outcome == "refused":
            raise GateClosed(f"{found.detail} {found.release or 'Nothing'} goes on serving.")
        return RefreshResponse(outcome=found.outcome, release=found.release)

    @api.post(f"{V4}/cache/clear", response_model=ClearResponse, responses=responses(), dependencies=[admin])
    async def cache_clear() -> ClearResponse:
        """Drop every loaded model, in every replica, and what this router remembers: all is done anew."""
        model_client.clear()
        replies = await asyncio.gather(*(model_client.broadcast(tier, "clear") for tier in TIERS))
        return ClearResponse(cleared=sum(sum(each.returned.values()) for each in replies))
