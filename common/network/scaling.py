"""Scalers: fitted on the training part only, stored as JSON, read by serving without unpickling."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import BadPrices

BLOCK = 1024
"""Windows that are summed up at a time."""


@dataclass(frozen=True)
class LogPriceScaler:
    """Natural log of a price in KES, then min-max to 0..1 over the training part.

    A flat series maps to 0 and back to its one price.
    """

    low: float | np.ndarray
    high: float | np.ndarray
    """Smallest and largest log price; arrays scale several series at once."""

    @classmethod
    def fit(
        cls, close: np.ndarray, *, symbol: str = "?", dates: np.ndarray | None = None
    ) -> "LogPriceScaler":
        """Fit on closes in KES, shape (T,).

        Raises
        ------
        BadPrices
            If there is none, or one is zero, negative or NaN: names the symbol and the date.
        """
        close = np.asarray(close, dtype=np.float64)
        bad = ~(np.isfinite(close) & (close > 0))
        if bad.any() or not len(close):
            row = int(bad.argmax()) if len(close) else 0
            when = f" on {dates[row]}" if dates is not None and len(close) else f" at position {row}"
            got = f"{close[row]}{when}" if len(close) else "no price at all"
            raise BadPrices(
                f"{symbol}: a log scale needs prices above zero, got {got}. Correct or drop that row.",
                symbol=symbol,
                row=row,
            )
        logs = np.log(close)
        return cls(float(logs.min()), float(logs.max()))

    @property
    def span(self) -> np.ndarray:
        return np.where(self.high > self.low, np.subtract(self.high, self.low), 1.0)

    def transform(self, close: np.ndarray) -> np.ndarray:
        """KES to scaled log price, same shape."""
        scaled: np.ndarray = (np.log(close) - self.low) / self.span
        return scaled

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled log price to KES, same shape."""
        close: np.ndarray = np.exp(np.asarray(scaled, dtype=np.float64) * self.span + self.low)
        return close

    def as_dict(self) -> dict[str, float]:
        return {"low": float(self.low), "high": float(self.high)}


@dataclass(frozen=True)
class ChannelScaler:
    """Zero mean and unit spread of each window channel, over the known entries of the training part."""

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
    """Sums of a function of the known entries by channel, float64: row after row, as in one piece."""
    total = np.zeros((1, x.shape[-1]))
    for start in range(0, len(x), BLOCK):
        part, there = x[start : start + BLOCK], known[start : start + BLOCK]
        values = of(np.where(there, part, 0)) * there.astype(np.float64)
        total = np.concatenate([total, values.reshape(-1, x.shape[-1])]).sum(axis=0, keepdims=True)
    summed: np.ndarray = total[0]
    return summed
