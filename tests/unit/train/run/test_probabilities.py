"""Fitting the calibration of probabilities, against a known distortion and scipy's optimiser."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from support.prices.panel import SYMBOLS, made_panel
from support.releases.release import made_release

from common.forecast.probabilities import IDENTITY, by_direction, corrected
from common.forecast.representation import Residual
from common.network.channels import frozen
from common.network.mixture import OUTPUTS
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import series_from_panel
from common.prices.windows import Boundaries, make_windows
from train.run.probabilities import fit_calibration, fitted_line, log_loss

SPEC = WindowSpec(size=10, horizons=(1, 5))


def drawn(intercept: float, slope: float, count: int = 6000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Forecast probabilities, and outcomes of the true ones: a line in the log odds of the forecasts."""
    rng = np.random.default_rng(seed)
    forecast = rng.uniform(0.1, 0.9, count)
    return forecast, rng.random(count) < expit(intercept + slope * logit(forecast))


def test_the_line_has_the_largest_likelihood():
    forecast, happened = drawn(0.5, 0.7)

    def loss(line: np.ndarray) -> float:
        return log_loss(expit(line[0] + line[1] * logit(forecast)), happened)

    best = minimize(loss, (0.0, 1.0), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}).x
    assert fitted_line(forecast, happened) == pytest.approx(best, abs=1e-4)
    assert fitted_line(forecast, happened) == pytest.approx((0.5, 0.7), abs=0.15)


def test_outcomes_against_the_forecast_leave_it_as_it_is():
    forecast, happened = drawn(0.0, -1.0)
    assert fitted_line(forecast, happened) == IDENTITY


@pytest.mark.parametrize("spread", [0, 1e-6, 1e-4])
@pytest.mark.parametrize("forecast", [0.3, 0.7])
def test_forecasts_that_hardly_differ_are_shifted_and_not_stretched(forecast, spread):
    rng = np.random.default_rng(0)
    odds = logit(np.full(6000, forecast)) + spread * rng.normal(size=6000)
    happened = rng.random(6000) < 0.5
    intercept, slope = fitted_line(expit(odds), happened)
    assert slope == pytest.approx(1, abs=0.2)
    assert expit(intercept + slope * logit(forecast)) == pytest.approx(happened.mean(), abs=1e-3)


def test_small_chances_that_are_far_off_are_corrected():
    rng = np.random.default_rng(0)
    forecast = rng.uniform(0.002, 0.02, 20_000)
    happened = rng.random(20_000) < expit(5 + logit(forecast))
    assert fitted_line(forecast, happened) == pytest.approx((5, 1), rel=0.1)


class Made:
    """Windows with the members that the fit reads."""

    def __init__(self, change: np.ndarray, cutoff: np.ndarray) -> None:
        self.change, self.cutoff, self.spec = change, cutoff, SPEC


class Forecasts:
    def __init__(self, probabilities: np.ndarray, frozen: np.ndarray) -> None:
        self.probabilities, self.frozen = probabilities, frozen


def made(distorted: float) -> tuple[Made, Forecasts]:
    """12,000 windows of 300 days whose true log odds of a move exceed the forecast ones by ``distorted``."""
    rng, count = np.random.default_rng(1), 12_000
    move, up = rng.uniform(0.2, 0.9, (count, 2)), rng.uniform(0.2, 0.8, (count, 2))
    moved = rng.random((count, 2)) < expit(distorted + logit(move))
    rises = rng.random((count, 2)) < up
    change = np.where(moved, np.where(rises, 0.01, -0.01), 0.0)
    cutoff = np.datetime64("2020-01-01") + np.repeat(np.arange(300), count // 300)
    return Made(change, cutoff), Forecasts(by_direction(move, up), np.zeros(count, dtype=bool))


def test_a_distorted_probability_is_corrected_and_a_good_one_left_alone():
    windows, forecasts = made(0.6)
    found = fit_calibration(windows, forecasts)
    assert found is not None and found.horizons == (1, 5)
    for line in found.move:
        assert line == pytest.approx((0.6, 1.0), abs=0.12)
    chances = np.array([[0.3, 0.7]])
    assert corrected(chances, found.up) == pytest.approx(chances, abs=0.02)


def test_unknown_outcomes_and_frozen_prices_are_not_learned_from():
    windows, forecasts = made(0.6)
    wanted = fit_calibration(windows, forecasts)
    late = windows.cutoff >= np.datetime64("2020-09-01")
    unknown = Made(np.where(late[:, None], np.nan, windows.change), windows.cutoff)
    frozen = Forecasts(forecasts.probabilities, late)
    assert fit_calibration(unknown, forecasts) == fit_calibration(windows, frozen) != wanted


def test_closes_after_the_validation_part_change_nothing():
    panel = made_panel(days=900)
    end = panel.dates[700]
    later = panel.frame["date"] > end
    planted = panel.frame.assign(close=panel.frame["close"] * np.where(later, 3.0, 1.0))
    found = []
    for frame in (panel.frame, planted):
        windows = make_windows(series_from_panel(Panel.from_frame(frame, panel.source), SYMBOLS), SPEC)
        limits = Boundaries(*(np.datetime64(day, "D") for day in (panel.dates[300], end, panel.dates[-1])))
        _, valid, _ = limits.parts(windows)
        outputs = np.random.default_rng(0).normal(0, 1, (len(valid), 2, OUTPUTS))
        # Far from the share that moves, but ordered like it: a line helps on every day.
        unsure = np.random.default_rng(1).random(valid.change.shape) < 0.3
        outputs[..., 1] = np.where((np.nan_to_num(valid.change) != 0) ^ unsure, 0.3, 0.25)
        assert (~frozen(valid)).sum() > 1000
        found.append(fit_calibration(valid, Residual.fit(valid).prices(valid, outputs)))
    assert found[0] == found[1]
    assert IDENTITY not in found[0].move


def test_a_forecast_without_probabilities_has_no_calibration():
    windows, forecasts = made(0.0)
    nothing = Forecasts(np.full_like(forecasts.probabilities, np.nan), forecasts.frozen)
    assert fit_calibration(windows, nothing) is None


def test_a_release_keeps_the_lines_in_its_general_model(tmp_path):
    release = made_release(tmp_path)
    general = json.loads((release.path / "general_residual" / "metadata.json").read_bytes())
    assert general["probability_calibration"]["horizons"] == general["window"]["horizons"]
    own = json.loads((release.path / "stock_specific_residual" / "MOVES" / "metadata.json").read_bytes())
    assert "probability_calibration" not in own
