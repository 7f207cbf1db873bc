"""Batches in a replica: the same prices as one by one, and one question at fault costs only itself."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle
from support.releases.loaded_release import SETTINGS, TODAY
from support.releases.release import made_release

from common.errors import NsecastError
from common.forecast.factors import Factors
from common.forecast.prices import Prices
from common.forecast.representation import Residual
from common.release.registry import Registry
from serve.deployments.model_server import ModelReplica
from serve.inference.loaded_release import LoadedRelease
from serve.model_client.messages import ForecastCall, ModelRequest, ModelResponse
from serve.schemas.forecast import PredictRequest

CLOSES = [100.0 + day % 7 for day in range(60)]
FACTORS = Factors((1, 5, 10, 30), (1.0, 0.5, 0.0, 1.2), (0.9, 0.8, 0.0, 1.1))
SYMBOLS = ("FROZEN", "GAPS", "MOVES", "SPLITS", "THIN")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one", **SETTINGS)
    return home


@pytest.fixture
def replica(home: Path) -> ModelReplica:
    return ModelReplica(str(home), 4)


@pytest.fixture(scope="module")
def questions(home: Path) -> list[ModelRequest]:
    """Of both tiers, on several evenings, and one whose prices came with the request."""
    loaded = LoadedRelease(Registry(home).open("one"))
    requests = [
        PredictRequest(symbol=symbol, as_of=evening)
        for evening in (None, dt.date(2022, 1, 18), dt.date(2022, 2, 22))
        for symbol in SYMBOLS
    ]
    requests.append(PredictRequest(symbol="NEWCO", allow_unknown=True, recent_prices=CLOSES))
    results = []
    for request in requests:
        try:
            prepared = loaded.prepare(request, today=TODAY)
        except NsecastError:
            continue
        for item in {prepared.key: prepared, loaded.general(prepared).key: loaded.general(prepared)}.values():
            results.append(ModelRequest(item.key, item.windows, item.levels))
    assert len(results) > 12
    return results


def assert_same(one: Prices, other: Prices) -> None:
    for field in fields(Prices):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left.dtype == right.dtype and left.shape == right.shape, field.name
        assert np.array_equal(left, right, equal_nan=left.dtype.kind == "f"), field.name


def forecast(replica: ModelReplica, questions: list[ModelRequest]) -> list[ModelResponse]:
    """The responses to a call, sent as Ray sends it."""
    call = cloudpickle.loads(cloudpickle.dumps(ForecastCall.of(questions)))
    return cloudpickle.loads(cloudpickle.dumps(asyncio.run(replica.forecast(call)))).singles()


def test_a_batch_gets_the_same_prices_to_the_last_digit_as_its_questions_one_by_one(replica, questions):
    together = forecast(replica, questions)
    for question, response in zip(questions, together, strict=True):
        assert_same(response.prices, forecast(replica, [question])[0].prices)
    again = forecast(replica, questions[::-1])[::-1]
    for one, other in zip(together, again, strict=True):
        assert_same(one.prices, other.prices)


def test_a_batch_prepares_its_windows_once_and_runs_each_network_once(replica, questions, monkeypatch):
    calls = []
    keys = {question.key for question in questions}
    for key in keys:
        forecaster = replica._cache.get(key)[0].forecaster
        monkeypatch.setitem(vars(forecaster), "factors", FACTORS)
        monkeypatch.setitem(vars(forecaster), "network", counted(forecaster.network, calls))
    monkeypatch.setattr(Residual, "inputs", counted(Residual.inputs, calls))
    together = forecast(replica, questions)
    assert calls[0] == len(questions)
    assert sorted(calls[1:]) == sorted(sum(question.key == key for question in questions) for key in keys)
    for question, response in zip(questions, together, strict=True):
        assert_same(response.prices, forecast(replica, [question])[0].prices)


def counted(original: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    """The function, which adds the number of its windows to ``calls``."""

    def call(*arguments: Any) -> Any:
        calls.append(len(arguments[-1]))
        return original(*arguments)

    return call


def test_models_that_differ_in_more_than_their_network_are_run_one_by_one(replica, questions, monkeypatch):
    """The model of MOVES has no factors; the first test compares the prices."""
    calls = []
    monkeypatch.setattr(Residual, "inputs", counted(Residual.inputs, calls))
    forecast(replica, questions)
    assert calls == [1] * len(questions)


def test_a_question_that_cannot_be_answered_costs_the_others_of_its_batch_nothing(replica, questions):
    bad = dataclasses.replace(
        questions[0].windows, end=np.array([10**6], dtype=questions[0].windows.end.dtype)
    )
    fine = [question for question in questions if question.key != questions[0].key]
    first, *rest = forecast(replica, [dataclasses.replace(questions[0], windows=bad), *fine])
    assert first.prices is None and first.error is not None
    for response, alone in zip(rest, forecast(replica, fine), strict=True):
        assert_same(response.prices, alone.prices)
