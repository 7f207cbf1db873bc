"""Whatever is sent: an answer of finite numbers, or a 4xx that says what to send. Nothing else."""

import json
import math
import re

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.releases.loaded_release import TODAY, ask, loaded_release

from serve.schemas.forecast import MAX_BATCH, BatchRequest, PredictRequest, PredictResponse, SectorRequest
from serve.schemas.problems import Problem, problem_of

LOADED = loaded_release()
GOOD = [10.0 + n % 3 for n in range(60)]


def outcome(body: object) -> PredictResponse | Problem:
    try:
        return ask(LOADED, LOADED.prepare(PredictRequest.model_validate(body), today=TODAY))
    except Exception as error:
        return problem_of(error)


def assert_well_behaved(found: PredictResponse | Problem) -> None:
    text = found.model_dump_json()
    assert len(text) < 20_000
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    if isinstance(found, Problem):
        assert 400 <= found.status < 500, found
        assert found.detail and "Traceback" not in found.detail
    else:
        assert math.isfinite(found.prediction) and found.prediction > 0


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (
            {"recent_prices": [*GOOD[:-1], math.nan]},
            422,
            r"recent_prices\[59\]: got nan, need a finite number",
        ),
        ({"recent_prices": [*GOOD[:-1], math.inf]}, 422, r"recent_prices\[59\]: got inf"),
        (
            {"recent_prices": [0, *GOOD]},
            422,
            r"recent_prices\[0\]: got 0, need greater than or equal to 0.01",
        ),
        ({"recent_prices": [*GOOD, -1.5]}, 422, r"recent_prices\[60\]: got -1.5"),
        ({"recent_prices": [*GOOD, "15.5"]}, 422, r"recent_prices\[60\]: got '15.5', need a valid number"),
        ({"recent_prices": [*GOOD, True]}, 422, r"recent_prices\[60\]: got True"),
        ({"recent_prices": [*GOOD, None]}, 422, r"recent_prices\[60\]: got None"),
        ({"recent_prices": GOOD[:59]}, 422, r"recent_prices: got 59 items, need at least 60 items"),
        ({"recent_prices": [1.0] * 1_000_000}, 422, r"recent_prices: got 1,000,000 items, need at most 5000"),
        ({"recent_prices": "15, 16"}, 422, r"recent_prices: got '15, 16', need a valid list"),
        ({"symbol": "A" * 10_240}, 422, r"symbol: got 'AAA.*\.\.\., need"),
        ({"symbol": "../../etc/passwd"}, 422, r"symbol: got '../../etc/passwd', need a symbol such as SCOM"),
        ({"symbol": ""}, 422, "symbol: got ''"),
        ({"symbol": 7}, 422, "symbol: got 7, need a valid string"),
        ({"symbol": "SCOM\n"}, 422, "symbol: got"),
        ({"symbol": "MOVE"}, 404, "Did you mean MOVES"),
        ({"horizon": "7d"}, 422, "horizon: got '7d', need '1d', '5d', '10d' or '30d'"),
        ({"horizon": 2}, 422, "horizon: got 2"),
        ({"as_of": "2031-01-01"}, 422, "as_of: 2031-01-01 is in the future"),
        ({"as_of": "1999-01-01"}, 422, "no prices up to 1999-01-01"),
        ({"as_of": 1717372800}, 422, "as_of: got 1717372800, need a day as a string YYYY-MM-DD"),
        ({"as_of": "2024-02-30"}, 422, "as_of: got '2024-02-30', need a day as YYYY-MM-DD"),
        ({"allow_unknown": "yes"}, 422, "allow_unknown: got 'yes'"),
        ({"price": 3}, 422, "price: got a field of that name, need only the documented fields"),
        (
            {"recent_prices": GOOD, "recent_bars": [{"close": 1}] * 60},
            422,
            "recent_prices or recent_bars, never both",
        ),
        (
            {"recent_bars": [{"close": 10, "high": 9}] * 60},
            422,
            r"recent_bars\[0\]: got a map of 2, need low <= close <= high",
        ),
        ({"recent_bars": [{"close": 10, "volume": -1}] * 60}, 422, r"recent_bars\[0\].volume: got -1"),
        ({"recent_bars": [{"high": 9}] * 60}, 422, r"recent_bars\[0\].close: got nothing, need this field"),
        (
            {"recent_bars": [{"close": 1, "date": "2021-05-03"}] * 60},
            422,
            "2021-05-03 follows 2021-05-03; send each day once, oldest first",
        ),
        (
            {"recent_bars": [{"close": 1, "date": "2021-05-03"}, *[{"close": 1}] * 60]},
            422,
            "give the date of every bar, or of none",
        ),
    ],
)
def test_bad_input_is_a_4xx_that_says_what_to_send(change, status, said):
    found = outcome({"symbol": "MOVES"} | change)
    assert isinstance(found, Problem) and found.status == status
    assert re.search(said, found.detail), found.detail
    assert_well_behaved(found)


@pytest.mark.parametrize("body", [None, [], "SCOM", 3, {}, {"symbol": None}, {"symbol": ["SCOM"]}])
def test_a_body_of_another_shape_is_a_422(body):
    found = outcome(body)
    assert isinstance(found, Problem) and found.status == 422
    assert_well_behaved(found)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(
        [0, -0.0, 1e-320, 1e308, 10**400, "NaN", "1e5", "\ud800", "\x00", "SCOM' OR 1=1", "^NASI"]
    ),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
prices = st.one_of(
    anything,
    st.tuples(st.floats(0.01, 1e6), st.integers(58, 63)).map(lambda pair: [pair[0]] * pair[1]),
    st.lists(st.floats(0.01, 1e6, allow_subnormal=False), min_size=60, max_size=70),
    st.tuples(st.integers(0, 59), scalars).map(lambda pair: [*GOOD[: pair[0]], pair[1], *GOOD[pair[0] :]]),
)
extremes = st.sampled_from([None, 0.01, 1e6])
bars = st.one_of(
    anything,
    st.lists(
        st.fixed_dictionaries(
            {"close": st.floats(0.01, 1e6)}, optional={"high": extremes, "low": extremes, "volume": extremes}
        ),
        min_size=60,
        max_size=62,
    ),
)
bodies = st.fixed_dictionaries(
    {"symbol": st.sampled_from(["MOVES", "THIN", "FROZEN", "SHORT", "GAPS", "NEWCO", "kplc-p4"]) | anything},
    optional={
        "horizon": st.sampled_from(["1d", "5d", "10d", "30d"]) | anything,
        "recent_prices": prices,
        "recent_bars": bars,
        "as_of": st.dates().map(str) | anything,
        "allow_unknown": st.booleans() | anything,
    },
)


@pytest.mark.fuzz
@settings(max_examples=examples(250), deadline=None)
@given(bodies | anything)
def test_whatever_is_sent_is_answered_or_refused_as_4xx(body):
    assert_well_behaved(outcome(body))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 1e6, allow_subnormal=False), min_size=60, max_size=60),
    st.sampled_from(["1d", "30d"]),
)
def test_any_valid_prices_are_answered(closes, horizon):
    found = outcome({"symbol": "NEWCO", "recent_prices": closes, "horizon": horizon, "allow_unknown": True})
    assert isinstance(found, PredictResponse), found
    assert_well_behaved(found)


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({"symbols": anything, "recent_prices": prices}) | anything)
def test_whatever_is_sent_as_a_batch_or_sector_is_valid_or_refused_as_4xx(body):
    for kind in (BatchRequest, SectorRequest):
        try:
            kind.model_validate(body)
        except Exception as error:
            assert_well_behaved(problem_of(error))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (PredictRequest, {"symbol": "A", "recent_prices": [""] * 5_000}),
        (PredictRequest, {"symbol": "A", "recent_bars": [{"close": ""}] * 5_000}),
        (PredictRequest, {"symbol": "A", "recent_bars": [{str(name): 1 for name in range(50_000)}]}),
        (PredictRequest, {str(name): 1 for name in range(50_000)}),
        (BatchRequest, {"symbols": [""] * 50_000}),
        (BatchRequest, {"symbols": ["A"], "recent_prices": {str(name): [] for name in range(50_000)}}),
        (BatchRequest, {"symbols": ["A"], "recent_prices": {str(name): [""] * 2_000 for name in range(99)}}),
        (SectorRequest, {str(name): 1 for name in range(50_000)}),
    ],
)
def test_a_body_of_nothing_but_mistakes_is_given_up_early(kind, body):
    """Each mistake costs time in which nobody else is answered."""
    with pytest.raises(pydantic.ValidationError) as caught:
        kind.model_validate(body)
    assert caught.value.error_count() <= 2 * MAX_BATCH


def test_a_batch_is_refused_when_too_long_or_with_prices_of_strangers():
    for body, said in (
        ({"symbols": ["A"] * 101}, "symbols: got 101 items, need at most 100"),
        ({"symbols": []}, "symbols: got 0 items, need at least 1 item"),
        ({"symbols": ["A"], "recent_prices": {"B": GOOD}}, "recent_prices: B not among the symbols"),
        ({"symbols": ["A"], "recent_prices": {"A": GOOD[:59]}}, "recent_prices.A: got 59 items"),
    ):
        with pytest.raises(ValueError) as caught:
            BatchRequest.model_validate(body)
        assert said in problem_of(caught.value).detail
