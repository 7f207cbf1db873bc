"""Metrics of a router through Ray, counts and recent traffic for its pages, and the access log."""

import json
import logging
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ray.util import metrics

from serve.observability.log_files import configure_log, open_access_log

log = logging.getLogger(__name__)
LATENCIES_KEPT = 2_000
"""Response times for quantiles: the newest of each tier, and the first of each slice of the traffic."""
SLICE_S, SLICES = 5, 120
"""Ten minutes of traffic."""
MAX_WAITING = 20_000
"""Lines of the access log that may wait for the disk; further ones are dropped."""
BUCKETS_MS: list[float] = [1, 2, 4, 8, 16, 32, 60, 125, 250, 500, 1000, 5000]
ROUTER = "router"


@dataclass
class Facts:
    """Facts about one request for metrics and log; the routes fill them in."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    symbol: str = ""
    release: str = ""
    tier: str = ROUTER
    """``stock_specific``, ``general``, ``mixed`` (a batch), or ``router``: no model was called."""
    cached: bool | None = None
    client: str = ""
    forecasts: int = 0
    correlation_id: str = ""
    """The client's own id of the request; empty if it sent none."""


class Observer:
    """Counts and measures the requests of one router."""

    def __init__(self, access_log: str = "stderr") -> None:
        tags = ("route", "tier", "release")
        self._requests = metrics.Counter("nsecast_requests", "HTTP requests answered.", (*tags, "status"))
        self._errors = metrics.Counter(
            "nsecast_errors", "Requests answered with a status of 400 or more.", (*tags, "status")
        )
        self._latency = metrics.Histogram("nsecast_latency_ms", "Time to answer a request.", BUCKETS_MS, tags)
        self._forecasts = metrics.Counter("nsecast_forecasts", "Forecasts made.", ("tier", "release"))
        self._hits = metrics.Counter(
            "nsecast_model_cache", "Forecasts by whether their model was loaded already.", ("tier", "hit")
        )
        self._serving = metrics.Gauge("nsecast_release", "1 for the release that serves.", ("release",))
        self._reloads = metrics.Counter(
            "nsecast_reloads", "Releases taken or refused.", ("release", "outcome")
        )
        self._incomplete = metrics.Counter(
            "nsecast_rehearsal_silent_replicas",
            "Replicas that did not load a release before it served.",
            ("release", "tier"),
        )
        self._started = time.monotonic()
        self._counts: Counter[tuple[str, str]] = Counter()  # by field of `TierStats` and tier
        self._releases: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LATENCIES_KEPT))
        self._release = ""
        self.traffic = Traffic()
        self._lines = open_access_log(access_log)
        self._dropped = 0
        configure_log(access_log)

    def finished(self, facts: Facts, method: str, path: str, route: str, status: int) -> None:
        """Count, measure and log a request that was answered."""
        took_ms = 1000 * (time.perf_counter() - facts.started)
        tags = {"route": route, "tier": facts.tier, "release": facts.release}
        self._requests.inc(tags={**tags, "status": str(status)})
        self._latency.observe(max(took_ms, 1e-3), tags=tags)
        self._counts["requests", facts.tier] += 1
        self._recent[facts.tier].append(took_ms)
        self.traffic.add(took_ms, called_model=facts.tier != ROUTER, failed=status >= 400)
        if status >= 400:
            self._errors.inc(tags={**tags, "status": str(status)})
            self._counts["errors", facts.tier] += 1
        if self._lines is None:
            return
        if self._lines.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._lines.put(
            json.dumps(
                {
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "request_id": facts.request_id,
                    "correlation_id": facts.correlation_id,
                    "method": method,
                    "path": path[:200],
                    "status": status,
                    "ms": round(took_ms, 3),
                    "symbol": facts.symbol[:64],
                    "release": facts.release,
                    "tier": facts.tier,
                    "cached": facts.cached,
                    "client": facts.client,
                    "forecasts": facts.forecasts,
                }
            )
        )
        if dropped := self._dropped:
            self._dropped = 0
            log.warning("%d log lines were dropped: the disk does not keep up", dropped)

    def forecast(self, tier: str, release: str, cached: bool) -> None:
        """Count one forecast by a model of a tier."""
        self._forecasts.inc(tags={"tier": tier, "release": release})
        self._hits.inc(tags={"tier": tier, "hit": str(cached).lower()})
        self._counts["cache_hits" if cached else "cache_misses", tier] += 1

    def model_cache(self) -> tuple[int, int]:
        """Return the number of forecasts whose model was loaded already, and of all forecasts."""
        counts = list(self._counts.items())
        hits = sum(count for (name, _), count in counts if name == "cache_hits")
        return hits, hits + sum(count for (name, _), count in counts if name == "cache_misses")

    def serves(self, release: str) -> None:
        """Record that a release starts to serve."""
        if self._release:
            self._serving.set(0, tags={"release": self._release})
        self._serving.set(1, tags={"release": release})
        self._release = release
        self._reloads.inc(tags={"release": release, "outcome": "taken"})
        self._releases["reloads_taken"] += 1

    def still_serves(self) -> None:
        """Set the gauge of the serving release again, since Ray forgets a gauge that is not."""
        if self._release:
            self._serving.set(1, tags={"release": self._release})

    def refused(self, release: str) -> None:
        """Record that a release was refused and the previous one continues to serve."""
        self._reloads.inc(tags={"release": release, "outcome": "refused"})
        self._releases["reloads_refused"] += 1

    def not_rehearsed(self, release: str, tier: str, replicas: int) -> None:
        """Record that a release serves although ``replicas`` of a tier did not load it in time."""
        self._incomplete.inc(replicas, tags={"release": release, "tier": tier})
        self._releases["rehearsals_incomplete"] += 1

    def snapshot(self) -> dict[str, Any]:
        """Return the counts since the start: uptime, totals, and by tier."""
        totals: Counter[str] = Counter()
        tiers: dict[str, dict[str, Any]] = {}
        for tier in sorted({tier for _, tier in self._counts}):
            names = ("requests", "errors", "cache_hits", "cache_misses")
            counts = {name: self._counts[name, tier] for name in names}
            totals.update(counts)
            recent = sorted(self._recent.get(tier, ()))
            latencies = {"latency_p50_ms": quantile(recent, 0.5), "latency_p99_ms": quantile(recent, 0.99)}
            tiers[tier] = counts | latencies
        releases = ("reloads_taken", "reloads_refused", "rehearsals_incomplete")
        return {
            "uptime_s": round(time.monotonic() - self._started, 3),
            "requests": totals["requests"],
            "errors": totals["errors"],
            **{name: self._releases[name] for name in releases},
            "tiers": tiers,
        }


class Traffic:
    """The requests that one router answered; ``clock`` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._closed: deque[dict[str, Any]] = deque(maxlen=SLICES)
        self._open(self._now())

    def add(self, took_ms: float, *, called_model: bool, failed: bool) -> None:
        """Count one request; its time counts only if it called a model."""
        self._roll()
        self._forecasts += called_model
        self._other += not called_model
        self._errors += failed
        if called_model and len(self._took) < LATENCIES_KEPT:
            self._took.append(took_ms)

    def slices(self) -> list[dict[str, Any]]:
        """Return all finished slices as in `TrafficSlice`, oldest first and without gaps."""
        self._roll()
        return list(self._closed)

    def _now(self) -> int:
        return int(self._clock() // SLICE_S)

    def _open(self, number: int) -> None:
        self._at, self._forecasts, self._other, self._errors = number, 0, 0, 0
        self._took: list[float] = []

    def _roll(self) -> None:
        now = self._now()
        while self._at < now:
            took = sorted(self._took)
            self._closed.append(
                {
                    "at": self._at * SLICE_S,
                    "seconds": SLICE_S,
                    "forecasts": self._forecasts,
                    "other": self._other,
                    "errors": self._errors,
                    "p50_ms": quantile(took, 0.5),
                    "p99_ms": quantile(took, 0.99),
                }
            )
            self._open(max(self._at + 1, now - SLICES))


def quantile(ascending: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of all values do not exceed; None without values."""
    if not ascending:
        return None
    return round(ascending[min(len(ascending) - 1, math.ceil(share * len(ascending)) - 1)], 3)
