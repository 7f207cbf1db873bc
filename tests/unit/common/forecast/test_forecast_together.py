"""Windows of several models, forecast together: to the last digit as each of them alone."""

from dataclasses import fields, replace

import numpy as np
import pytest
from support.prices.panel import SPEC, made_panel

from common.forecast.factors import Factors
from common.forecast.forecaster import ModelForecaster, Network, forecast_together
from common.forecast.prices import Prices
from common.forecast.probabilities import ProbabilityCalibration
from common.forecast.representation import Residual
from common.network.scaling import ChannelScaler
from common.prices.series import series_from_panel
from common.prices.windows import Windows, make_windows

HORIZONS = SPEC.horizons
FACTORS = Factors(HORIZONS, *(tuple(np.linspace(low, 1.2, len(HORIZONS))) for low in (0.0, 0.7)))
LINES = ((0.1, 0.9),) * len(HORIZONS)


def network(shift: float) -> Network:
    """A network that computes each output from a window alone, element by element."""

    def run(x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        outputs = np.repeat(np.tanh(x[:, -1:] + shift + stock_id[..., None]), len(HORIZONS), axis=1)
        outputs[..., 1] = np.abs(outputs[..., 1])
        return outputs

    return run


@pytest.fixture(scope="module")
def models() -> list[ModelForecaster]:
    rng = np.random.default_rng(2)
    scaler = ChannelScaler(tuple(rng.normal(size=14)), tuple(rng.uniform(0.5, 2, size=14)))
    calibration = ProbabilityCalibration(HORIZONS, LINES, LINES)
    return [
        ModelForecaster(network(shift), Residual(scaler), ids, {"GAPS": shift > 0}, FACTORS, calibration)
        for shift, ids in ((0.0, {"GAPS": 1, "THIN": 2}), (0.3, {"GAPS": 1}), (-0.4, {}))
    ]


@pytest.fixture(scope="module")
def windows() -> Windows:
    panel = made_panel(200)
    every = make_windows(series_from_panel(panel, panel.symbols), SPEC)
    return every.take(np.random.default_rng(4).permutation(len(every))[:150])


def assert_same(one: Prices, other: Prices) -> None:
    for field in fields(Prices):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


def test_random_windows_of_several_models_have_the_prices_of_each_alone_and_of_a_backtest(models, windows):
    rng = np.random.default_rng(6)
    model = rng.integers(0, len(models), len(windows))
    levels = rng.uniform(0.5, 0.99, (*windows.counted.shape, 3))
    rows = [np.flatnonzero(model == number) for number in range(len(models))]
    together = forecast_together(list(zip(models, rows, strict=True)), windows, levels)
    for row in range(len(windows)):
        one = slice(row, row + 1)
        assert_same(models[model[row]].forecast(windows.take(one), levels[one]), together.take(one))
    for chosen, part in zip(models, rows, strict=True):
        assert_same(chosen.forecast(windows.take(part), levels[part]), together.take(part))


def test_models_with_other_scalers_factors_or_calibrations_are_refused(models, windows):
    first, second, _ = models
    levels, half = np.full((*windows.counted.shape, 3), 0.9), len(windows) // 2
    others = (
        {"representation": Residual(ChannelScaler((0.0,) * 14, (1.0,) * 14))},
        {"factors": replace(FACTORS, raw=FACTORS.published)},
        {"probability_calibration": None},
        {"factors": None},
    )
    for change in others:
        pair = [(first, np.arange(half)), (replace(second, **change), np.arange(half, len(windows)))]
        with pytest.raises(ValueError, match="Forecast each alone"):
            forecast_together(pair, windows, levels)


def test_without_factors_the_stocks_whose_model_is_trusted_must_be_the_same(models):
    first, second = (replace(model, factors=None) for model in models[:2])
    assert not first.is_like(second) and first.is_like(replace(second, trusted=first.trusted))
    assert models[0].is_like(models[1])
