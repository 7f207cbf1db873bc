"""Equal requests get one response with their own ids and times, until the forecast changes."""

import numpy as np
from support.releases.loaded_release import TODAY, ask, bundle, loaded_release

from common.forecast.prices import Prices
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.inference.response import predict_response
from serve.model_client.messages import ModelResponse
from serve.model_client.model_calls import ModelCall
from serve.observability.metrics import Facts
from serve.schemas.forecast import PredictRequest

LOADED = loaded_release()
OF_THE_REQUEST = {"cached", "execution_time", "timestamp", "request_id"}


def prepared(loaded: LoadedRelease, symbol: str = "MOVES", horizon: str = "5d") -> PreparedRequest:
    return loaded.prepare(PredictRequest(symbol=symbol, horizon=horizon), today=TODAY)


def prices_of(ready: PreparedRequest, shift: float = 0.0) -> Prices:
    forecaster = bundle(LOADED, ready.route.job).forecaster
    return forecaster.forecast(ready.windows, ready.levels + shift)


def rendered(ready: PreparedRequest, prices: Prices, request_id: str, *, cached: bool = True):
    return ModelCall(ready, ModelResponse(prices, cached)).render(LOADED, Facts(request_id))


def test_a_kept_response_equals_a_new_one_except_for_its_own_ids_and_times():
    ready = prepared(LOADED)
    prices = prices_of(ready)
    first = rendered(ready, prices, "first", cached=False)
    second = rendered(prepared(LOADED), prices, "second")
    fresh = predict_response(LOADED, ready, prices, cached=True, started=0.0, request_id="second")
    assert second.model_dump(exclude=OF_THE_REQUEST) == fresh.model_dump(exclude=OF_THE_REQUEST)
    assert (first.request_id, first.cached) == ("first", False)
    assert (second.request_id, second.cached) == ("second", True)
    assert second.timestamp > first.timestamp and 0 <= second.execution_time < 60


def test_a_new_forecast_makes_a_new_response():
    ready = prepared(LOADED)
    narrow, wide = prices_of(ready), prices_of(ready, 0.02)
    assert not np.array_equal(narrow.low, wide.low)
    before = rendered(ready, narrow, "a").confidence_interval
    after = rendered(ready, wide, "b").confidence_interval
    assert before and after and (after.lower, after.upper) != (before.lower, before.upper)
    assert rendered(ready, narrow, "c").confidence_interval == before


def test_the_fallback_and_other_horizons_have_responses_of_their_own():
    own = prepared(LOADED)
    prices = prices_of(own)
    general = LOADED.general(own)
    assert general.route.job != own.route.job
    rendered(own, prices, "own")
    fallback = rendered(general, prices, "fallback")
    assert fallback.model_type == "general" and "fallback" in {caveat.code for caveat in fallback.warnings}
    assert rendered(prepared(LOADED, horizon="10d"), prices, "later").horizon == "10d"
    assert ask(LOADED, own).model_type == rendered(own, prices, "again").model_type
