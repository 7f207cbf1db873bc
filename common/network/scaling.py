"""Scalers, which are fitted on the training part only and stored as JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK = 1024
"""Windows summed at a time."""


@dataclass(frozen=True)
class LogPriceScaler:
    """Scale the natural log of a price in KES to 0..1 by its range over the training part.

    A flat series maps to 0, and 0 maps back to its price.
    """

    low: float | np.ndarray
    high: float | np.ndarray
    """Smallest and largest log price; arrays scale several series at once."""

    @classmethod
    def fit(cls, close: np.ndarray) -> "LogPriceScaler":
        """Fit on at least one close in KES, shape (T,); a panel's closes are positive."""
        logs = np.log(close)
        return cls(float(logs.min()), float(logs.max()))

    @property
    def span(self) -> np.ndarray:
        return np.where(self.high > self.low, np.subtract(self.high, self.low), 1.0)

    def transform(self, close: np.ndarray) -> np.ndarray:
        """Convert KES to scaled log prices, same shape."""
        scaled: np.ndarray = (np.log(close) - self.low) / self.span
        return scaled

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Convert scaled log prices to KES, same shape."""
        close: np.ndarray = np.exp(np.asarray(scaled, dtype=np.float64) * self.span + self.low)
        return close

    def as_dict(self) -> dict[str, float]:
        return {"low": float(self.low), "high": float(self.high)}


@dataclass(frozen=True)
class ChannelScaler:
    """Scale each channel to zero mean and unit spread over the known entries of the training part."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def fit(cls, x: np.ndarray, known: np.ndarray) -> "ChannelScaler":
        """Fit on windows ``x`` and their ``known`` mask, both shape (N, size, C)."""
        count = np.maximum(known.sum(axis=(0, 1), dtype=np.float64), 1)
        mean = _summed(x, known, lambda values: values) / count
        spread = np.sqrt(_summed(x, known, lambda values: (values - mean) ** 2) / count)
        return cls(tuple(mean.tolist()), tuple(np.where(spread > 1e-8, spread, 1.0).tolist()))

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Standardise shape (..., C)."""
        mean, spread = np.array(self.mean, np.float32), np.array(self.spread, np.float32)
        scaled: np.ndarray = (x - mean) / spread
        return scaled

    def as_dict(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "spread": list(self.spread)}


def _summed(x: np.ndarray, known: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Sum a function of the known entries by channel, in float64.

    Adding row after row keeps the result independent of the block size.
    """
    total = np.zeros((1, x.shape[-1]))
    for start in range(0, len(x), BLOCK):
        part, mask = x[start : start + BLOCK], known[start : start + BLOCK]
        values = of(np.where(mask, part, 0)) * mask.astype(np.float64)
        total = np.concatenate([total, values.reshape(-1, x.shape[-1])]).sum(axis=0, keepdims=True)
    summed: np.ndarray = total[0]
    return summed
