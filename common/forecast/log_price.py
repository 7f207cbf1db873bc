"""The original design, kept for comparison: it predicts scaled prices instead of changes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.exchange.ticks import round_to_tick
from common.forecast.conformal import LEVELS
from common.forecast.prices import Prices
from common.forecast.probabilities import DIRECTIONS
from common.network.channels import frozen
from common.network.scaling import LogPriceScaler
from common.prices.series import Series
from common.prices.windows import Windows


@dataclass(frozen=True)
class LogPrice:
    """The original v4 design: inputs and outputs are min-max-scaled log closes."""

    scalers: dict[str, LogPriceScaler]
    name = "level"
    channels = ("scaled_log_close",)
    hidden: ClassVar[dict[str, tuple[str, ...]]] = {}
    outputs = 1

    @classmethod
    def fit(cls, series: Series, train_end: np.datetime64) -> "LogPrice":
        """Fit one scaler per symbol on its closes up to ``train_end``; a symbol without any gets none."""
        scalers = {}
        for symbol in series.symbols:
            rows = series.rows(symbol)
            past = series.dates[rows] <= train_end
            if past.any():
                scalers[symbol] = LogPriceScaler.fit(series.close[rows][past])
        return cls(scalers)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "LogPrice":
        return cls({symbol: LogPriceScaler(**bounds) for symbol, bounds in stored["scalers"].items()})

    def as_dict(self) -> dict[str, Any]:
        scalers = {symbol: scaler.as_dict() for symbol, scaler in self.scalers.items()}
        return {"representation": self.name, "scalers": scalers}

    def inputs(self, windows: Windows) -> np.ndarray:
        """Return scaled log closes, float32, shape (N, days, 1)."""
        closes = windows.cut(windows.series.close)[:, -windows.spec.days :]
        scaled = self._scaler(windows).transform(closes)
        return scaled[..., None].astype(np.float32)

    def targets(self, windows: Windows) -> np.ndarray:
        """Return scaled log closes ahead, float32, shape (N, H); NaN where there is no target."""
        return self._scaler(windows).transform(windows.actual).astype(np.float32)

    def prices(
        self,
        windows: Windows,
        outputs: np.ndarray,
        levels: np.ndarray | None = None,
        factors: np.ndarray | None = None,
    ) -> Prices:
        """Convert outputs (N, H, 1) to KES; the published price is the raw one rounded to the tick.

        There are no intervals, so ``levels`` is ignored, and ``factors`` too: none are fitted for it.
        """
        last, still = windows.last_price, frozen(windows)
        raw = np.where(still[:, None], last[:, None], self._scaler(windows).inverse(outputs[..., 0]))
        none = np.full(raw.shape, np.nan)
        bounds = np.repeat(none[..., None], len(LEVELS), axis=-1)
        published = np.where(still[:, None], raw, round_to_tick(raw))
        by_model = np.broadcast_to(~still[:, None], raw.shape)
        unknown = np.repeat(none[..., None], len(DIRECTIONS), axis=-1)
        return Prices(last, still, raw, published, none, bounds, bounds, none, by_model, unknown)

    def _scaler(self, windows: Windows) -> LogPriceScaler:
        """Return scalers of shape (N, 1); a symbol that has none is scaled by its window's own range."""
        none = LogPriceScaler(np.nan, np.nan)
        fitted = [self.scalers.get(symbol, none) for symbol in windows.series.symbols]
        bounds = np.array([(scaler.low, scaler.high) for scaler in fitted])[windows.symbol]
        unknown = np.isnan(bounds[:, 0])
        if unknown.any():
            log_close = np.log(windows.take(unknown).cut(windows.series.close))
            bounds[unknown] = np.stack([log_close.min(axis=1), log_close.max(axis=1)], axis=1)
        return LogPriceScaler(bounds[:, :1], bounds[:, 1:])
