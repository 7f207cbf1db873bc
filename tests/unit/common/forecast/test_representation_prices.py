"""From network outputs to prices and intervals in KES."""

import math
import warnings

import numpy as np
import pytest
from support.prices.panel import SPEC, history
from support.training.representation import PANEL_WINDOWS, RESIDUAL, outputs_for, slow_tick, walk, windows_of

from common.exchange.ticks import round_to_tick
from common.forecast.log_price import LogPrice
from common.network.channels import frozen, sigma
from common.network.mixture import OUTPUTS, TAUS


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


def test_a_forecast_has_its_last_price_its_source_and_its_chance_of_a_move():
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
