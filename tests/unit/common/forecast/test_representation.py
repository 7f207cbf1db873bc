"""From windows to network inputs, and from network outputs to KES."""

import math
import warnings
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.panel import SPEC, SYMBOLS, history, made_panel

from common.errors import BundleError
from common.exchange.ticks import round_to_tick
from common.forecast.log_price import LogPrice
from common.forecast.representation import Residual, representation_from_dict
from common.network.channels import frozen, sigma
from common.network.mixture import OUTPUTS, TAUS
from common.network.scaling import ChannelScaler
from common.presets import WindowSpec
from common.prices.series import UNKNOWN_MARKET, series_from_histories, series_from_panel
from common.prices.windows import Windows, last_window, make_windows

SMALL = WindowSpec(size=10, horizons=(1, 5))
PANEL_WINDOWS = make_windows(series_from_panel(made_panel(), SYMBOLS), SPEC)
RESIDUAL = Residual.fit(PANEL_WINDOWS)
LEVEL = LogPrice.fit(PANEL_WINDOWS.series, PANEL_WINDOWS.series.dates.max())
AT = {name: place for place, name in enumerate(Residual.channels)}
PLAIN = Residual(ChannelScaler((0.0,) * 14, (1.0,) * 14))
"""Channels as they are, not standardised."""


def windows_of(histories: dict[str, pd.DataFrame], market: pd.DataFrame = UNKNOWN_MARKET) -> Windows:
    return last_window(series_from_histories(histories, market), SMALL)


def outputs_for(windows: Windows, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, 1.5, (len(windows), len(windows.spec.horizons), OUTPUTS))
    outputs[..., 1] = rng.random(outputs.shape[:2])
    return outputs


def walk(length: int = 10, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 0.02, length)
    return np.round(30 * np.exp(np.cumsum(steps)), 2)


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


def slow_tick(price: float) -> float:
    """The exchange's table."""
    for below, step in ((5, 0.01), (10, 0.02), (50, 0.05), (500, 0.25)):
        if price < below:
            return step
    return 1.0


def test_each_channel_is_what_the_decisions_say():
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


def test_a_target_is_the_change_in_units_of_sigma_times_the_root_of_the_horizon():
    targets, scale = RESIDUAL.targets(PANEL_WINDOWS), sigma(PANEL_WINDOWS)
    assert np.array_equal(np.isnan(targets), np.isnan(PANEL_WINDOWS.change))
    for row in range(0, len(PANEL_WINDOWS), 7):
        for column, horizon in enumerate(SPEC.horizons):
            change = PANEL_WINDOWS.change[row, column]
            if not math.isnan(change):
                expected = min(max(change / (scale[row] * math.sqrt(horizon)), -8), 8)
                assert targets[row, column] == pytest.approx(expected, rel=1e-5)


def test_a_price_that_does_not_move_has_a_target_of_exactly_zero():
    targets = RESIDUAL.targets(PANEL_WINDOWS)
    still = PANEL_WINDOWS.change == 0
    assert still.any() and (targets[still] == 0).all() and (targets[PANEL_WINDOWS.change > 0] > 0).all()


def test_a_change_of_zero_is_exactly_the_last_price_on_the_tick_or_not():
    closes = walk(seed=4)
    closes[-1] = 30.333
    windows = windows_of({"A": history(closes)})
    outputs = np.zeros((1, 2, OUTPUTS))
    outputs[..., 1] = 0.3
    prices = RESIDUAL.prices(windows, outputs)
    assert (prices.raw == 30.333).all() and (prices.published == 30.333).all()
    assert (prices.low == 30.333).all() and (prices.high == 30.333).all()


def test_a_published_price_that_differs_from_the_last_is_on_the_tick():
    prices = RESIDUAL.prices(PANEL_WINDOWS, outputs_for(PANEL_WINDOWS))
    moved = prices.published != prices.last[:, None]
    assert moved.any() and not moved.all()
    assert (round_to_tick(prices.published) == prices.published)[moved].all()


def test_prices_are_the_obvious_formula_window_by_window():
    outputs = outputs_for(PANEL_WINDOWS, seed=2)
    outputs[..., 1] = 1.0
    outputs[..., 2:-1].sort(axis=-1)
    prices, scale = RESIDUAL.prices(PANEL_WINDOWS, outputs), sigma(PANEL_WINDOWS)
    still = frozen(PANEL_WINDOWS)
    for row in range(0, len(PANEL_WINDOWS), 11):
        for column, horizon in enumerate(SPEC.horizons):
            last, unit = PANEL_WINDOWS.last_price[row], 0.0 if still[row] else scale[row] * math.sqrt(horizon)
            at = {tau: outputs[row, column, 2 + place] for place, tau in enumerate(TAUS)}
            assert prices.raw[row, column] == pytest.approx(last * math.exp(unit * outputs[row, column, 0]))
            assert prices.low[row, column] == pytest.approx(
                [
                    last * math.exp(unit * at[0.1]),
                    last * math.exp(unit * at[0.05]),
                    prices.low[row, column, 2],
                ]
            )
            assert prices.high[row, column, 1] == pytest.approx(last * math.exp(unit * at[0.95]))
            tick = 1.0 if last > 400 else 0.25
            assert abs(prices.published[row, column] - last * math.exp(unit * at[0.5])) <= tick


@pytest.mark.parametrize(
    ("change", "moved"), [(1.0, 1.0), (-1.0, -1.0), (7.5, 7.5), (9.0, 8.0), (-9.0, -8.0)]
)
def test_a_certain_change_is_that_many_sigmas_and_at_most_eight(change, moved):
    windows = windows_of({"A": history(walk())})
    outputs = np.full((1, 2, OUTPUTS), change)
    outputs[..., 1] = 1.0
    prices, unit = RESIDUAL.prices(windows, outputs), float(sigma(windows)[0])
    expected = [windows.last_price[0] * math.exp(moved * unit * math.sqrt(horizon)) for horizon in (1, 5)]
    for item in (prices.raw[0], *prices.low[0].T, *prices.high[0].T):
        np.testing.assert_allclose(item, expected, rtol=1e-12)
    assert (
        abs(prices.published[0] - expected) <= 0.5 * np.array([slow_tick(e) for e in expected]) + 1e-9
    ).all()


def test_wider_intervals_hold_the_narrower_ones_and_the_published_price():
    prices = RESIDUAL.prices(PANEL_WINDOWS, outputs_for(PANEL_WINDOWS, seed=3))
    assert (np.diff(prices.low, axis=-1) <= 1e-9).all() and (np.diff(prices.high, axis=-1) >= -1e-9).all()
    off_tick = 0.5 * np.where(prices.last < 50, 0.05, 0.25)[:, None] + 1e-9
    assert (prices.published >= prices.low[..., 0] - off_tick).all()
    assert (prices.published <= prices.high[..., 0] + off_tick).all()


@pytest.mark.parametrize("price", [7.0, 30.333, 1234.5])
@pytest.mark.parametrize("kind", ["residual", "level"])
def test_a_window_that_never_moved_gets_the_last_price_for_any_network_output(kind, price):
    windows = windows_of({"F": history([price] * 10), "M": history(walk())})
    representation = {
        "residual": RESIDUAL,
        "level": LogPrice.fit(windows.series, windows.series.dates.max()),
    }[kind]
    outputs = np.full((2, 2, representation.outputs), 5.0)
    prices = representation.prices(windows, outputs)
    assert list(prices.frozen) == [True, False]
    assert (prices.raw[0] == price).all() and (prices.published[0] == price).all()
    assert (prices.raw[1] != prices.last[1]).all()
    if kind == "residual":
        assert (prices.p_move[0] == 0).all()
        assert (prices.low[0] == price).all() and (prices.high[0] == price).all()


@pytest.mark.parametrize("wild", [1e3, -1e3, 1e5])
def test_prices_stay_finite_and_positive_for_all_finite_network_outputs(wild):
    windows = windows_of({"A": history(walk())})
    outputs = np.full((1, 2, OUTPUTS), wild)
    outputs[..., 1] = 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prices = RESIDUAL.prices(windows, outputs)
    for item in (prices.raw, prices.published, prices.low, prices.high):
        assert np.isfinite(item).all() and (item > 0).all()


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
def test_what_training_hides_looks_exactly_like_what_was_never_known(group):
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


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 900), min_size=10, max_size=20), st.floats(-0.5, 1.5))
def test_the_level_goes_there_and_back_by_the_original_formula(closes, output):
    windows = windows_of({"A": history(closes)})
    level = LogPrice.fit(windows.series, windows.series.dates.max())
    low, high = math.log(min(closes)), math.log(max(closes))
    span = (high - low) or 1.0
    scaled = [(math.log(close) - low) / span for close in closes[-10:]]
    np.testing.assert_allclose(level.inputs(windows)[0, :, 0], scaled, atol=1e-5)
    prices = level.prices(windows, np.full((1, 2, 1), output))
    if not prices.frozen[0]:
        expected = math.exp(output * span + low)
        np.testing.assert_allclose(prices.raw, expected, rtol=1e-9)
        np.testing.assert_array_equal(prices.published, round_to_tick(np.full((1, 2), expected)))


def test_a_level_target_put_back_through_prices_is_the_price_that_came():
    targets = LEVEL.targets(PANEL_WINDOWS)
    known = np.isfinite(targets) & ~frozen(PANEL_WINDOWS)[:, None]
    raw = LEVEL.prices(PANEL_WINDOWS, targets[..., None]).raw
    np.testing.assert_allclose(raw[known], PANEL_WINDOWS.actual[known], rtol=1e-5)


def test_a_residual_target_put_back_through_prices_is_the_price_that_came():
    targets = RESIDUAL.targets(PANEL_WINDOWS)
    known = np.isfinite(targets) & ~frozen(PANEL_WINDOWS)[:, None] & (np.abs(targets) < 8)
    outputs = np.repeat(targets[..., None], OUTPUTS, axis=-1)
    outputs[..., 1] = 1.0
    raw = RESIDUAL.prices(PANEL_WINDOWS, outputs).raw
    np.testing.assert_allclose(raw[known], PANEL_WINDOWS.actual[known], rtol=1e-5)


def test_a_level_model_fits_each_symbol_on_its_own_closes_up_to_the_date():
    series = PANEL_WINDOWS.series
    day = np.unique(series.dates)[40]
    result = LogPrice.fit(series, day)
    for symbol in series.symbols:
        rows = series.rows(symbol)
        past = [c for c, d in zip(series.close[rows], series.dates[rows], strict=True) if d <= day]
        assert (symbol in result.scalers) == bool(past)
        if past:
            assert result.scalers[symbol].low == pytest.approx(math.log(min(past)))
            assert result.scalers[symbol].high == pytest.approx(math.log(max(past)))


@pytest.mark.parametrize("representation", [RESIDUAL, LEVEL], ids=["residual", "level"])
def test_a_representation_is_the_same_after_being_stored(representation):
    again = representation_from_dict(representation.as_dict())
    assert type(again) is type(representation)
    assert np.array_equal(again.inputs(PANEL_WINDOWS), representation.inputs(PANEL_WINDOWS))
    assert np.array_equal(again.targets(PANEL_WINDOWS), representation.targets(PANEL_WINDOWS), equal_nan=True)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"representation": "magic"},
        {"representation": "residual"},
        {"representation": "level"},
        RESIDUAL.as_dict() | {"mean": [0.0] * 13},
        RESIDUAL.as_dict() | {"spread": [1.0] * 15},
        RESIDUAL.as_dict() | {"mean": [0.0] * 13, "spread": [1.0] * 13},
    ],
)
def test_an_incomplete_stored_representation_is_refused(stored):
    with pytest.raises(BundleError, match="cannot read it"):
        representation_from_dict(stored)


def test_one_window_alone_has_the_inputs_it_has_among_others():
    together = RESIDUAL.inputs(PANEL_WINDOWS)
    for row in (0, 133, 400):
        assert np.array_equal(RESIDUAL.inputs(PANEL_WINDOWS.take(np.array([row])))[0], together[row])


@pytest.mark.parametrize("count", [1024, 1025, 2500])
def test_more_windows_than_are_worked_on_at_a_time_have_what_each_of_them_has_alone(count):
    places = np.arange(count) % len(PANEL_WINDOWS)
    many = PANEL_WINDOWS.take(places)
    outputs = outputs_for(PANEL_WINDOWS)
    assert np.array_equal(RESIDUAL.inputs(many), RESIDUAL.inputs(PANEL_WINDOWS)[places])
    assert np.array_equal(frozen(many), frozen(PANEL_WINDOWS)[places])
    expected, result = RESIDUAL.prices(PANEL_WINDOWS, outputs), RESIDUAL.prices(many, outputs[places])
    for field in fields(expected):
        alone = getattr(expected, field.name)[places]
        assert np.array_equal(getattr(result, field.name), alone, equal_nan=alone.dtype != bool), field.name


@pytest.mark.parametrize("representation", [RESIDUAL, LEVEL], ids=["residual", "level"])
def test_no_windows_have_no_inputs_and_no_prices(representation):
    none = PANEL_WINDOWS.take(slice(0, 0))
    assert representation.inputs(none).shape == (0, 12, len(representation.channels))
    prices = representation.prices(none, np.empty((0, 3, representation.outputs)))
    assert prices.published.shape == (0, 3) and prices.low.shape == (0, 3, 3)


def test_channels_are_scaled_by_the_known_entries_of_the_training_windows():
    x = PLAIN.inputs(PANEL_WINDOWS).astype(np.float64)
    known = {"high": "range_known", "market": "market_known"}
    for name in ("return", "level", "high", "market"):
        entries = x[..., AT[name]][x[..., AT[known[name]]] == 1 if name in known else ...]
        assert RESIDUAL.scaler.mean[AT[name]] == pytest.approx(entries.mean(), abs=1e-6), name
        assert RESIDUAL.scaler.spread[AT[name]] == pytest.approx(entries.std(), rel=1e-5), name


def test_of_very_many_windows_twenty_thousand_evenly_spaced_ones_are_scaled_by():
    few, count = len(PANEL_WINDOWS), 50_000
    spaced = [place * (count - 1) // 19_999 for place in range(20_000)]
    assert spaced[0] == 0 and spaced[-1] == count - 1
    result = Residual.fit(PANEL_WINDOWS.take(np.arange(count) % few))
    assert result == Residual.fit(PANEL_WINDOWS.take(np.array(spaced) % few))


def test_what_a_forecast_says_of_itself_beside_its_prices():
    outputs, still = outputs_for(PANEL_WINDOWS), frozen(PANEL_WINDOWS)
    prices = RESIDUAL.prices(PANEL_WINDOWS, outputs)
    assert np.array_equal(prices.last, PANEL_WINDOWS.last_price) and np.array_equal(prices.frozen, still)
    assert np.array_equal(prices.by_model, np.stack([~still] * 3, axis=1))
    assert np.array_equal(prices.p_move[~still], outputs[~still][..., 1]) and not prices.p_move[still].any()
    assert np.array_equal(
        np.isnan(prices.needed), np.isnan(PANEL_WINDOWS.change) | np.stack([still] * 3, axis=1)
    )


def test_intervals_at_the_level_that_was_needed_end_where_the_price_went():
    outputs = outputs_for(PANEL_WINDOWS, seed=5)
    outputs[..., 1] = 1.0
    outputs[..., 2:-1].sort(axis=-1)
    needed = RESIDUAL.prices(PANEL_WINDOWS, outputs).needed
    seen = (needed > 0.001) & (needed < 0.999)
    levels = np.repeat(np.where(seen, needed, 0.5)[..., None], 3, axis=-1)
    prices, actual = RESIDUAL.prices(PANEL_WINDOWS, outputs, levels), PANEL_WINDOWS.actual
    assert seen.sum() > 100
    for place in range(3):
        off = np.minimum(abs(prices.low[..., place] - actual), abs(prices.high[..., place] - actual))
        assert (off[seen] < 1e-6 * actual[seen]).all()


def test_each_interval_has_the_requested_level():
    outputs = outputs_for(PANEL_WINDOWS, seed=6)
    usual = RESIDUAL.prices(PANEL_WINDOWS, outputs)
    levels = np.broadcast_to((0.95, 0.8, 0.9), (*outputs.shape[:2], 3))
    prices = RESIDUAL.prices(PANEL_WINDOWS, outputs, levels)
    assert np.array_equal(prices.low, usual.low[..., [2, 0, 1]])
    assert np.array_equal(prices.high, usual.high[..., [2, 0, 1]])
    assert np.array_equal(prices.published, usual.published)


def test_a_symbol_that_the_level_was_not_fitted_on_is_scaled_by_its_own_window():
    results = {"A": history(walk(14)), "B": history(3 * walk(14, seed=1)), "C": history(walk(14, seed=2))}
    windows = windows_of(results)
    fitted = LogPrice.fit(windows.series, windows.series.dates.max())
    level = LogPrice({symbol: fitted.scalers[symbol] for symbol in ("A", "C")})
    prices = level.prices(windows, np.full((3, 2, 1), 0.25))
    for row, (symbol, rows) in enumerate(results.items()):
        closes = list(rows["close"])
        own = closes[-10:] if symbol == "B" else closes
        low, high = math.log(min(own)), math.log(max(own))
        scaled = [(math.log(close) - low) / (high - low) for close in closes[-10:]]
        np.testing.assert_allclose(level.inputs(windows)[row, :, 0], scaled, atol=1e-5)
        np.testing.assert_allclose(prices.raw[row], math.exp(0.25 * (high - low) + low), rtol=1e-9)


def test_the_level_is_one_number_a_horizon_without_an_interval_or_a_chance_of_a_move():
    assert LEVEL.outputs == 1
    outputs = np.full((len(PANEL_WINDOWS), 3, 1), 0.5)
    prices, still = LEVEL.prices(PANEL_WINDOWS, outputs), frozen(PANEL_WINDOWS)
    shape = (len(PANEL_WINDOWS), 3)
    for none, expected in ((prices.p_move, shape), (prices.needed, shape), (prices.low, (*shape, 3))):
        assert none.shape == expected and np.isnan(none).all()
    assert prices.high.shape == (*shape, 3) and np.isnan(prices.high).all()
    assert np.array_equal(prices.by_model, np.stack([~still] * 3, axis=1))
