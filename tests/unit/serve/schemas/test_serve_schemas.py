"""The schemas themselves: what they take, what they say in the description, and their examples."""

import pytest

from serve.schemas import examples
from serve.schemas.forecast import (
    Bar,
    BatchRequest,
    BatchResponse,
    PredictRequest,
    PredictResponse,
    SectorRequest,
    days_of,
)
from serve.schemas.problems import Problem


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (PredictRequest, examples.PREDICT),
        (BatchRequest, examples.BATCH),
        (SectorRequest, examples.SECTOR),
        (PredictResponse, [examples.ANSWER]),
        (BatchResponse, [examples.ANSWERS]),
        (Problem, [examples.PROBLEM]),
    ],
)
def test_every_example_fits_its_schema_and_is_in_the_description(kind, shown):
    assert kind.model_json_schema()["examples"] == shown
    for example in shown:
        found = kind.model_validate(example).model_dump(mode="json", exclude_unset=True)
        assert found == example


@pytest.mark.parametrize("kind", [PredictRequest, BatchRequest, SectorRequest, Bar])
def test_an_unknown_field_is_forbidden_and_the_description_says_so(kind):
    assert kind.model_json_schema()["additionalProperties"] is False


def test_the_description_says_how_many_prices_of_what_size():
    prices = PredictRequest.model_json_schema()["properties"]["recent_prices"]["anyOf"][0]
    assert (prices["minItems"], prices["maxItems"]) == (60, 5_000)
    assert (prices["items"]["minimum"], prices["items"]["maximum"]) == (0.01, 1_000_000)
    assert "oldest first" in PredictRequest.model_json_schema()["properties"]["recent_prices"]["description"]


def test_a_symbol_is_taken_in_any_case_and_whole_numbers_are_prices():
    found = PredictRequest(symbol="kplc-p4", recent_prices=[15] * 60)
    assert found.symbol == "KPLC-P4" and found.recent_prices == [15.0] * 60
    assert BatchRequest(symbols=["scom"], recent_prices={"scom": [15] * 60}).recent_prices.keys() == {"SCOM"}


def test_a_horizon_is_a_number_of_trading_days():
    assert [days_of(horizon) for horizon in ("1d", "5d", "10d", "30d")] == [1, 5, 10, 30]
