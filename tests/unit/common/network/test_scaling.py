"""Scalers: there and back, and what they refuse."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.network.scaling import ChannelScaler, LogPriceScaler

prices = st.floats(0.01, 1e6)


@settings(deadline=None)
@given(st.lists(prices, min_size=1, max_size=50), st.lists(prices, min_size=1, max_size=50))
def test_prices_come_back_from_the_log_scale_also_outside_the_fitted_range(fitted, others):
    scaler = LogPriceScaler.fit(np.array(fitted))
    np.testing.assert_allclose(scaler.inverse(scaler.transform(np.array(others))), others, rtol=1e-9)


@settings(deadline=None)
@given(st.lists(prices, min_size=2, max_size=50).filter(lambda closes: max(closes) > 1.001 * min(closes)))
def test_the_fitted_range_maps_to_0_to_1_by_the_original_formula(closes):
    scaled = LogPriceScaler.fit(np.array(closes)).transform(np.array(closes))
    low, high = math.log(min(closes)), math.log(max(closes))
    expected = [(math.log(close) - low) / (high - low) for close in closes]
    np.testing.assert_allclose(scaled, expected, atol=1e-9)
    assert scaled.min() == 0 and scaled.max() == pytest.approx(1, abs=1e-12)


def test_a_flat_series_maps_to_0_and_back_to_its_one_price():
    scaler = LogPriceScaler.fit(np.full(9, 6.6))
    assert (scaler.transform(np.full(3, 6.6)) == 0).all()
    np.testing.assert_allclose(scaler.inverse(np.zeros(3)), 6.6, rtol=1e-12)
    np.testing.assert_allclose(scaler.transform(np.array([6.7])), math.log(6.7 / 6.6), rtol=1e-9)


@settings(deadline=None)
@given(st.lists(prices, min_size=1, max_size=20))
def test_a_log_scaler_is_the_same_after_json(closes):
    scaler = LogPriceScaler.fit(np.array(closes))
    assert LogPriceScaler(**json.loads(json.dumps(scaler.as_dict()))) == scaler


def made(seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, (7, 5, 3)).astype(np.float32)
    return x, rng.random(x.shape) < 0.6


@pytest.mark.parametrize("garbage", [1e9, -7.0, math.nan])
def test_a_channel_scaler_ignores_unknown_entries(garbage):
    x, known = made()
    spoilt = np.where(known, x, np.float32(garbage))
    assert ChannelScaler.fit(spoilt, known) == ChannelScaler.fit(np.where(known, x, 0), known)


def test_a_channel_scaler_is_the_mean_and_spread_of_the_known_entries():
    x, known = made(1)
    scaler = ChannelScaler.fit(x, known)
    for channel in range(3):
        values = [
            float(x[n, t, channel]) for n, t in np.ndindex(7, 5) if known[n, t, channel]
        ]  # one after the other, not by a mask
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        assert scaler.mean[channel] == pytest.approx(mean, rel=1e-9)
        assert scaler.spread[channel] == pytest.approx(spread, rel=1e-9)
    scaled = scaler.transform(x)
    assert scaled.dtype == np.float32
    assert scaled[known].mean() == pytest.approx(0, abs=0.2)


def test_known_entries_have_zero_mean_and_unit_spread_once_scaled_however_small_they_were():
    x, known = made(3)
    x *= np.array([1, 1e-3, 100], np.float32)
    scaled = ChannelScaler.fit(x, known).transform(x)
    for channel in range(3):
        entries = scaled[..., channel][known[..., channel]]
        assert entries.mean() == pytest.approx(0, abs=1e-4) and entries.std() == pytest.approx(1, rel=1e-4)


def test_the_mean_of_a_single_known_entry_is_that_entry():
    x, known = made()
    known[..., 2] = False
    known[3, 2, 2] = True
    assert ChannelScaler.fit(x, known).mean[2] == pytest.approx(float(x[3, 2, 2]))


def test_a_channel_that_is_constant_or_never_known_is_not_divided_by_zero():
    x, known = made()
    x[..., 0], known[..., 1] = 4.0, False
    scaler = ChannelScaler.fit(x, known)
    assert scaler.spread[:2] == (1.0, 1.0) and scaler.mean[1] == 0
    assert np.isfinite(scaler.transform(x)).all()


def test_a_channel_scaler_is_the_same_after_json():
    scaler = ChannelScaler.fit(*made(2))
    stored = json.loads(json.dumps(scaler.as_dict()))
    assert ChannelScaler(tuple(stored["mean"]), tuple(stored["spread"])) == scaler
