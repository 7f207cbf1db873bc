"""Forecasts kept by a router: which are found again, which never are, and which go first."""

import numpy as np
import pytest
from made_desk import TODAY, bundle, made_desk

from serve.inference.forecast_cache import Remembered
from serve.schemas.forecast import PredictRequest

CLOSES = [100.0 + day % 3 for day in range(60)]


@pytest.fixture
def desk():
    return made_desk()


def prepared(desk, **body):
    return desk.prepare(PredictRequest.model_validate(body), today=TODAY)


def prices(desk, question):
    return bundle(desk, question.route.job).forecaster.forecast(question.windows, question.asked)


def test_what_was_forecast_is_found_again_for_every_horizon(desk):
    memory, first = Remembered(8), prepared(desk, symbol="MOVES")
    assert memory.find(first) is None
    memory.keep(first, prices(desk, first))
    again = memory.find(prepared(desk, symbol="MOVES", horizon="5d"))
    assert np.array_equal(again.published, prices(desk, first).published)


def test_another_stock_evening_or_model_is_another_question(desk):
    memory, first = Remembered(8), prepared(desk, symbol="MOVES")
    memory.keep(first, prices(desk, first))
    assert memory.find(prepared(desk, symbol="THIN")) is None
    assert memory.find(prepared(desk, symbol="MOVES", as_of="2022-02-01")) is None
    assert memory.find(desk.general(first)) is None


def test_prices_that_a_request_brings_are_never_kept(desk):
    memory, brought = Remembered(8), prepared(desk, symbol="MOVES", recent_prices=CLOSES)
    memory.keep(brought, prices(desk, brought))
    assert memory.find(brought) is None


def test_the_one_asked_for_longest_ago_goes_first(desk):
    memory = Remembered(2)
    moves, thin, gaps = (prepared(desk, symbol=symbol) for symbol in ("MOVES", "THIN", "GAPS"))
    for question in (moves, thin):
        memory.keep(question, prices(desk, question))
    memory.find(moves)
    memory.keep(gaps, prices(desk, gaps))
    assert memory.find(thin) is None and memory.find(moves) is not None and memory.find(gaps) is not None


def test_a_memory_of_none_keeps_none_and_one_that_is_cleared_is_empty(desk):
    question = prepared(desk, symbol="MOVES")
    none, memory = Remembered(0), Remembered(4)
    for each in (none, memory):
        each.keep(question, prices(desk, question))
    memory.clear()
    assert none.find(question) is None and memory.find(question) is None
