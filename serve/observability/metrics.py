"""Metrics of a router through Ray, counts for ``/stats``, and the access log."""

import json
import logging
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ray.util import metrics

from serve.observability.log_files import ACCESS, configure_access_log, configure_log, log_access
from serve.observability.traffic import Traffic, quantile

LATENCIES_KEPT = 2_000
"""Newest response times of each tier, for the quantiles of ``/stats``."""
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
        configure_access_log(access_log)
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
        if not ACCESS.isEnabledFor(logging.INFO):
            return
        log_access(
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
