"""State of the service: counts, health, deployments, and the results of administrative calls."""

import datetime as dt
from typing import Literal

from common.exchange.clock import NAIROBI_CLOCK
from serve.schemas.forecast import Model


class TierStats(Model):
    """Counts of one model type since the router started."""

    requests: int = 0
    errors: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    loaded: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


class Stats(Model):
    """Counts of the responding router since it started."""

    release: str
    uptime_s: float
    requests: int
    errors: int
    tiers: dict[str, TierStats]
    """By model type; ``router`` for requests that called no model."""


class CacheStats(Model):
    """Specific models that replicas have loaded, and the use of models, in this router's count."""

    cache_hit_rate: float
    """Share of forecasts whose model was loaded already, 0 to 1."""
    specific_models: int
    """Stocks that their own model forecasts."""
    general_model_stocks: int
    """Stocks that the general model forecasts."""
    cache_size: int
    """Specific models of this release that are loaded."""
    cache_capacity: int
    """Specific models that one replica keeps loaded."""
    total_requests: int
    """Forecasts since the router started."""
    cache_hits: int


class Deployment(Model):
    """One deployment as Ray Serve reports it."""

    name: str
    status: str
    """``HEALTHY``, ``UPDATING``, ``UPSCALING`` and so on."""
    replicas: dict[str, int]
    """Number of replicas by state, such as ``RUNNING``."""
    message: str


class ReplicaStats(Model):
    """Counts of one model replica."""

    tier: str
    pid: int
    requests: int
    errors: int
    cache_hits: int
    cache_misses: int
    loaded: tuple[str, ...]
    """Keys of loaded models, least recently used first."""
    bad: tuple[str, ...]
    rss_mb: float | None
    """Resident memory."""


class SilentReplica(Model):
    """A model replica that did not report in time, so that its counts are missing."""

    tier: str
    actor: str
    """Id of its Ray actor, as in `ray list actors`; ``every`` if no replica of the tier could be called."""
    pid: int | None
    """Null if it has never reported to this router."""


class TrafficSlice(Model):
    """Requests that one router answered within a few seconds."""

    at: dt.datetime
    seconds: int
    forecasts: int
    """Requests that called a model."""
    other: int
    """Requests that called no model."""
    errors: int
    """Requests of both kinds with a status of 400 or more."""
    p50_ms: float | None
    """Response time of the requests that called a model; null if there were none."""
    p99_ms: float | None


class ServiceStats(Stats):
    """Counts of the responding router and of the model replicas."""

    router: int
    """Process id of the responding router."""
    replicas: tuple[ReplicaStats, ...]
    silent: tuple[SilentReplica, ...]
    deployments: tuple[Deployment, ...]
    """Empty outside a Ray cluster."""
    traffic: tuple[TrafficSlice, ...]
    """The last ten minutes, oldest first."""
    reloads_taken: int
    reloads_refused: int
    cache_stats: CacheStats
    cached_stocks: tuple[str, ...]
    """Symbols of the specific models that are loaded."""
    rehearsals_incomplete: int
    """Number of times that a release started to serve before all replicas of a tier had loaded it."""


class Health(Model):
    """State of the service and of the release that serves."""

    status: Literal["healthy", "degraded"]
    service: str
    """Name of the API."""
    release: str
    preset: str
    synthetic: bool
    """All prices are synthetic."""
    quick: bool
    """The release was trained for about a minute, to try things out."""
    data_end: dt.date
    timezone: str = NAIROBI_CLOCK.timezone
    """Time zone of the exchange, as in the tz database."""
    stocks: int
    problems: tuple[str, ...] = ()
    total_coverage: int
    """Stocks that can be requested."""
    specific_models: int
    general_model_stocks: int
    cache_size: str
    """``cache_size`` and ``cache_capacity`` of `CacheStats`, such as ``15/40``."""
    cache_hit_rate: float
    timestamp: dt.datetime


class Alive(Model):
    """The service responds."""

    status: Literal["ok"] = "ok"


class _Done(Model):
    """The end of an administrative call."""

    status: Literal["success"] = "success"
    message: str
    timestamp: dt.datetime


class RefreshResponse(_Done):
    """The release that serves after a refresh."""

    outcome: Literal["unchanged", "taken"]
    release: str | None


class ClearResponse(_Done):
    """Number of models dropped in the replicas that responded."""

    cleared: int
