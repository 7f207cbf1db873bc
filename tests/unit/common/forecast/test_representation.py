"""From windows to network inputs, and from network outputs to KES."""

import math
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.prices.panel import history
from support.training.representation import AT, PLAIN, RESIDUAL, slow_tick, walk, windows_of

from common.forecast.log_price import LogPrice
from common.forecast.representation import Residual
from common.network.channels import frozen, sigma


def test_sigma_is_the_spread_of_the_daily_log_returns_inside_the_window_within_bounds():
    spreads = {"calm": 0.0001, "usual": 0.02, "wild": 0.3}
    rng = np.random.default_rng(3)
    results = {name: history(np.exp(np.cumsum(rng.normal(0, s, 14)))) for name, s in spreads.items()}
    for item, rows in zip(sigma(windows_of(results)), results.values(), strict=True):
        closes = list(rows["close"])[-10:]
        ratios = [later / earlier for earlier, later in pairwise(closes)]
        steps = [math.log(ratio) if 0.65 < ratio < 1.8 else 0.0 for ratio in ratios]
        mean = sum(steps) / 9
        spread = math.sqrt(sum((step - mean) ** 2 for step in steps) / 9)
        assert item == pytest.approx(min(max(spread, 0.005), 0.06), rel=1e-5)


def test_the_return_into_the_first_day_of_a_window_is_not_seen():
    closes = [50.0, *[20.0, 20.2] * 5]
    one, other = (windows_of({"A": history(c)}) for c in (closes, closes[1:]))
    assert np.array_equal(RESIDUAL.inputs(one), RESIDUAL.inputs(other))
    assert sigma(one) == sigma(other)


def market_of(rows: pd.DataFrame) -> pd.DataFrame:
    """A market known on every date of these rows."""
    columns = {"market": np.linspace(-0.03, 0.03, len(rows)), "breadth": 0.004, "active": 0.6}
    return pd.DataFrame(columns, index=rows["date"])


def test_each_channel_equals_its_documented_formula():
    closes = walk()
    high, low = closes * 1.02, closes * 0.97
    volume = np.array([0, 1, 200, 0, 500, 100, 300, 700, 0, 900.0])
    rows = history(closes, high=high, low=low, volume=volume)
    high_missing = rows.copy()
    high_missing.loc[4, "high"] = np.nan
    market = market_of(rows).drop(rows["date"][7])
    x = PLAIN.inputs(windows_of({"A": high_missing}, market))[0]
    scale = float(sigma(windows_of({"A": rows}))[0])
    usual = np.mean([math.log1p(v) for v in volume if v > 0])
    for day in range(10):
        step = 0 if day == 0 else math.log(closes[day] / closes[day - 1])
        expected = {
            "return": step / scale,
            "high": 0 if day == 4 else math.log(1.02) / scale,
            "low": 0 if day == 4 else math.log(0.97) / scale,
            "traded": float(volume[day] > 0),
            "volume": math.log1p(volume[day]) - usual if volume[day] else 0,
            "market": 0 if day == 7 else 100 * market["market"][rows["date"][day]],
            "breadth": 0 if day == 7 else 100 * market["breadth"][rows["date"][day]],
            "active": 0 if day == 7 else market["active"][rows["date"][day]],
            "level": math.log(closes[day] / closes[-1]) / (scale * math.sqrt(10)),
            "tick": math.log(slow_tick(closes[day]) / closes[day] / scale),
            "turnover": math.log1p(volume[day] * closes[day]),
            "range_known": float(day != 4),
            "volume_known": 1,
            "market_known": float(day != 7),
        }
        for name, value in expected.items():
            if name != "turnover":
                value = np.clip(value, -8, 8)
            assert x[day, AT[name]] == pytest.approx(value, abs=2e-5), (day, name)
        assert set(expected) == set(AT)


@pytest.mark.parametrize("kind", [RESIDUAL, LogPrice({})], ids=lambda kind: kind.name)
@pytest.mark.parametrize(("network_days", "read"), [(None, 10), (4, 4), (10, 10), (30, 10)])
def test_a_network_reads_the_last_days_as_they_are_in_the_whole_window(kind, network_days, read):
    windows = windows_of({"A": history(walk(), volume=np.arange(10.0)), "B": history(walk()[::-1])})
    short = replace(windows, spec=windows.spec.model_copy(update={"network_days": network_days}))
    whole, last = kind.inputs(windows), kind.inputs(short)
    assert last.shape[1] == read == short.spec.days
    assert np.array_equal(last, whole[:, -read:])
    assert np.array_equal(kind.targets(short), kind.targets(windows), equal_nan=True)


def test_the_tick_is_that_of_each_day_s_price_on_both_sides_of_every_step_of_the_table():
    closes = [4.99, 5.0, 9.98, 10.0, 49.95, 50.0, 499.75, 500.0, 505.0, 501.0]
    windows = windows_of({"A": history(closes)})
    scale = float(sigma(windows)[0])
    expected = [math.log(slow_tick(close) / close / scale) for close in closes]
    np.testing.assert_allclose(PLAIN.inputs(windows)[0, :, AT["tick"]], expected, atol=2e-5)


def test_a_volume_is_relative_to_the_mean_of_the_traded_days_even_if_there_is_only_one():
    volume = np.array([0, 0, np.nan, 300, 0, 0, 0, 0, np.nan, 0])
    x = PLAIN.inputs(windows_of({"A": history(walk(), volume=volume)}))[0]
    assert x[:, AT["traded"]].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(x[:, AT["volume"]], np.zeros(10), atol=1e-6)
    assert x[:, AT["volume_known"]].tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 0, 1]


def test_a_window_with_a_split_and_nothing_else_counts_as_frozen_and_one_tick_as_moved():
    split = history([10.0] * 6 + [5.0] * 4)
    tick = history([1000.0] * 9 + [1001.0])
    before, at_first = history([9.0] + [10.0] * 10), history([9.0] + [10.0] * 9)
    results = {"S": split, "T": tick, "B": before, "F": at_first}
    assert list(frozen(windows_of(results))) == [True, False, True, False]


def test_closes_alone_leave_the_other_channels_zero_and_flagged_unknown():
    x = RESIDUAL.inputs(windows_of({"A": history(walk())}))
    unknown = set(AT) - {"return", "level", "tick"}
    for name, place in AT.items():
        assert (x[..., place] == 0).all() == (name in unknown)


@pytest.mark.parametrize("group", sorted(Residual.hidden))
def test_channels_hidden_in_training_look_exactly_like_unknown_ones(group):
    bare = history(walk())
    full = history(walk(), high=walk() * 1.01, low=walk() * 0.99, volume=np.arange(10.0) * 100)
    market = market_of(full)
    hidden = RESIDUAL.inputs(windows_of({"A": full}, market))
    hidden[..., [AT[name] for name in Residual.hidden[group]]] = 0
    rest = windows_of({"A": bare if group == "closes_only" else full})
    assert np.array_equal(hidden, RESIDUAL.inputs(rest))


UGLY = st.lists(
    st.tuples(
        st.sampled_from([0.01, 0.02, 1.0, 1.01, 7.3, 450.0, 1e6]),
        st.sampled_from([math.nan, 0.0, 0.01, 1.0, 500.0, 1e7]),
        st.sampled_from([math.nan, 0.0, 0.01, 1.0, 500.0, 1e7]),
        st.sampled_from([math.nan, 0.0, 1.0, 3e5, 1e12]),
        st.sampled_from([math.nan, -0.5, 0.0, 0.9]),
    ),
    min_size=10,
    max_size=14,
)


@settings(max_examples=200, deadline=None)
@given(UGLY, st.sampled_from(["residual", "level", "unfitted level"]))
def test_inputs_and_prices_are_finite_for_ugly_but_valid_histories(rows, kind):
    close, high, low, volume, market = (np.array(column) for column in zip(*rows, strict=True))
    frame = history(close, high=high, low=low, volume=volume)
    columns = {"market": market, "breadth": market, "active": np.abs(market)}
    windows = windows_of({"A": frame}, pd.DataFrame(columns, index=frame["date"]))
    level = LogPrice.fit(windows.series, windows.series.dates.max())
    representation = {"residual": RESIDUAL, "level": level, "unfitted level": LogPrice({})}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = representation.inputs(windows)
    assert x.dtype == np.float32 and x.shape == (1, 10, len(representation.channels))
    assert np.isfinite(x).all()
    if kind == "residual":
        assert (np.abs(PLAIN.inputs(windows)[..., [0, 1, 2, 5, 6]]) <= 8).all()
    outputs = np.zeros((1, 2, representation.outputs))
    prices = representation.prices(windows, outputs)
    assert np.isfinite(prices.raw).all() and np.isfinite(prices.published).all()
    assert (prices.published > 0).all() and np.isfinite(sigma(windows)).all()
