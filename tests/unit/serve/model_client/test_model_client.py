"""Batches of thousands of stocks, with tiers that only count their calls and refuse too many of them."""

import asyncio
from collections import Counter
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.serve.exceptions import BackPressureError
from support.releases.loaded_release import bundle, loaded_release

from common.errors import BundleError, Overloaded
from common.exchange import names
from common.exchange.universe import Universe
from common.presets import WindowSpec
from common.prices.series import Series
from common.prices.windows import Windows
from common.release.bundle import GENERAL
from serve.inference.loaded_release import PreparedRequest
from serve.inference.model_cache import model_key, split_key
from serve.inference.routing import Route, route
from serve.inference.window_builder import split_batch
from serve.model_client.client import CALLS_AT_ONCE, ModelClient
from serve.model_client.messages import ForecastCall, ForecastReply, ModelResponse
from serve.model_client.model_calls import fan_out
from serve.observability.metrics import Facts
from serve.schemas.forecast import BatchRequest, BatchResponse, PredictRequest
from serve.settings import ServeSettings

SPECIFIC, MANY = "stock_specific", 10_000
COLUMNS = [field.name for field in fields(Series) if field.name not in ("symbols", "offsets")]
SYMBOLS = [f"S{number:05d}" for number in range(MANY)]
FEWER = SYMBOLS[:3_000]


class Tier:
    """Replicas that take ``room`` calls at once, running or queued; a further one is refused."""

    def __init__(self, room: int = 256, fail: Any = lambda symbols: None) -> None:
        self.room, self._fail, self.forecast = room, fail, self
        self.now = self.most = self.calls = 0
        self.requested: Counter[str] = Counter()

    async def remote(self, call: ForecastCall) -> Any:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.now > self.room:
                raise BackPressureError(num_queued_requests=self.now, max_queued_requests=self.room)
            symbols = list(call.windows.series.symbols)
            await asyncio.sleep(0)
            if error := self._fail(symbols):
                raise error
            self.requested.update(symbols)
            return SimpleNamespace(singles=lambda: [self.response_to(symbol) for symbol in symbols])
        finally:
            self.now -= 1

    def response_to(self, symbol: str) -> ModelResponse:
        return ModelResponse(f"prices of {symbol}")

    def broadcast(self, method: str, *arguments: Any) -> "Tier":
        raise RuntimeError("no replica can be called directly")


class Broken(Tier):
    """Every model of this tier is broken."""

    def response_to(self, symbol: str) -> ModelResponse:
        return ModelResponse(None, error=BundleError(f"model {symbol}: broken."))


def window(symbol: str) -> Windows:
    columns = {name: np.zeros(1) for name in COLUMNS}
    row, counted = np.zeros(1, np.int64), np.zeros((1, 4), bool)
    return Windows(Series((symbol,), np.array([0, 1]), **columns), WindowSpec(), row, row, counted)


class ManyStocks:
    """A loaded release of many stocks, with windows of one day."""

    def __init__(self, symbols: list[str] = SYMBOLS, specific: tuple[str, ...] = ()) -> None:
        self.universe = Universe.from_symbols(symbols, specific=list(specific))
        self.release, self.positions = SimpleNamespace(id="made"), {"1d": 0}
        self.own = frozenset(specific)

    def prepare(self, request: PredictRequest, bad: frozenset[str] = frozenset()) -> PreparedRequest:
        return self._prepared(request, route(request.symbol, self.universe, self.own))

    def general(self, prepared: PreparedRequest) -> PreparedRequest:
        symbol, stock = prepared.route.symbol, prepared.route.stock
        return self._prepared(prepared.request, Route(symbol, stock, GENERAL, GENERAL))

    def _prepared(self, request: PredictRequest, chosen: Route) -> PreparedRequest:
        key = model_key(chosen.job, self.release.id)
        symbol = request.symbol
        return PreparedRequest(request, chosen, window(symbol), np.zeros((1, 4, 3)), 0, 0, (), key, symbol)

    def ready(self) -> list[PreparedRequest]:
        return [self.prepare(PredictRequest(symbol=symbol)) for symbol in self.universe.symbols]


@pytest.fixture
def model_client_of(tmp_path: Path) -> Any:
    """Make a model client whose ledger is off."""

    def make(general: Tier, specific: Tier | None = None, **settings: Any) -> ModelClient:
        off = {"days_kept": 0, "answers_days_kept": 0}
        given = ServeSettings(home=str(tmp_path), access_log="off", served=off, **settings)
        return ModelClient(general, specific or Tier(), given)

    return make


async def answered(model_client: ModelClient, loaded: ManyStocks) -> list[tuple[str, Any]]:
    calls = await model_client._forecast_all(loaded, loaded.ready(), Facts("made"))
    return [(call.prepared.request.symbol, call.response.prices) for call in calls]


def expected(symbols: list[str]) -> list[tuple[str, str]]:
    return [(symbol, f"prices of {symbol}") for symbol in symbols]


def test_ten_thousand_stocks_are_answered_in_their_order_by_a_tier_that_queues_256_calls(model_client_of):
    tier, loaded = Tier(), ManyStocks()
    assert asyncio.run(answered(model_client_of(tier), loaded)) == expected(SYMBOLS)
    assert tier.most <= CALLS_AT_ONCE and tier.calls < MANY / 8
    assert set(tier.requested.values()) == {1}


def test_a_batch_of_the_exchange_is_sent_a_few_stocks_a_call_as_before(model_client_of):
    tier = Tier()
    asyncio.run(answered(model_client_of(tier), ManyStocks(SYMBOLS[:66])))
    assert tier.calls == 9 and tier.most == 9


def test_a_second_request_for_all_stocks_asks_no_model(model_client_of):
    tier, loaded = Tier(), ManyStocks(FEWER)
    model_client = model_client_of(tier, forecasts_remembered=100)

    async def run() -> None:
        await model_client._rehearse(loaded)
        await answered(model_client, loaded)
        before = tier.calls
        assert await answered(model_client, loaded) == expected(FEWER)
        assert tier.calls == before

    asyncio.run(run())


def test_forecasts_computed_before_a_part_failed_are_not_computed_again(model_client_of):
    failing = {SYMBOLS[6_000]}

    full = BackPressureError(num_queued_requests=9, max_queued_requests=9)

    def fail(symbols: list[str]) -> Exception | None:
        return full if failing & {*symbols} else None

    tier, loaded = Tier(fail=fail), ManyStocks()
    model_client = model_client_of(tier, forecasts_remembered=MANY)
    with pytest.raises(Overloaded) as caught:
        asyncio.run(answered(model_client, loaded))
    assert caught.value.context["retry_after_s"] == 1
    kept = dict(tier.requested)
    assert 5_500 < len(kept) < 8_000, "what came before, and no part that began after"
    failing.clear()
    assert asyncio.run(answered(model_client, loaded)) == expected(SYMBOLS)
    assert set(tier.requested.values()) == {1}


def test_forecasts_computed_before_a_request_was_cancelled_are_not_computed_again(model_client_of):
    tier, loaded = Tier(), ManyStocks(FEWER)
    model_client = model_client_of(tier, forecasts_remembered=MANY)

    async def run() -> None:
        caller = asyncio.create_task(answered(model_client, loaded))
        while len(tier.requested) < 1_000:
            await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        kept = len(tier.requested)
        assert kept < len(FEWER) and tier.now == 0
        assert await answered(model_client, loaded) == expected(FEWER)
        assert set(tier.requested.values()) == {1}

    asyncio.run(run())


def test_a_specific_model_that_fails_in_a_large_batch_is_replaced_by_the_general_one(model_client_of):
    own = tuple(FEWER[::10])
    general, specific = Tier(), Broken()
    loaded = ManyStocks(FEWER, specific=own)
    assert asyncio.run(answered(model_client_of(general, specific), loaded)) == expected(FEWER)
    assert set(specific.requested) == set(own) and set(general.requested) == set(FEWER)


def test_a_stock_requested_by_former_and_present_symbol_is_answered_or_refused_twice(
    model_client_of, monkeypatch
):
    monkeypatch.setattr(names, "renamed", {"OLD": "MOVES"}.get)
    loaded, requested = loaded_release(), ["OLD", "THIN", "MOVES", "NSE:MOVES"]
    monkeypatch.setitem(vars(loaded.universe), "is_nairobi", True)

    class Computing(Tier):
        async def remote(self, call: ForecastCall) -> ForecastReply:
            requests = call.singles()
            models = [bundle(loaded, split_key(request.key)[0]).forecaster for request in requests]
            return ForecastReply.of(
                [
                    ModelResponse(model.forecast(request.windows, request.levels))
                    for model, request in zip(models, requests, strict=True)
                ]
            )

    def batch(tier: Tier) -> BatchResponse:
        requests = split_batch(BatchRequest(symbols=requested))
        return asyncio.run(model_client_of(tier, tier).predict_batch(loaded, requests, Facts("made")))

    rows = batch(Computing()).predictions
    assert [row.symbol for row in rows] == ["MOVES", "THIN", "MOVES", "MOVES"]
    assert rows[0].prediction == rows[2].prediction == rows[3].prediction
    former = [[caveat.message for caveat in row.warnings if caveat.code == "renamed"] for row in rows]
    assert former == [["OLD is a former symbol: the share is MOVES today."], [], [], []]

    class Half(Computing):
        async def remote(self, call: ForecastCall) -> ForecastReply:
            responses = (await super().remote(call)).singles()
            broken = ModelResponse(None, error=BundleError("broken."))
            known = [symbol == "THIN" for symbol in call.windows.series.symbols]
            return ForecastReply.of(
                [good if whole else broken for good, whole in zip(responses, known, strict=True)]
            )

    answer = batch(Half())
    assert [error.symbol for error in answer.summary.errors] == ["OLD", "MOVES", "NSE:MOVES"]
    assert (answer.summary.total, answer.summary.failed) == (4, 3)


def test_many_large_batches_at_once_leave_room_in_the_queue(model_client_of):
    tier, loaded = Tier(), ManyStocks(SYMBOLS[:300])
    model_client = model_client_of(tier, forecasts_remembered=0)

    async def run() -> None:
        result = await asyncio.gather(*(answered(model_client, loaded) for _ in range(40)))
        assert result == [expected(SYMBOLS[:300])] * 40

    asyncio.run(run())
    assert CALLS_AT_ONCE < tier.most <= 128


def test_calls_are_begun_in_order_and_none_after_a_failure():
    begun: list[int] = []

    async def call(part: int) -> None:
        begun.append(part)
        await asyncio.sleep(0)
        if part == 3:
            raise ValueError(part)

    with pytest.raises(ValueError, match="3"):
        asyncio.run(fan_out(range(100), call, 2))
    assert begun == [0, 1, 2, 3, 4] or begun == [0, 1, 2, 3]


def test_without_parts_there_is_no_call():
    asyncio.run(fan_out([], lambda part: pytest.fail("called"), 4))
