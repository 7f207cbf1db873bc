"""Scalers: fitted on the training part only, stored as JSON, read by serving without unpickling."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import BadPrices


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
        x, weight = np.where(known, x, 0), known.astype(np.float64)
        count = np.maximum(weight.sum(axis=(0, 1)), 1)
        mean = (x * weight).sum(axis=(0, 1)) / count
        spread = np.sqrt((((x - mean) ** 2) * weight).sum(axis=(0, 1)) / count)
        return cls(tuple(mean.tolist()), tuple(np.where(spread > 1e-8, spread, 1.0).tolist()))

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Standardise shape (..., C)."""
        mean, spread = np.array(self.mean, np.float32), np.array(self.spread, np.float32)
        scaled: np.ndarray = (x - mean) / spread
        return scaled

    def as_dict(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "spread": list(self.spread)}
