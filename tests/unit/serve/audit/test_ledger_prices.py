"""Prices of a request in the log: packed small, and the same numbers again."""

import datetime as dt
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.audit.request_prices import bytes_in_file, digest, json_of, pack, prices_text, unpack
from serve.schemas.forecast import PredictRequest

TICKS = st.integers(1, 100_000_000).map(lambda cents: cents / 100)
ANY = st.floats(0.01, 1e6, allow_nan=False)
VOLUMES = st.one_of(st.integers(0, 10**12).map(float), st.floats(0, 1e12))
FIRST = dt.date(2021, 1, 4)


@st.composite
def bodies(draw):
    """Requests with closes, or with bars that have some of the fields, dated or not."""
    closes = draw(
        st.lists(draw(st.sampled_from([TICKS, ANY, st.one_of(TICKS, ANY)])), min_size=60, max_size=70)
    )
    body = {"symbol": "MOVES", "allow_unknown": draw(st.booleans())}
    if draw(st.booleans()):
        return body | {"recent_prices": closes}
    bars = [{"close": close} for close in closes]
    for name in ("high", "low", "volume"):
        for bar in bars if draw(st.booleans()) else ():
            if draw(st.integers(0, 9)):
                bar[name] = draw(VOLUMES) if name == "volume" else bar["close"]
    if draw(st.booleans()):
        for place, bar in enumerate(bars):
            bar["date"] = (FIRST + dt.timedelta(days=3 * place)).isoformat()
    return body | {"recent_bars": bars}


@settings(max_examples=80, deadline=None)
@given(bodies())
def test_packed_prices_are_the_same_numbers_again_and_have_the_same_digest(body):
    request = PredictRequest.model_validate(body)
    text = prices_text(request, 60)
    prices = unpack(pack(text))
    assert prices == json.loads(text) and json_of(prices) == text
    again = PredictRequest.model_validate({"symbol": "MOVES"} | prices)
    if request.recent_prices is not None:
        assert again.recent_prices == request.recent_prices[-60:]
    else:
        assert again.recent_bars == request.recent_bars[-60:]
    assert again.allow_unknown == request.allow_unknown
    assert digest(text) == hashlib.sha256(text.encode()).hexdigest()


def test_as_many_prices_are_kept_as_a_window_takes():
    request = PredictRequest(symbol="MOVES", recent_prices=[10.0 + day for day in range(100)])
    assert json.loads(prices_text(request, 12))["recent_prices"] == [50.0 + day for day in range(60)]
    assert len(json.loads(prices_text(request, 80))["recent_prices"]) == 80


def test_closes_on_the_exchanges_ticks_are_steps_in_hundredths():
    closes = [25.15, 25.2, 25.1] * 20
    packed = json.loads(pack(prices_text(PredictRequest(symbol="MOVES", recent_prices=closes), 60)))
    assert packed["close"]["steps"][:4] == [2515, 5, -10, 5]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"bars":false}', '{"bars":true,"allow_unknown":false,"close":3}']
)
def test_text_that_was_not_packed_is_refused(text):
    with pytest.raises((ValueError, KeyError, TypeError)):
        unpack(text)


def test_the_estimate_of_bytes_counts_half_of_the_digits():
    assert bytes_in_file('{"recent_prices":[10.25,10.5],"allow_unknown":false}') == 3
