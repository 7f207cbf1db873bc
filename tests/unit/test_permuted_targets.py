"""A network learns what is there to learn, and nothing once the outcomes are shuffled among the windows."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from support.prices.panel import history

from common.forecast.forecaster import ModelForecaster
from common.forecast.representation import Residual
from common.presets import FitConfig, NetworkConfig, NetworkShape, WindowSpec
from common.prices.market_days import UNKNOWN_MARKET
from common.prices.series import Series, series_from_histories
from common.prices.windows import Boundaries, Windows, make_windows
from common.scoring.forecast_errors import errors
from train.fit.fit import FitData, fit
from train.fit.loop import EpochLoop

SPEC = WindowSpec(size=12, horizons=(1,))
IDS = {"AAA": 1, "BBB": 2, "CCC": 3}
CONFIG = FitConfig(batch_size=64, epochs=10, learning_rate=0.02, patience=10, closes_only_rate=0.0)


def series() -> Series:
    """Three stocks that rise tomorrow where today's close is low in its range, and fall where it is high."""
    histories = {}
    for symbol in IDS:
        rng = np.random.default_rng([7, *map(ord, symbol)])
        sign = rng.choice([-1.0, 1.0], 420)
        returns = 0.02 * np.roll(sign, 1) + rng.normal(0, 0.005, 420)
        close = 20 * np.exp(np.cumsum(returns))
        high, low = close * np.exp(0.012 + 0.01 * sign), close * np.exp(-0.012 + 0.01 * sign)
        histories[symbol] = history(close, low=low, high=high, volume=np.full(420, 1e4))
    return series_from_histories(histories, UNKNOWN_MARKET)


@dataclass(frozen=True)
class Shuffled(Windows):
    """Windows with the outcomes of others."""

    outcome: np.ndarray

    @property
    def change(self) -> np.ndarray:
        return self.outcome

    def take(self, chosen: np.ndarray) -> "Shuffled":
        return replace(super().take(chosen), outcome=self.outcome[chosen])


def shuffled(windows: Windows) -> Windows:
    order = np.random.default_rng(5).permutation(len(windows))
    return Shuffled(*(getattr(windows, field.name) for field in fields(windows)), windows.change[order])


def skill(change_outcomes, tmp_path) -> tuple[float, float]:
    """(relMAE, relRMSE) on the test part of a network trained on those outcomes."""
    windows = make_windows(series(), SPEC)
    days = np.unique(windows.series.dates)
    parts = Boundaries(days[260], days[330], days[-1]).parts(windows)
    train, valid, test = (change_outcomes(part) for part in parts)
    data = FitData(train, valid, Residual.fit(train), IDS)
    shape = NetworkShape(size=12, channels=len(Residual.channels), days=(1,), stock_ids=4, mixture=True)
    network = NetworkConfig(embedding_dim=2, lstm_units=(8, 8), dense_units=8, dropout=0.0)
    loop = EpochLoop(shape, network, batch_size=64, clipnorm=1.0, unknown_id_rate=0.0, masking=())
    loop.network.set_weights(fit(loop, data, CONFIG, seed=1, state_path=tmp_path / "state.npz").best)
    prices = ModelForecaster(loop.predict, data.representation, IDS).forecast(test)
    actual = prices.last * np.exp(test.change[:, 0])
    result = errors(last=prices.last, raw=prices.raw[:, 0], published=prices.published[:, 0], actual=actual)
    return result.rel_mae, result.rel_rmse


def test_a_signal_that_is_there_is_learnt(tmp_path):
    assert max(skill(lambda windows: windows, tmp_path)) < 0.5


def test_permuted_outcomes_score_like_naive(tmp_path):
    assert skill(shuffled, tmp_path) == pytest.approx((1.0, 1.0), abs=0.05)
