"""Probabilities by direction, against draws from the mixture, and their calibration."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri
from support.prices.panel import SYMBOLS, made_panel

from common.errors import BundleError
from common.exchange.ticks import round_to_tick, tick
from common.forecast.forecaster import ModelForecaster
from common.forecast.log_price import LogPrice
from common.forecast.probabilities import IDENTITY, ProbabilityCalibration
from common.forecast.representation import Residual
from common.network.channels import frozen, sigma
from common.network.mixture import OUTPUTS, TAUS
from common.presets import WindowSpec
from common.prices.series import series_from_panel
from common.prices.windows import make_windows

SPEC = WindowSpec(size=10, horizons=(1, 5))
EVERY = make_windows(series_from_panel(made_panel(), SYMBOLS), SPEC)
STILL = frozen(EVERY)
WINDOWS = EVERY.take(np.r_[np.flatnonzero(~STILL)[::40][:6], np.flatnonzero(STILL)[:2]])
RESIDUAL = Residual.fit(WINDOWS)
SHAPE = (len(WINDOWS), len(SPEC.horizons))
LINES = ProbabilityCalibration(SPEC.horizons, ((0.4, 0.9), (0.1, 1.2)), (IDENTITY, (-0.2, 0.7)))


def outputs(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.normal(0.1, 1.0, (*SHAPE, OUTPUTS))
    made[..., 1] = rng.uniform(0.05, 0.95, SHAPE)
    return made


def test_the_probabilities_sum_to_one_and_a_frozen_price_stays_unchanged():
    prices = RESIDUAL.prices(WINDOWS, outputs())
    assert np.abs(prices.probabilities.sum(axis=-1) - 1).max() < 1e-15
    assert (prices.probabilities >= 0).all()
    assert prices.frozen.sum() == 2
    assert (prices.probabilities[prices.frozen] == (0, 1, 0)).all()
    moving = ~prices.frozen
    assert np.allclose(prices.probabilities[moving, :, 1], 1 - prices.p_move[moving], rtol=0, atol=1e-15)


def test_they_equal_the_shares_of_prices_drawn_from_the_mixture_and_quoted_in_ticks():
    made, count, rng = outputs(1), 40_000, np.random.default_rng(2)
    found = RESIDUAL.prices(WINDOWS, made)
    scale = sigma(WINDOWS)[:, None] * np.sqrt(SPEC.horizons)
    for row, horizon in np.ndindex(6, SHAPE[1]):
        quantiles, last = np.sort(made[row, horizon, 2:-1]), found.last[row]
        score = ndtri(rng.random(count))
        inner = np.interp(score, ndtri(TAUS), quantiles)
        for side, (a, b) in ((score < ndtri(TAUS[0]), (0, 1)), (score > ndtri(TAUS[-1]), (-2, -1))):
            slope = (quantiles[b] - quantiles[a]) / (ndtri(TAUS[b]) - ndtri(TAUS[a]))
            inner = np.where(side, quantiles[a] + slope * (score - ndtri(TAUS[a])), inner)
        quoted = round_to_tick(last * np.exp(scale[row, horizon] * inner))
        # A move is a close that differs, so what rounds to the last price is one tick away from it.
        step = tick(np.array(last * 100)) / 100
        quoted = np.where(quoted == last, last + np.sign(inner) * step, quoted)
        quoted = np.where(rng.random(count) < made[row, horizon, 1], quoted, last)
        shares = [(quoted > last).mean(), (quoted == last).mean(), (quoted < last).mean()]
        assert found.probabilities[row, horizon] == pytest.approx(shares, abs=0.012)


def test_the_expected_change_is_that_of_the_raw_price():
    prices = RESIDUAL.prices(WINDOWS, outputs())
    expected = [
        [100 * (raw / last - 1) for raw in row] for row, last in zip(prices.raw, prices.last, strict=True)
    ]
    assert prices.expected_change_percent.tolist() == expected
    assert (prices.expected_change_percent[prices.frozen] == 0).all()


def test_the_original_design_has_no_probabilities():
    spec = WindowSpec(size=10, horizons=(1,))
    windows = make_windows(EVERY.series, spec).take(np.arange(3))
    level = LogPrice.fit(windows.series, windows.series.dates.max())
    prices = level.prices(windows, np.full((3, 1, 1), 0.5))
    assert np.isnan(prices.probabilities).all()
    assert np.isfinite(prices.expected_change_percent).all()


def test_a_calibration_moves_the_log_odds_and_nothing_else():
    made = outputs(3)
    plain = ModelForecaster(lambda x, ids: made, RESIDUAL, {})
    before = plain.prices(WINDOWS, made)
    after = replace(plain, probability_calibration=LINES).prices(WINDOWS, made)
    assert all(
        np.array_equal(getattr(before, name), getattr(after, name), equal_nan=True)
        for name in ("raw", "published", "p_move", "low", "high", "needed", "by_model")
    )
    assert np.abs(after.probabilities.sum(axis=-1) - 1).max() < 1e-15
    assert (after.probabilities[after.frozen] == (0, 1, 0)).all()
    for row, horizon in np.ndindex(6, SHAPE[1]):
        up, unchanged, down = before.probabilities[row, horizon]
        (a, b), (c, d) = LINES.move[horizon], LINES.up[horizon]
        odds = np.exp(a) * ((1 - unchanged) / unchanged) ** b
        move = odds / (1 + odds)
        odds = np.exp(c) * (up / down) ** d
        rise = odds / (1 + odds)
        wanted = [move * rise, 1 - move, move * (1 - rise)]
        assert after.probabilities[row, horizon] == pytest.approx(wanted, rel=1e-9)


def test_a_calibration_survives_being_stored_and_an_identity_changes_nothing():
    assert ProbabilityCalibration.from_dict(LINES.as_dict(), SPEC.horizons) == LINES
    same = ProbabilityCalibration(SPEC.horizons, (IDENTITY,) * 2, (IDENTITY,) * 2)
    probabilities = RESIDUAL.prices(WINDOWS, outputs()).probabilities
    assert same.apply(probabilities) == pytest.approx(probabilities, abs=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"horizons": [1, 10]},
        {"move": [[0, 1]]},
        {"up": [[0, 1], [0, -1]]},
        {"up": [[0, 1], [0, float("nan")]]},
        {"move": None},
    ],
)
def test_a_damaged_calibration_is_refused(change):
    with pytest.raises(BundleError, match="probability_calibration: cannot read it"):
        ProbabilityCalibration.from_dict(LINES.as_dict() | change, SPEC.horizons)
