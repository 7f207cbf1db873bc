"""Compute a window's volatility and the input channels of a network."""

from collections.abc import Iterator

import numpy as np

from common.exchange.ticks import tick
from common.prices.windows import Windows

CLIP = 8.0
SIGMA_RANGE = (0.005, 0.06)
BLOCK = 1024
"""Windows processed at a time."""
CHANNELS = (
    "return",
    "high",
    "low",
    "traded",
    "volume",
    "market",
    "level",
    "tick",
    "turnover",
    "breadth",
    "active",
    "range_known",
    "volume_known",
    "market_known",
)
MARKET = ("market", "breadth", "active", "market_known")
HIDDEN = {
    "closes_only": ("high", "low", "range_known", "traded", "volume", "turnover", "volume_known", *MARKET),
    "market": MARKET,
}
"""Channels that are hidden in training, by the kind of request that lacks them."""


def sigma(windows: Windows) -> np.ndarray:
    """Return the standard deviation of each window's daily log returns, clipped to .5-6 %, shape (N,)."""
    spread = np.empty(len(windows))
    for rows, part in blocks(windows):
        spread[rows] = np.clip(part.cut(part.series.log_return)[:, 1:].std(axis=1), *SIGMA_RANGE)
    return spread


def frozen(windows: Windows) -> np.ndarray:
    """Return whether the price never moved inside each window, shape (N,)."""
    still = np.empty(len(windows), dtype=bool)
    for rows, part in blocks(windows):
        still[rows] = ~(part.cut(part.series.log_return)[:, 1:] != 0).any(axis=1)
    return still


def blocks(windows: Windows) -> Iterator[tuple[slice, Windows]]:
    """Yield the windows in blocks with their rows, which bounds memory and suits the CPU cache."""
    for start in range(0, max(len(windows), 1), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, windows.take(rows)


def raw_channels(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return the channels before standardising and the mask of known entries, both (N, days, 14).

    They are those of the days that the network reads, at the end of each window.
    """
    days = windows.spec.days
    shape = (len(windows), days, len(CHANNELS))
    x, known = np.zeros(shape, dtype=np.float32), np.ones(shape, dtype=bool)
    for rows, part in blocks(windows):
        values, masks = _channels(part)
        for channel, name in enumerate(CHANNELS):
            if name in masks:
                known[rows, :, channel] = masks[name][:, -days:]
            x[rows, :, channel] = np.where(known[rows, :, channel], values[name][:, -days:], 0)
    return x, known


def _channels(windows: Windows) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return values by channel, and masks of the known entries of channels with gaps; each (N, size)."""
    series = windows.series
    spread = sigma(windows)[:, None].astype(np.float32)
    returns = windows.cut(series.log_return)
    returns[:, 0] = 0
    path = np.cumsum(returns, axis=1)
    high, low, close = windows.cut(series.log_high), windows.cut(series.log_low), windows.cut(series.close)
    volume, market = windows.cut(series.log_volume), windows.cut(series.market)
    range_known = np.isfinite(high) & np.isfinite(low)
    breadth, active = windows.cut(series.breadth), windows.cut(series.active)
    volume_known, market_known = np.isfinite(volume), np.isfinite(market)
    traded = volume_known & (volume > 0)
    usual = np.where(traded, volume, 0).sum(axis=1) / np.maximum(traded.sum(axis=1), 1)
    clipped = {
        "return": returns / spread,
        "high": high / spread,
        "low": low / spread,
        "market": market * 100,
        "breadth": breadth * 100,
        "level": (path - path[:, -1:]) / (spread * np.sqrt(windows.spec.size)),
        "tick": np.log(tick(np.round(close * 100)) / (100 * close) / spread),
    }
    values = {name: np.clip(value, -CLIP, CLIP) for name, value in clipped.items()} | {
        "traded": traded,
        "volume": volume - usual[:, None],
        "turnover": np.log1p(np.expm1(volume) * close),
        "active": active,
        "range_known": range_known,
        "volume_known": volume_known,
        "market_known": market_known,
    }
    masks = {
        "high": range_known,
        "low": range_known,
        "traded": volume_known,
        "volume": traded,
        "turnover": volume_known,
        "market": market_known,
        "breadth": np.isfinite(breadth),
        "active": np.isfinite(active),
    }
    return values, masks
