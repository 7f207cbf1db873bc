"""Simple forecasts to compare the networks with: the last price, and a random walk with drift."""

from dataclasses import dataclass

import numpy as np

from common.exchange.ticks import round_to_tick
from common.network.channels import frozen
from common.prices.series import Series
from common.prices.windows import Windows

NO_CHANGE = 1e-9
"""Smaller log changes are rounding errors and mean the last price."""


@dataclass(frozen=True)
class BaselineForecast:
    """Forecasts in KES for N windows and H horizons.

    Attributes
    ----------
    raw : float64, shape (N, H)
        For squared errors.
    published : float64, shape (N, H)
        For absolute errors; rounded to the tick, except where it equals the last price.
    failures : int
        Windows for which the model failed, so that the forecast is the last price.
    """

    raw: np.ndarray
    published: np.ndarray
    failures: int = 0


def naive(windows: Windows) -> BaselineForecast:
    """Forecast the last price at every horizon, the best forecast of a random walk (FPP3, section 5.2)."""
    return forecast_from(windows, np.zeros((len(windows), len(windows.spec.horizons))))


def drift(windows: Windows) -> BaselineForecast:
    """Forecast the last price plus the mean log return since the symbol's first row.

    With y the log price: y[T] + h (y[T] - y[1]) / (T - 1), over the entire history up to the cutoff. Source:
    Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, section 5.2, "drift
    method". Returns exclude corporate actions; the forecast of a frozen window is its last price.
    """
    first = windows.series.offsets[windows.symbol]
    slope = log_path(windows.series)[windows.end] / np.maximum(windows.end - first, 1)
    return forecast_from(windows, slope[:, None] * np.array(windows.spec.horizons))


def log_path(series: Series) -> np.ndarray:
    """Return each symbol's log price without corporate actions, 0 on its first row; float64, shape (R,).

    The sums run over each symbol alone, so that no value depends on a later row or another symbol.
    """
    path = np.empty(len(series.log_return))
    for first, last in zip(series.offsets[:-1], series.offsets[1:], strict=True):
        path[first:last] = np.cumsum(series.log_return[first:last].astype(np.float64))
    return path


def forecast_from(
    windows: Windows, change: np.ndarray, published: np.ndarray | None = None, failures: int = 0
) -> BaselineForecast:
    """Convert log changes, shape (N, H), to forecasts; those of ``published`` may differ from ``change``."""
    raw = _price(windows, change)
    rounded = raw if published is None else _price(windows, published)
    unchanged = rounded == windows.last_price[:, None]
    return BaselineForecast(raw, np.where(unchanged, rounded, round_to_tick(rounded)), failures)


def _price(windows: Windows, change: np.ndarray) -> np.ndarray:
    unchanged = frozen(windows)[:, None] | (np.abs(change) < NO_CHANGE)
    last = np.broadcast_to(windows.last_price[:, None], change.shape)
    return np.where(unchanged, last, last * np.exp(change))
