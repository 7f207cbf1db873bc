"""Fitting factors: closed forms, brute force, planted factors and futures."""

from dataclasses import replace

import numpy as np
import pytest
from support.prices.panel import SPEC, SYMBOLS, fake_network, made_panel

from common.exchange.ticks import round_to_tick
from common.forecast.forecaster import ModelForecaster
from common.forecast.representation import Residual
from common.network.channels import frozen, sigma
from common.prices.series import series_from_panel
from common.prices.windows import make_windows
from train.run.factors import GRID, fit_factors, published_losses, raw_products, shrink

WINDOWS = make_windows(series_from_panel(made_panel(), SYMBOLS), SPEC)
KIND = Residual.fit(WINDOWS)
OUTPUTS = ModelForecaster(fake_network, KIND, {}).outputs(WINDOWS)


def made(seed: int, count: int = 300) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    change = rng.normal(0, 0.02, count) * (rng.random(count) < 0.8)
    actual = 0.6 * change + rng.normal(0, 0.02, count)
    return change, actual, np.round(rng.uniform(2, 600, count), 2), rng.integers(0, 6, count)


@pytest.mark.parametrize("seed", range(3))
def test_losses_of_the_published_price_equal_the_obvious_loop(seed):
    change, actual, last, block = made(seed)
    sums = published_losses(change, actual, last, block)
    for place in (0, 7, 20, 26):
        for number in range(6):
            expected = 0.0
            for row in np.flatnonzero(block == number):
                price = last[row]
                if GRID[place] * change[row] != 0:
                    price = float(round_to_tick(last[row] * np.exp(GRID[place] * change[row])))
                expected += 100 * abs(price - last[row] * np.exp(actual[row])) / last[row]
            assert sums[number, place] == pytest.approx(expected)


def test_the_raw_factor_is_least_squares_through_the_origin():
    change, actual, _, block = made(4)
    top, bottom = raw_products(change, actual, block).sum(axis=0)
    forecast, outcome = 100 * np.expm1(change), 100 * np.expm1(actual)
    assert top / bottom == pytest.approx(np.linalg.lstsq(forecast[:, None], outcome, rcond=None)[0][0])


def test_shrinking_follows_its_formula_and_noise_alone_gives_1():
    factors, errors = np.array([1.2, 1.0, 0.9, 0.6]), np.array([0.05, 0.05, 0.1, 0.2])
    between = np.mean([0.04 - 0.0025, -0.0025, 0.01 - 0.01, 0.16 - 0.04])
    expected = [1 + between / (between + e**2) * (f - 1) for f, e in zip(factors, errors, strict=True)]
    assert shrink(factors, errors) == pytest.approx(expected)
    assert (shrink(factors, 10 * errors) == 1).all()
    assert shrink(factors, 0 * errors) == pytest.approx(factors)
    assert (np.abs(shrink(factors, errors) - 1) <= np.abs(factors - 1)).all()


def planted(factor: float) -> np.ndarray:
    """Outputs whose change, times ``factor``, is the actual one."""
    outputs = OUTPUTS.copy()
    scale = sigma(WINDOWS)[:, None] * np.sqrt(SPEC.horizons)
    change = np.nan_to_num(WINDOWS.change) / scale / factor
    outputs[..., 0] = change
    outputs[..., 1] = 1.0
    outputs[..., 2:-1] = change[..., None] + np.linspace(-1e-4, 1e-4, 11)
    return outputs


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.2])
def test_a_planted_factor_is_found(factor):
    found = fit_factors(KIND, WINDOWS, planted(factor))
    assert found.horizons == SPEC.horizons
    assert found.raw == pytest.approx([factor] * 3, abs=0.03)
    assert found.published == pytest.approx([factor] * 3, abs=0.06)


def test_forecasts_without_skill_do_not_get_more_weight_and_none_are_left_at_1():
    rng = np.random.default_rng(0)
    noise = OUTPUTS.copy()
    noise[..., 0] = rng.normal(0, 1, noise.shape[:2])
    assert max(fit_factors(KIND, WINDOWS, noise).raw) < 0.5
    noise[..., 0] = 0
    assert fit_factors(KIND, WINDOWS, noise).raw == (1, 1, 1)


def test_only_moving_windows_with_an_outcome_count():
    outputs, still = planted(0.8), frozen(WINDOWS)
    changed = outputs.copy()
    changed[still] += 3
    changed[np.isnan(WINDOWS.change)] -= 2
    assert fit_factors(KIND, WINDOWS, outputs) == fit_factors(KIND, WINDOWS, changed)


def test_outcomes_outside_the_validation_part_have_no_influence():
    """A future that contradicts validation is planted behind its end."""
    end = np.unique(WINDOWS.cutoff)[90]
    valid = WINDOWS.only((WINDOWS.target_date <= end) & ~np.isnat(WINDOWS.target_date))
    places = np.flatnonzero(np.isin(WINDOWS.end, valid.end))
    outputs = planted(0.8)[places]
    close = WINDOWS.series.close.copy()
    later = WINDOWS.series.dates > end
    close[later] *= np.random.default_rng(1).uniform(0.5, 2, later.sum())
    future = replace(valid, series=replace(valid.series, close=close))
    assert fit_factors(KIND, valid, outputs) == fit_factors(KIND, future, outputs)


def test_too_few_days_for_two_blocks_leave_the_forecasts_as_they_are():
    few = WINDOWS.cutoff <= np.unique(WINDOWS.cutoff)[3]
    found = fit_factors(KIND, WINDOWS.take(few), planted(0.5)[few])
    assert found.raw == found.published == (1, 1, 1)


def test_a_horizon_with_too_few_days_does_not_decide_on_the_others():
    outputs, few = planted(0.7), np.unique(WINDOWS.cutoff)[3]
    allowed = np.ones(WINDOWS.counted.shape, dtype=bool)
    allowed[:, -1] = WINDOWS.cutoff <= few
    part = WINDOWS.only(allowed)
    found = fit_factors(KIND, part, outputs[np.isin(WINDOWS.end, part.end)])
    assert found.raw[-1] == found.published[-1] == 1
    assert found.raw[:-1] == pytest.approx([0.7] * 2, abs=0.03)
    assert found.published[:-1] == pytest.approx([0.7] * 2, abs=0.06)


def test_a_published_price_that_never_changes_leaves_its_factor_at_1():
    outputs = planted(1.0)
    outputs[:, 0, 1] = 0.2  # a move is unlikely, so the median is the last price
    found = fit_factors(KIND, WINDOWS, outputs)
    assert found.published == pytest.approx([1] * 3, abs=0.03)
