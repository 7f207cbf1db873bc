"""Who asks the models: one release's loaded release here, its models in the replicas behind two handles."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.serve.exceptions import BackPressureError

from common.errors import BundleError, NsecastError, Overloaded
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.audit.ledger import Ledger
from serve.auth.keys import KeyFile
from serve.inference.forecast_cache import ForecastCache
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.inference.model_cache import REMEMBER_BAD_S
from serve.inference.release_watcher import ReleaseWatcher
from serve.inference.response import answer, batch_answer
from serve.model_client.broadcast import BroadcastResult, call_every
from serve.model_client.fan_out import fan_out
from serve.model_client.messages import REQUEST_ID, ModelRequest, ModelResponse
from serve.model_client.rehearsal import rehearse
from serve.observability.metrics import Facts, Observer
from serve.schemas.forecast import BatchResponse, Outlook, PredictRequest, PredictResponse
from serve.settings import ServeSettings

log = logging.getLogger(__name__)
TOGETHER, MOST_TOGETHER = 8, 64
"""Questions of a batch that one replica is sent at once: more of them the larger the batch is."""
CALLS_AT_ONCE = 16
"""Calls of a tier that one request has under way."""
REHEARSAL_S, START_S = 60.0, 120.0
"""How long a rehearsal may take; longer while nothing serves, since replicas may be starting."""
NOTED_TOGETHER = 64
"""Forecasts that are counted and logged before other requests have a turn."""
REPLY_S = 3.0
"""How long a replica may take to report or to drop its models: well within the limit of a request."""


NOT_CALLED = ModelResponse(None)


@dataclass(slots=True)
class Item:
    """A prepared question on its way through the models, and what a model returned for it."""

    prepared: PreparedRequest
    result: ModelResponse = NOT_CALLED

    @property
    def tier(self) -> str:
        return self.prepared.route.model_type


class ModelClient:
    """Asks models for answers; what the routes of `serve.ingress.app` call.

    Parameters
    ----------
    general, specific : handles of `GeneralModel` and `SpecificModel`
    """

    def __init__(self, general: Any, specific: Any, settings: ServeSettings) -> None:
        self.settings, self.observer = settings, Observer(settings.access_log)
        self.config_problem: str | None = None
        """Why the limits that were given last were not taken."""
        self.watcher = ReleaseWatcher(
            Path(settings.home), self.observer, self._rehearse, every_s=settings.reload_every_s
        )
        self._tiers = {GENERAL: general, SPECIFIC: specific}
        self._bad: dict[str, float] = {}
        self._remembered = ForecastCache(settings.forecasts_remembered)
        calls = max(1, settings.questions_queued // 2)
        self._turns = {tier: asyncio.Semaphore(calls) for tier in self._tiers}
        """So that batches leave room in the queue for single questions."""
        self.ledger = Ledger(Path(settings.home), settings.served, routers=settings.routers)
        self.keys = KeyFile(Path(settings.keys)) if settings.keys else None

    @property
    def loaded(self) -> LoadedRelease:
        """The loaded release that serves now; a request takes it once."""
        return self.watcher.loaded

    def bad(self) -> frozenset[str]:
        """Keys of specific models that failed a short while ago."""
        if self._bad:
            now = time.monotonic()
            self._bad = {key: until for key, until in self._bad.items() if until > now}
        return frozenset(self._bad)

    def forget(self) -> None:
        """Ask models anew, those that failed too."""
        self._bad = {}
        self._remembered.clear()

    async def one(self, request: PredictRequest, facts: Facts) -> PredictResponse:
        """Answer one question; raises what `LoadedRelease.prepare` does, BundleError, or Overloaded."""
        loaded, bad = self.loaded, self.bad()
        facts.symbol, facts.release = request.symbol, loaded.release.id
        slow = request.brings_prices or loaded.is_slow(request)
        prepared = (
            await asyncio.to_thread(loaded.prepare, request, bad) if slow else loaded.prepare(request, bad)
        )
        (item,) = await self._forecast_all(loaded, [prepared], facts)
        facts.tier, facts.cached, facts.forecasts = item.tier, item.result.cached, 1
        return _response(loaded, item, facts)

    async def many(
        self, loaded: LoadedRelease, requests: Sequence[PredictRequest], facts: Facts
    ) -> BatchResponse:
        """Answer many questions by one release; what fails is listed, unless everything is our fault."""
        facts.release, facts.tier = loaded.release.id, "mixed"
        ready, failures = await asyncio.to_thread(self._prepare_all, loaded, requests)
        items = await self._forecast_all(loaded, ready, facts)
        answers = await asyncio.to_thread(_responses, loaded, items, failures, facts)
        facts.forecasts = len(answers)
        if not answers and failures and all(error.http_status >= 500 for error in failures.values()):
            raise next(iter(failures.values()))
        return batch_answer(loaded, answers, failures, started=facts.started, request_id=facts.request_id)

    async def outlook(self, loaded: LoadedRelease, symbol: str, facts: Facts) -> Outlook:
        """One stock at every horizon; raises as `one` does."""
        facts.symbol, facts.release = symbol, loaded.release.id
        bad = self.bad()
        ready = [loaded.prepare(PredictRequest(symbol=symbol, horizon=each), bad) for each in loaded.places]
        items = await self._forecast_all(loaded, ready, facts)
        facts.tier, facts.forecasts = items[0].tier, sum(item.result.prices is not None for item in items)
        predictions = [_response(loaded, item, facts) for item in items]
        return Outlook(symbol=symbol, release=loaded.release.id, predictions=predictions)

    async def broadcast(
        self, tier: str, method: str, *arguments: Any, within_s: float | None = None
    ) -> BroadcastResult:
        """Call a method of every replica of a tier at once, by default within ``REPLY_S``."""
        return await call_every(self._tiers[tier], method, *arguments, within_s=within_s or REPLY_S)

    def _prepare_all(
        self, loaded: LoadedRelease, requests: Sequence[PredictRequest]
    ) -> tuple[list[PreparedRequest], dict[str, NsecastError]]:
        ready, failures, bad = [], {}, self.bad()
        for request in requests:
            try:
                ready.append(loaded.prepare(request, bad))
            except NsecastError as error:
                failures[request.symbol] = error
        return ready, failures

    async def _forecast_all(
        self, loaded: LoadedRelease, ready: Sequence[PreparedRequest], facts: Facts
    ) -> list[Item]:
        """Forecast, in order; a specific model that fails is replaced by the general one."""
        REQUEST_ID.set(facts.request_id)
        items = [Item(prepared) for prepared in ready]
        await self._fill(items)
        failed = []
        for item in items:
            if item.result.error is not None and item.tier == SPECIFIC:
                self._bad[item.prepared.key] = time.monotonic() + REMEMBER_BAD_S
                log.warning(
                    "falls back to general model=%s: %s", item.prepared.key, item.result.error.message
                )
                item.prepared = loaded.general(item.prepared)
                failed.append(item)
        if failed:
            await self._fill(failed)
        for number, item in enumerate(items, start=1):
            if item.result.prices is not None:
                self.observer.forecast(item.tier, loaded.release.id, item.result.cached)
                self.ledger.saw(loaded, item.prepared, item.result.prices, facts.request_id, facts.client)
            if number % NOTED_TOGETHER == 0:
                await asyncio.sleep(0)
        return items

    async def _fill(self, items: Sequence[Item]) -> None:
        """Set what was forecast before or else what the models return, both tiers at once.

        Every forecast is kept as soon as it is there, even if the request fails or is cancelled later on.
        """
        new: dict[str, list[Item]] = {}
        for item in items:
            prices = self._remembered.find(item.prepared)
            if prices is not None:
                item.result = ModelResponse(prices, cached=True)
            else:
                new.setdefault(item.tier, []).append(item)
        await asyncio.gather(*(self._call_tier(tier, part) for tier, part in new.items()))

    async def _call_tier(self, tier: str, items: Sequence[Item]) -> None:
        """Send a tier its items, some together, as `fan_out` does."""
        size = min(max(TOGETHER, len(items) // (2 * CALLS_AT_ONCE)), MOST_TOGETHER)
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        limit = self._turns[tier] if len(parts) > 1 else contextlib.nullcontext()

        async def call(part: Sequence[Item]) -> None:
            async with limit:
                results = await self._call(tier, [_question(item.prepared) for item in part])
            for item, result in zip(part, results, strict=True):
                item.result = result
                if result.prices is not None:
                    self._remembered.keep(item.prepared, result.prices)

        await fan_out(parts, call, CALLS_AT_ONCE)

    async def _call(self, tier: str, questions: list[ModelRequest]) -> list[ModelResponse]:
        """One call of a replica; a replica that dies under it costs a second try, never an answer."""
        for attempt in (1, 2):
            try:
                results: list[ModelResponse] = await self._tiers[tier].forecast.remote(questions)
                return results
            except BackPressureError:
                raise Overloaded(
                    f"the {tier} models have all the questions they can queue. Retry after 1 s.",
                    retry_after_s=1,
                ) from None
            except (asyncio.CancelledError, TimeoutError):
                raise
            except Exception as error:  # replicas say failures; what is raised is the way to them
                log.warning("replica lost tier=%s attempt=%d: %s", tier, attempt, type(error).__name__)
        raise Overloaded(f"the {tier} models cannot be reached. Retry after 5 s.", retry_after_s=5)

    async def _rehearse(self, loaded: LoadedRelease) -> None:
        """Have a new release's models loaded everywhere, and make room for a forecast of every stock."""
        async with asyncio.timeout(REHEARSAL_S if self.watcher.serves else START_S):
            silent = await rehearse(loaded, self.broadcast, functools.partial(self._call, GENERAL))
        for tier, actors in silent.items():
            if actors:
                self.observer.not_rehearsed(loaded.release.id, tier, len(actors))
        self._remembered.hold(len(loaded.universe.symbols))


def _question(prepared: PreparedRequest) -> ModelRequest:
    return ModelRequest(prepared.key, prepared.windows, prepared.asked)


def _response(loaded: LoadedRelease, item: Item, facts: Facts) -> PredictResponse:
    """Raises what the model's failure was."""
    prepared, result = item.prepared, item.result
    if result.prices is None:
        raise result.error or BundleError(f"model {prepared.key}: gave no prices.")
    return answer(
        loaded,
        prepared,
        result.prices,
        cached=result.cached,
        started=facts.started,
        request_id=facts.request_id,
    )


def _responses(
    loaded: LoadedRelease, items: Sequence[Item], failures: dict[str, NsecastError], facts: Facts
) -> list[PredictResponse]:
    """Of all that did not fail; adds to ``failures``, by symbol, what did."""
    responses = []
    for item in items:
        try:
            responses.append(_response(loaded, item, facts))
        except NsecastError as error:
            failures[item.prepared.request.symbol] = error
    return responses
