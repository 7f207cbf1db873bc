"""The client of the models: from validated requests to responses, by calls of the models' replicas.

Each request is prepared (`LoadedRelease.prepare`), answered from the forecast cache or by a call of its
model's tier, and rendered. A call is retried once if its replica is lost; a stock whose own model fails falls
back to the general model.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.serve.exceptions import BackPressureError

from common.errors import NsecastError, Overloaded
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.audit.ledger import Ledger
from serve.auth.keys import KeyFile
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.inference.model_cache import REMEMBER_BAD_S, model_key, split_key
from serve.inference.release_watcher import ReleaseWatcher
from serve.inference.response import batch_response
from serve.model_client.broadcast import BroadcastResult, call_every
from serve.model_client.messages import REQUEST_ID, ForecastCall, ForecastReply, ModelRequest, ModelResponse
from serve.model_client.model_calls import ForecastCache, ModelCall, SharedCalls, fan_out, render_all
from serve.model_client.rehearsal import rehearse
from serve.observability.metrics import Facts, Observer
from serve.schemas.forecast import BatchResponse, Outlook, PredictRequest, PredictResponse
from serve.settings import ServeSettings
from serve.views.models import ModelUse

log = logging.getLogger(__name__)
MIN_CALL_SIZE, MAX_CALL_SIZE = 8, 64
"""Requests of a batch that one call carries; larger batches are cut into larger calls."""
CALLS_AT_ONCE = 16
"""Concurrent calls of one request to a tier."""
REHEARSAL_S, START_S = 60.0, 120.0
"""Time limit of a rehearsal; the longer one while nothing serves, since replicas may be starting."""
RECORDED_TOGETHER = 64
"""Forecasts that are counted and logged before other requests get the event loop."""
REPLY_S = 3.0
"""Time limit for a replica to report or to clear its models: well below that of a request."""


class ModelClient:
    """Answers the routes of `serve.ingress.app` by calling the models.

    Parameters
    ----------
    general, specific : handles of `GeneralModel` and `SpecificModel`
    """

    def __init__(self, general: Any, specific: Any, settings: ServeSettings) -> None:
        self.settings, self.observer = settings, Observer(settings.access_log)
        self.config_problem: str | None = None
        """Why the newest ``user_config`` was rejected."""
        self.watcher = ReleaseWatcher(
            Path(settings.home), self.observer, self._rehearse, every_s=settings.reload_every_s
        )
        self._tiers = {GENERAL: general, SPECIFIC: specific}
        self._shared: dict[tuple[str, str], SharedCalls] = {}
        self._bad: dict[str, float] = {}
        self._ready: set[str] = set()
        self._cache = ForecastCache(settings.forecasts_remembered)
        calls = max(1, settings.questions_queued // 2)
        self._batch_calls = {tier: asyncio.Semaphore(calls) for tier in self._tiers}
        """Bounds the calls of batches, so that the queue has room for single requests."""
        self.ledger = Ledger(Path(settings.home), settings.served, routers=settings.routers)
        self.keys = KeyFile(Path(settings.keys)) if settings.keys else None

    @property
    def loaded(self) -> LoadedRelease:
        """The release that serves; a request reads it once."""
        return self.watcher.loaded

    def bad(self) -> frozenset[str]:
        """Return the keys of specific models that failed less than ``REMEMBER_BAD_S`` ago."""
        if self._bad:
            now = time.monotonic()
            self._bad = {key: until for key, until in self._bad.items() if until > now}
        return frozenset(self._bad)

    def use(self) -> ModelUse:
        """Return what this router knows of the loaded models: those of its rehearsal and of its forecasts."""
        hits, forecasts = self.observer.model_cache()
        return ModelUse(frozenset(self._ready), self.settings.models_loaded, hits, forecasts)

    def clear(self) -> None:
        """Clear the forecast cache and the lists of loaded and of failed models."""
        self._bad, self._ready = {}, set()
        self._cache.clear()

    async def predict(self, request: PredictRequest, facts: Facts) -> PredictResponse:
        """Answer one request; raises what `LoadedRelease.prepare` raises, BundleError, or Overloaded."""
        loaded, bad = self.loaded, self.bad()
        facts.symbol, facts.release = request.symbol, loaded.release.id
        slow = request.has_prices or loaded.is_slow(request)
        prepared = (
            await asyncio.to_thread(loaded.prepare, request, bad) if slow else loaded.prepare(request, bad)
        )
        facts.symbol = prepared.route.symbol
        (call,) = await self._forecast_all(loaded, [prepared], facts)
        facts.tier, facts.cached, facts.forecasts = call.tier, call.response.cached, 1
        return call.render(loaded, facts)

    async def predict_batch(
        self, loaded: LoadedRelease, requests: Sequence[PredictRequest], facts: Facts
    ) -> BatchResponse:
        """Answer many requests by one release.

        Failures are listed by symbol. If every request failed with a server error, the first one is raised.
        """
        facts.release, facts.tier = loaded.release.id, "mixed"
        prepared, failures = await asyncio.to_thread(self._prepare_all, loaded, requests)
        calls = await self._forecast_all(loaded, prepared, facts)
        responses = await asyncio.to_thread(render_all, loaded, calls, failures, facts)
        facts.forecasts = len(responses)
        if not responses and failures and all(error.http_status >= 500 for error in failures.values()):
            raise next(iter(failures.values()))
        return batch_response(loaded, responses, failures, started=facts.started, request_id=facts.request_id)

    async def outlook(self, loaded: LoadedRelease, symbol: str, facts: Facts) -> Outlook:
        """Forecast one stock at every horizon; raises as `predict` does."""
        facts.symbol, facts.release = symbol, loaded.release.id
        bad = self.bad()
        prepared = [
            loaded.prepare(PredictRequest(symbol=symbol, horizon=horizon), bad)
            for horizon in loaded.positions
        ]
        facts.symbol = symbol = prepared[0].route.symbol
        calls = await self._forecast_all(loaded, prepared, facts)
        facts.tier, facts.forecasts = calls[0].tier, sum(call.response.prices is not None for call in calls)
        predictions = [call.render(loaded, facts) for call in calls]
        return Outlook(
            symbol=calls[0].prepared.request.symbol, release=loaded.release.id, predictions=predictions
        )

    async def broadcast(
        self, tier: str, method: str, *arguments: Any, within_s: float = REPLY_S
    ) -> BroadcastResult:
        """Call a method of every replica of a tier."""
        return await call_every(self._tiers[tier], method, *arguments, within_s=within_s)

    def _prepare_all(
        self, loaded: LoadedRelease, requests: Sequence[PredictRequest]
    ) -> tuple[list[PreparedRequest], dict[str, NsecastError]]:
        prepared, failures, bad = [], {}, self.bad()
        for request in requests:
            try:
                prepared.append(loaded.prepare(request, bad))
            except NsecastError as error:
                failures[request.symbol] = error
        return prepared, failures

    async def _forecast_all(
        self, loaded: LoadedRelease, prepared: Sequence[PreparedRequest], facts: Facts
    ) -> list[ModelCall]:
        """Forecast in order, fall back to the general model where a specific one fails, and record."""
        REQUEST_ID.set(facts.request_id)
        calls = [ModelCall(request) for request in prepared]
        await self._complete(calls)
        failed = [call for call in calls if call.response.error and call.tier == SPECIFIC]
        for call in failed:
            self._bad[call.prepared.key] = time.monotonic() + REMEMBER_BAD_S
            self._ready.discard(call.prepared.key)
            log.warning("falls back to general model=%s: %s", call.prepared.key, call.response.error)
            call.prepared = loaded.general(call.prepared)
        await self._complete(failed)
        for number, call in enumerate(calls, start=1):
            if call.response.prices is not None:
                self.observer.forecast(call.tier, loaded.release.id, call.response.cached)
                self.ledger.record(
                    loaded, call.prepared, call.response.prices, facts.request_id, facts.client
                )
            if number % RECORDED_TOGETHER == 0:
                await asyncio.sleep(0)
        return calls

    async def _complete(self, calls: Sequence[ModelCall]) -> None:
        """Set every response, from the cache or by calling both tiers concurrently.

        Each new forecast enters the cache at once, even if the request later fails or is cancelled.
        """
        uncached: dict[str, list[ModelCall]] = {}
        for call in calls:
            prices = self._cache.find(call.prepared)
            if prices is not None:
                call.response = ModelResponse(prices, cached=True)
            else:
                uncached.setdefault(call.tier, []).append(call)
        await asyncio.gather(*(self._call_tier(tier, part) for tier, part in uncached.items()))

    async def _call_tier(self, tier: str, calls: Sequence[ModelCall]) -> None:
        """Set the responses of one request by a shared call, those of a batch by its own calls."""
        size = min(max(MIN_CALL_SIZE, len(calls) // (2 * CALLS_AT_ONCE)), MAX_CALL_SIZE)
        parts = [calls[start : start + size] for start in range(0, len(calls), size)]
        limit = self._batch_calls[tier] if len(parts) > 1 else contextlib.nullcontext()

        async def send(part: Sequence[ModelCall]) -> None:
            if len(calls) == 1:
                responses = [await self._shared_calls(tier, part[0].prepared).forecast(part[0].request)]
            else:
                async with limit:
                    responses = await self._send(tier, [call.request for call in part])
            for call, response in zip(part, responses, strict=True):
                call.response = response
                if response.prices is not None:
                    self._ready.add(call.prepared.key)
                    self._cache.keep(call.prepared, response.prices)

        await fan_out(parts, send, CALLS_AT_ONCE)

    def _shared_calls(self, tier: str, prepared: PreparedRequest) -> SharedCalls:
        """Return the shared calls of a tier and release; windows of two releases may differ in length."""
        key = tier, split_key(prepared.key)[1]
        if key not in self._shared:
            send = functools.partial(self._send, tier)
            self._shared[key] = SharedCalls(send, lambda: self.settings.limits.timeout_s)
        return self._shared[key]

    async def _send(self, tier: str, requests: list[ModelRequest]) -> list[ModelResponse]:
        """Call one replica; retry once if the replica is lost."""
        call = ForecastCall.of(requests)
        for attempt in (1, 2):
            try:
                reply: ForecastReply = await self._tiers[tier].forecast.remote(call)
                return reply.singles()
            except BackPressureError:
                raise Overloaded(
                    f"the queue of the {tier} models is full. Retry after 1 s.", retry_after_s=1
                ) from None
            except (asyncio.CancelledError, TimeoutError):
                raise
            except Exception as error:  # a model's failure is a response; only a lost replica raises
                log.warning("replica lost tier=%s attempt=%d: %s", tier, attempt, type(error).__name__)
        raise Overloaded(f"the {tier} models cannot be reached. Retry after 5 s.", retry_after_s=5)

    async def _rehearse(self, loaded: LoadedRelease) -> None:
        """Load a new release's models everywhere, and enlarge the cache to one forecast of every stock."""
        async with asyncio.timeout(REHEARSAL_S if self.watcher.serves else START_S):
            silent = await rehearse(loaded, self.broadcast, functools.partial(self._send, GENERAL))
        for tier, actors in silent.items():
            if actors:
                self.observer.not_rehearsed(loaded.release.id, tier, len(actors))
        self._cache.hold(len(loaded.universe.symbols))
        kept = {loaded.release.id, *([self.loaded.release.id] if self.watcher.serves else [])}
        keys = {model_key(job, loaded.release.id) for job in (GENERAL, *loaded.own)}
        self._ready = {key for key in self._ready | keys if split_key(key)[1] in kept}
        self._shared = {key: calls for key, calls in self._shared.items() if key[1] in kept}
