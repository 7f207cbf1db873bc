"""Windows, prices and network outputs for the tests of the representations."""

import numpy as np
import pandas as pd

from common.forecast.representation import Residual
from common.network.mixture import OUTPUTS
from common.network.scaling import ChannelScaler
from common.presets import WindowSpec
from common.prices.market_days import UNKNOWN_MARKET
from common.prices.series import series_from_histories, series_from_panel
from common.prices.windows import Windows, last_window, make_windows
from support.prices.panel import SPEC, SYMBOLS, made_panel

SMALL = WindowSpec(size=10, horizons=(1, 5))
PANEL_WINDOWS = make_windows(series_from_panel(made_panel(), SYMBOLS), SPEC)
RESIDUAL = Residual.fit(PANEL_WINDOWS)
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


def slow_tick(price: float) -> float:
    """The exchange's table."""
    for below, step in ((5, 0.01), (10, 0.02), (50, 0.05), (500, 0.25)):
        if price < below:
            return step
    return 1.0
