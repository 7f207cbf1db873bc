"""Simple rivals of the networks on the same windows: the last price, and a random walk with drift."""

from dataclasses import dataclass

import numpy as np

from common.exchange.ticks import round_to_tick
from common.network.channels import frozen
from common.prices.series import Series
from common.prices.windows import Windows

NO_CHANGE = 1e-9
"""Log changes smaller than this are rounding errors of "the last price"."""


@dataclass(frozen=True)
class BaselineForecast:
    """Forecasts in KES, aligned with the N windows and H horizons they were made for.

    Attributes
    ----------
    raw : float64, shape (N, H)
        For squared errors.
    published : float64, shape (N, H)
        For absolute errors; rounded to the tick, but exactly the last price where that is the forecast.
    failures : int
        Windows at which the model failed and the last price stands in.
    """

    raw: np.ndarray
    published: np.ndarray
    failures: int = 0


def naive(windows: Windows) -> BaselineForecast:
    """The last price at every horizon: the best forecast of a random walk (FPP3, section 5.2)."""
    return forecast_from(windows, np.zeros((len(windows), len(windows.spec.horizons))))


def drift(windows: Windows) -> BaselineForecast:
    """The last price, moved on by the mean log return since the symbol's first row.

    With y the log price: y[T] + h (y[T] - y[1]) / (T - 1), over all the history up to the cutoff. Source:
    Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, section 5.2, "drift
    method". Corporate actions are no returns; frozen windows keep their last price.
    """
    first = windows.series.offsets[windows.symbol]
    slope = log_path(windows.series)[windows.end] / np.maximum(windows.end - first, 1)
    return forecast_from(windows, slope[:, None] * np.array(windows.spec.horizons))


def log_path(series: Series) -> np.ndarray:
    """Each symbol's log price without its corporate actions, 0 on its first row; float64, shape (R,).

    Summed up symbol by symbol, so that no value depends on a later row or on another symbol.
    """
    path = np.empty(len(series.log_return))
    for first, last in zip(series.offsets[:-1], series.offsets[1:], strict=True):
        path[first:last] = np.cumsum(series.log_return[first:last].astype(np.float64))
    return path


def forecast_from(
    windows: Windows, change: np.ndarray, published: np.ndarray | None = None, failures: int = 0
) -> BaselineForecast:
    """Forecasts from log changes, shape (N, H); ``published`` may have its own. Frozen windows have none."""
    raw = _price(windows, change)
    rounded = raw if published is None else _price(windows, published)
    unchanged = rounded == windows.last_price[:, None]
    return BaselineForecast(raw, np.where(unchanged, rounded, round_to_tick(rounded)), failures)


def _price(windows: Windows, change: np.ndarray) -> np.ndarray:
    still = frozen(windows)[:, None] | (np.abs(change) < NO_CHANGE)
    last = np.broadcast_to(windows.last_price[:, None], change.shape)
    return np.where(still, last, last * np.exp(change))
