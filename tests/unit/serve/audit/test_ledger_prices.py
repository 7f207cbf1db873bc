"""Prices of a request in the log: the same numbers, as many as a window takes."""

import datetime as dt
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from serve.audit.ledger import prices_text
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
def test_logged_prices_are_the_same_numbers_again(body):
    request = PredictRequest.model_validate(body)
    again = PredictRequest.model_validate({"symbol": "MOVES"} | json.loads(prices_text(request, 60)))
    if request.recent_prices is not None:
        assert again.recent_prices == request.recent_prices[-60:]
    else:
        assert again.recent_bars == request.recent_bars[-60:]
    assert again.allow_unknown == request.allow_unknown


def test_as_many_prices_are_kept_as_a_window_takes():
    request = PredictRequest(symbol="MOVES", recent_prices=[10.0 + day for day in range(100)])
    assert json.loads(prices_text(request, 12))["recent_prices"] == [50.0 + day for day in range(60)]
    assert len(json.loads(prices_text(request, 80))["recent_prices"]) == 80
