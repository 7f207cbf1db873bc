"""The level preset, stored representations, and scaling over many windows."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.prices.panel import history
from support.training.representation import AT, PANEL_WINDOWS, PLAIN, RESIDUAL, outputs_for, walk, windows_of

from common.errors import BundleError
from common.exchange.ticks import round_to_tick
from common.forecast.log_price import LogPrice
from common.forecast.representation import Residual, representation_from_dict
from common.network.channels import frozen
from common.network.mixture import OUTPUTS

LEVEL = LogPrice.fit(PANEL_WINDOWS.series, PANEL_WINDOWS.series.dates.max())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 900), min_size=10, max_size=20), st.floats(-0.5, 1.5))
def test_the_level_is_converted_and_restored_by_the_original_formula(closes, output):
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


def test_a_window_has_the_same_inputs_alone_and_among_others():
    together = RESIDUAL.inputs(PANEL_WINDOWS)
    for row in (0, 133, 400):
        assert np.array_equal(RESIDUAL.inputs(PANEL_WINDOWS.take(np.array([row])))[0], together[row])


@pytest.mark.parametrize("count", [1024, 1025, 2500])
def test_windows_processed_in_several_chunks_equal_windows_processed_one_by_one(count):
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


def test_scaling_uses_at_most_twenty_thousand_evenly_spaced_windows():
    few, count = len(PANEL_WINDOWS), 50_000
    spaced = [place * (count - 1) // 19_999 for place in range(20_000)]
    assert spaced[0] == 0 and spaced[-1] == count - 1
    result = Residual.fit(PANEL_WINDOWS.take(np.arange(count) % few))
    assert result == Residual.fit(PANEL_WINDOWS.take(np.array(spaced) % few))


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
