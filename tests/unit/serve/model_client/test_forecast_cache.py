"""Forecasts cached by a router: which are reused, which never are, and which are evicted first."""

import numpy as np
import pytest
from support.releases.loaded_release import TODAY, bundle, loaded_release

from serve.model_client.model_calls import ForecastCache
from serve.schemas.forecast import PredictRequest

CLOSES = [100.0 + day % 3 for day in range(60)]


@pytest.fixture
def loaded():
    return loaded_release()


def prepared(loaded, **body):
    return loaded.prepare(PredictRequest.model_validate(body), today=TODAY)


def prices(loaded, question):
    return bundle(loaded, question.route.job).forecaster.forecast(question.windows, question.levels)


def test_a_cached_forecast_is_returned_for_every_horizon(loaded):
    memory, first = ForecastCache(8), prepared(loaded, symbol="MOVES")
    assert memory.find(first) is None
    memory.keep(first, prices(loaded, first))
    again = memory.find(prepared(loaded, symbol="MOVES", horizon="5d"))
    assert np.array_equal(again.published, prices(loaded, first).published)


def test_another_stock_evening_or_model_is_another_question(loaded):
    memory, first = ForecastCache(8), prepared(loaded, symbol="MOVES")
    memory.keep(first, prices(loaded, first))
    assert memory.find(prepared(loaded, symbol="THIN")) is None
    assert memory.find(prepared(loaded, symbol="MOVES", as_of="2022-02-01")) is None
    assert memory.find(loaded.general(first)) is None


def test_forecasts_from_prices_in_a_request_are_never_cached(loaded):
    memory, brought = ForecastCache(8), prepared(loaded, symbol="MOVES", recent_prices=CLOSES)
    memory.keep(brought, prices(loaded, brought))
    assert memory.find(brought) is None


def test_the_least_recently_used_forecast_is_evicted_first(loaded):
    memory = ForecastCache(2)
    moves, thin, gaps = (prepared(loaded, symbol=symbol) for symbol in ("MOVES", "THIN", "GAPS"))
    for question in (moves, thin):
        memory.keep(question, prices(loaded, question))
    memory.find(moves)
    memory.keep(gaps, prices(loaded, gaps))
    assert memory.find(thin) is None and memory.find(moves) is not None and memory.find(gaps) is not None


def test_a_memory_of_none_keeps_none_and_one_that_is_cleared_is_empty(loaded):
    question = prepared(loaded, symbol="MOVES")
    none, memory = ForecastCache(0), ForecastCache(4)
    for item in (none, memory):
        item.keep(question, prices(loaded, question))
    memory.clear()
    assert none.find(question) is None and memory.find(question) is None
