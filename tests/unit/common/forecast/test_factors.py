"""Factors of forecast changes: what they do to prices, and how they are stored."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.prices.panel import SPEC, SYMBOLS, fake_network, made_panel
from support.training.backtest import UNIVERSE

from common.exchange.ticks import round_to_tick
from common.forecast.factors import Factors
from common.forecast.forecaster import ModelForecaster
from common.forecast.representation import Residual
from common.network.channels import frozen, sigma
from common.network.mixture import Mixture
from common.prices.series import series_from_panel
from common.prices.windows import make_windows

WINDOWS = make_windows(series_from_panel(made_panel(), SYMBOLS), SPEC)
KIND = Residual.fit(WINDOWS)
PLAIN = ModelForecaster(fake_network, KIND, {stock.symbol: stock.stock_id for stock in UNIVERSE.stocks})
OUTPUTS = PLAIN.outputs(WINDOWS)
FACTORS = Factors((1, 3, 7), (1.0, 0.4, 0.0), (1.2, 0.7, 0.0))


def test_factors_scale_the_log_change_before_rounding_and_leave_everything_else():
    scaled, plain = replace(PLAIN, factors=FACTORS).prices(WINDOWS, OUTPUTS), PLAIN.prices(WINDOWS, OUTPUTS)
    mixture, still = Mixture.from_outputs(OUTPUTS), frozen(WINDOWS)
    median, deviation = mixture.quantile(0.5), sigma(WINDOWS)
    for row in range(0, len(WINDOWS), 7):
        for h, days in enumerate(SPEC.horizons):
            last = WINDOWS.last_price[row]
            unit = 0 if still[row] else deviation[row] * days**0.5
            raw = last * np.exp(FACTORS.raw[h] * unit * np.clip(mixture.mean[row, h], -8, 8))
            middle = FACTORS.published[h] * unit * np.clip(median[row, h], -8, 8)
            published = round_to_tick(last * np.exp(middle)) if middle else last
            assert scaled.raw[row, h] == pytest.approx(raw, rel=1e-12)
            assert scaled.published[row, h] == pytest.approx(published, rel=1e-12)
    for name in ("last", "frozen", "p_move", "low", "high", "needed"):
        assert np.array_equal(getattr(scaled, name), getattr(plain, name), equal_nan=True), name


def test_a_horizon_whose_factor_is_0_is_published_at_the_last_price_and_says_so():
    prices, still = replace(PLAIN, factors=FACTORS).prices(WINDOWS, OUTPUTS), frozen(WINDOWS)
    assert np.array_equal(prices.by_model, np.stack([~still, ~still, np.zeros_like(still)], axis=1))
    assert np.array_equal(prices.published[:, 2], prices.last) and np.array_equal(
        prices.raw[:, 2], prices.last
    )


def test_factors_of_1_change_no_digit():
    ones = Factors((1, 3, 7), (1.0,) * 3, (1.0,) * 3)
    scaled, plain = replace(PLAIN, factors=ones).prices(WINDOWS, OUTPUTS), PLAIN.prices(WINDOWS, OUTPUTS)
    for name in ("raw", "published", "by_model", "low", "high"):
        assert np.array_equal(getattr(scaled, name), getattr(plain, name)), name


def test_with_factors_a_verdict_on_a_stock_is_not_used_and_without_them_it_is():
    judged = replace(PLAIN, trusted={"MOVES": False})
    rows = np.array(WINDOWS.series.symbols)[WINDOWS.symbol] == "MOVES"
    assert not judged.prices(WINDOWS, OUTPUTS).by_model[rows].any()
    assert replace(judged, factors=FACTORS).prices(WINDOWS, OUTPUTS).by_model[rows][:, :2].all()


def test_the_changes_that_factors_are_fitted_on_are_those_of_the_prices():
    changes, prices = KIND.changes(WINDOWS, OUTPUTS), PLAIN.prices(WINDOWS, OUTPUTS)
    last = prices.last[:, None]
    assert prices.raw == pytest.approx(last * np.exp(changes[..., 1]), rel=1e-12)
    rounded = np.where(changes[..., 0] == 0, last, round_to_tick(last * np.exp(changes[..., 0])))
    assert np.array_equal(prices.published, rounded)


def test_stored_factors_are_the_same_to_the_last_digit():
    factors = Factors((1, 5), (0.1 + 0.2, 1.0), (1 / 3, 1.3))
    assert Factors.from_dict(json.loads(json.dumps(factors.as_dict()))) == factors


@pytest.mark.parametrize(
    "change",
    [{"raw": [1.0]}, {"raw": [1.0, 1.31]}, {"published": [-0.1, 1.0]}, {"raw": [float("nan"), 1.0]}],
)
def test_altered_factors_are_refused(change):
    with pytest.raises(ValueError, match="factors"):
        Factors.from_dict(Factors((1, 5), (1.0, 1.0), (1.0, 1.0)).as_dict() | change)
