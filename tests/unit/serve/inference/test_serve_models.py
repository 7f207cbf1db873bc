"""Batches in a replica: the same prices as one by one, and one question at fault costs only itself."""

import dataclasses
import datetime as dt
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from support.releases.loaded_release import SETTINGS, TODAY
from support.releases.release import made_release

from common.errors import NsecastError
from common.forecast.prices import Prices
from common.prices.windows import Windows
from common.release.registry import Registry
from serve.deployments.model_server import ModelReplica
from serve.inference.loaded_release import LoadedRelease
from serve.model_client.messages import ModelRequest
from serve.schemas.forecast import PredictRequest

CLOSES = [100.0 + day % 7 for day in range(60)]
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


def test_a_batch_gets_the_same_prices_to_the_last_digit_as_its_questions_one_by_one(replica, questions):
    together = replica._forecast_all(questions)
    for question, response in zip(questions, together, strict=True):
        assert_same(response.prices, replica._forecast(question).prices)
    again = replica._forecast_all(questions[::-1])[::-1]
    for one, other in zip(together, again, strict=True):
        assert_same(one.prices, other.prices)


def test_a_batch_runs_the_forecaster_once_for_each_model(replica, questions, monkeypatch):
    calls = []
    replica._forecast_all(questions)
    for key in {question.key for question in questions}:
        bundle, _ = replica._cache.get(key)
        original = bundle.forecaster.forecast

        def counted(windows: Windows, levels: np.ndarray, original=original) -> Prices:
            calls.append(len(windows))
            return original(windows, levels)

        monkeypatch.setitem(vars(bundle.forecaster), "forecast", counted)
    replica._forecast_all(questions)
    assert sorted(calls) == sorted(
        sum(question.key == key for question in questions) for key in {question.key for question in questions}
    )


def test_a_question_that_cannot_be_answered_costs_the_other_models_of_its_batch_nothing(replica, questions):
    bad = dataclasses.replace(
        questions[0].windows, end=np.array([10**6], dtype=questions[0].windows.end.dtype)
    )
    batch = [dataclasses.replace(questions[0], windows=bad), *questions[1:]]
    first, *rest = replica._forecast_all(batch)
    assert first.prices is None and first.error is not None
    fine = [
        response
        for question, response in zip(questions[1:], rest, strict=True)
        if question.key != questions[0].key
    ]
    assert fine and all(response.prices is not None for response in fine)
