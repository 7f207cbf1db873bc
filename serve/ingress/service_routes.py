"""The routes of API v4 about the service itself: counts, health, refresh."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response

from common.errors import GateClosed
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.ingress.responses import NO_STORE, V4, json_response
from serve.schemas.problems import responses
from serve.schemas.service import (
    Alive,
    ClearResponse,
    Health,
    RefreshResponse,
    ReplicaStats,
    ServiceStats,
    SilentReplica,
    TierStats,
    TrafficSlice,
)
from serve.views.models import cache_stats, cached_stocks
from serve.views.releases import Deployments

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient

TIERS = (GENERAL, SPECIFIC)
REPLY_S = 3.0
"""How long Ray's controller may take to report the deployments."""


def add_service_routes(api: FastAPI, model_client: ModelClient, reader: Any, admin: Any) -> None:
    deployments = Deployments()
    pids: dict[str, int] = {}  # process ids of the replicas that have reported, by actor

    @api.get(f"{V4}/stats", response_model=ServiceStats, responses=responses(), dependencies=[reader])
    async def stats() -> Response:
        """Show the counts of the responding router and of every model replica."""
        counts, loaded, use = model_client.observer.snapshot(), model_client.loaded, model_client.use()
        replies, states = await asyncio.gather(
            asyncio.gather(*(model_client.broadcast(tier, "stats") for tier in TIERS)),
            deployments.look_within(REPLY_S),
        )
        replicas, silent = [], []
        tiers: dict[str, dict[str, Any]] = counts.pop("tiers")
        for tier, reply in zip(TIERS, replies, strict=True):
            pids.update({actor: replica["pid"] for actor, replica in reply.returned.items()})
            reported = [ReplicaStats(tier=tier, **replica) for replica in reply.returned.values()]
            replicas += reported
            silent += [SilentReplica(tier=tier, actor=actor, pid=pids.get(actor)) for actor in reply.silent]
            for name in ("loaded", "bad"):
                keys = {key for replica in reported for key in getattr(replica, name)}
                tiers.setdefault(tier, {})[name] = tuple(sorted(keys))
        for actor in pids.keys() - {actor for reply in replies for actor in (*reply.returned, *reply.silent)}:
            del pids[actor]
        body = ServiceStats(
            release=loaded.release.id,
            cache_stats=cache_stats(loaded, use, model_client.bad()),
            cached_stocks=cached_stocks(loaded, use),
            tiers={tier: TierStats(**figures) for tier, figures in tiers.items()},
            router=os.getpid(),
            replicas=tuple(replicas),
            silent=tuple(silent),
            deployments=states,
            traffic=tuple(TrafficSlice(**part) for part in model_client.observer.traffic.slices()),
            **counts,
        )
        return json_response(body, headers=NO_STORE)

    @api.get(f"{V4}/health", response_model=Health, responses=responses(), dependencies=[reader])
    async def health() -> Response:
        """Show whether the service can forecast, and what is wrong if it is degraded."""
        loaded = model_client.loaded
        problems = [
            f"{key} cannot be loaded: the general model answers" for key in sorted(model_client.bad())
        ]
        problems += filter(None, (model_client.watcher.problem, model_client.config_problem))
        cache = cache_stats(loaded, model_client.use(), model_client.bad())
        body = Health(
            status="degraded" if problems else "healthy",
            service=api.title,
            release=loaded.release.id,
            preset=loaded.preset,
            synthetic=loaded.panel.synthetic,
            quick=bool(loaded.release.info.get("quick")),
            data_end=loaded.data_end,
            timezone=loaded.clock.timezone,
            stocks=len(loaded.universe.symbols),
            problems=tuple(problems),
            total_coverage=len(loaded.universe.symbols),
            specific_models=cache.specific_models,
            general_model_stocks=cache.general_model_stocks,
            cache_size=f"{cache.cache_size}/{cache.cache_capacity}",
            cache_hit_rate=cache.cache_hit_rate,
            timestamp=dt.datetime.now(dt.UTC),
        )
        return json_response(body, headers=NO_STORE)

    @api.get("/healthz", response_model=Alive)
    async def healthz() -> Alive:
        """Return 200 while the process responds."""
        return Alive()

    @api.get("/readyz", response_model=Alive, responses=responses())
    async def readyz() -> Alive:
        """Return 200 once a release serves."""
        _ = model_client.loaded
        return Alive()

    @api.post(f"{V4}/refresh", response_model=RefreshResponse, responses=responses(409), dependencies=[admin])
    async def refresh() -> RefreshResponse:
        """Check the production alias now; other routers follow within seconds.

        If loading exceeds the request time limit, the response is 503 and loading continues: see `health`.
        """
        result = await model_client.watcher.check(force=True)
        if result.outcome == "refused":
            raise GateClosed(f"{result.detail} {result.release or 'Nothing'} continues to serve.")
        return RefreshResponse(
            message=f"{result.release or 'Nothing'} serves.",
            timestamp=dt.datetime.now(dt.UTC),
            outcome=result.outcome,
            release=result.release,
        )

    @api.post(f"{V4}/cache/clear", response_model=ClearResponse, responses=responses(), dependencies=[admin])
    async def cache_clear() -> ClearResponse:
        """Drop the loaded models of every replica, and the forecasts that this router has cached."""
        model_client.clear()
        replies = await asyncio.gather(*(model_client.broadcast(tier, "clear") for tier in TIERS))
        cleared = sum(sum(reply.returned.values()) for reply in replies)
        return ClearResponse(
            message=f"{cleared} models dropped.", timestamp=dt.datetime.now(dt.UTC), cleared=cleared
        )
