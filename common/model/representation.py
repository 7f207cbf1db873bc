"""What a network sees and predicts, and the way back to KES: one code path for training and serving."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np

from common.data.series import Series
from common.data.ticks import round_to_tick, tick
from common.data.windows import Windows
from common.errors import BundleError
from common.model.conformal import LEVELS
from common.model.mixture import OUTPUTS, Mixture
from common.model.scaling import ChannelScaler, LogPriceScaler

CLIP = 8.0
SIGMA_RANGE = (0.005, 0.06)
BLOCK = 1024
"""Windows that are worked on at a time."""


@dataclass(frozen=True)
class Prices:
    """A forecast in KES for N windows and H horizons.

    Attributes
    ----------
    last, frozen : shape (N,)
        Close at the cutoff; whether the price never moved inside the window.
    raw, published : shape (N, H)
        The mean, and the median rounded to the tick.
    p_move : shape (N, H), NaN where the representation has none
    low, high : shape (N, H, 3), bounds of the intervals at ``LEVELS``; NaN where there are none
    needed : shape (N, H), level of the smallest interval that holds what happened; NaN where unknown
    by_model : bool, shape (N, H)
        The published price is the model's; else it is the last price, because the price stood still all
        along or the model did not beat it on validation.
    """

    last: np.ndarray
    frozen: np.ndarray
    raw: np.ndarray
    published: np.ndarray
    p_move: np.ndarray
    low: np.ndarray
    high: np.ndarray
    needed: np.ndarray
    by_model: np.ndarray

    @classmethod
    def joined(cls, parts: list["Prices"]) -> "Prices":
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class Representation(Protocol):
    """How windows become network inputs and targets, and outputs become prices."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def hidden(self) -> dict[str, tuple[str, ...]]: ...

    @property
    def outputs(self) -> int: ...

    def inputs(self, windows: Windows) -> np.ndarray: ...

    def targets(self, windows: Windows) -> np.ndarray: ...

    def prices(self, windows: Windows, outputs: np.ndarray, asked: np.ndarray | None = None) -> Prices: ...

    def as_dict(self) -> dict[str, Any]: ...


def sigma(windows: Windows) -> np.ndarray:
    """Spread of the daily log returns inside each window, clipped to .5-6 %, shape (N,)."""
    spread = np.empty(len(windows))
    for place, part in _blocks(windows):
        spread[place] = np.clip(part.cut(part.series.log_return)[:, 1:].std(axis=1), *SIGMA_RANGE)
    return spread


def frozen(windows: Windows) -> np.ndarray:
    """Whether the price never moved inside the window, shape (N,)."""
    still = np.empty(len(windows), dtype=bool)
    for place, part in _blocks(windows):
        still[place] = ~(part.cut(part.series.log_return)[:, 1:] != 0).any(axis=1)
    return still


def _blocks(windows: Windows) -> Iterator[tuple[slice, Windows]]:
    """The windows some at a time: what is cut from them stays in the processor's cache, and is bounded."""
    for start in range(0, max(len(windows), 1), BLOCK):
        place = slice(start, start + BLOCK)
        yield place, windows.take(place)


@dataclass(frozen=True)
class Residual:
    """The volatility-scaled change from the last price, as a mixture.

    Target: log(P[t+h] / P[t]) / (sigma * sqrt(h)), clipped to +-8; so a network that says 0 says
    "the last price".
    """

    scaler: ChannelScaler
    name = "residual"
    channels = (
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
    hidden: ClassVar[dict[str, tuple[str, ...]]] = {
        "closes_only": (
            "high",
            "low",
            "range_known",
            "traded",
            "volume",
            "turnover",
            "volume_known",
            "market",
            "breadth",
            "active",
            "market_known",
        ),
        "market": ("market", "breadth", "active", "market_known"),
    }
    outputs = OUTPUTS

    @classmethod
    def fit(cls, train: Windows) -> "Residual":
        """Fit the channel scaler on training windows (at most 20,000 of them, evenly spaced)."""
        chosen = np.unique(np.linspace(0, len(train) - 1, min(len(train), 20_000)).astype(np.int64))
        return cls(ChannelScaler.fit(*_raw_channels(train.take(chosen))))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Residual":
        mean, spread = (tuple(map(float, stored[name])) for name in ("mean", "spread"))
        if not len(mean) == len(spread) == len(cls.channels):
            raise ValueError(f"{len(mean)} means, {len(spread)} spreads, need {len(cls.channels)} of each")
        return cls(ChannelScaler(mean, spread))

    def as_dict(self) -> dict[str, Any]:
        return {"representation": self.name, **self.scaler.as_dict()}

    def inputs(self, windows: Windows) -> np.ndarray:
        """float32, shape (N, size, 14); an unknown entry is 0, the channel's mean, and so flagged."""
        x = np.empty((len(windows), windows.spec.size, len(self.channels)), dtype=np.float32)
        flags = self.channels.index("range_known")
        scaler = ChannelScaler(self.scaler.mean[:flags], self.scaler.spread[:flags])
        for place, part in _blocks(windows):
            raw, known = _raw_channels(part)
            x[place, :, :flags] = np.where(known[..., :flags], scaler.transform(raw[..., :flags]), 0)
            x[place, :, flags:] = raw[..., flags:]
        return x

    def targets(self, windows: Windows) -> np.ndarray:
        """float32, shape (N, H): scaled changes; NaN where there is no target."""
        scale = sigma(windows)[:, None] * np.sqrt(windows.spec.horizons)
        scaled: np.ndarray = np.clip(windows.change / scale, -CLIP, CLIP).astype(np.float32)
        return scaled

    def prices(self, windows: Windows, outputs: np.ndarray, asked: np.ndarray | None = None) -> Prices:
        """Outputs (N, H, 14) to KES, with intervals at the levels ``asked`` (N, H, 3), default ``LEVELS``."""
        asked = np.broadcast_to(LEVELS, (*outputs.shape[:2], len(LEVELS))) if asked is None else asked
        parts = [self._prices(part, outputs[place], asked[place]) for place, part in _blocks(windows)]
        return parts[0] if len(parts) == 1 else Prices.joined(parts)

    def _prices(self, windows: Windows, outputs: np.ndarray, asked: np.ndarray) -> Prices:
        mixture = Mixture.from_outputs(outputs)
        last, still = windows.last_price, frozen(windows)
        scale = sigma(windows)[:, None] * np.sqrt(windows.spec.horizons)

        half = np.moveaxis(asked, -1, 0) / 2
        median = np.full((1, *outputs.shape[:2]), 0.5)
        levels = np.concatenate([0.5 - half, 0.5 + half, median])
        change = np.concatenate([mixture.quantile(levels), mixture.mean[None]])
        change = np.where(still[:, None], 0.0, np.clip(change, -CLIP, CLIP))
        price = np.where(change == 0, last[:, None], last[:, None] * np.exp(scale * change))
        *bounds, middle, mean = price
        published = np.where(middle == last[:, None], middle, round_to_tick(middle))
        needed = mixture.needed_level(windows.change / scale)
        return Prices(
            last=last,
            frozen=still,
            raw=mean,
            published=published,
            p_move=np.where(still[:, None], 0.0, mixture.p_move),
            low=np.stack(bounds[: len(LEVELS)], axis=-1),
            high=np.stack(bounds[len(LEVELS) :], axis=-1),
            needed=np.where(still[:, None], np.nan, needed),
            by_model=np.repeat(~still[:, None], outputs.shape[1], axis=1),
        )


def _raw_channels(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Channels before standardising and the mask of known entries, both (N, size, 14)."""
    shape = (len(windows), windows.spec.size, len(Residual.channels))
    x, known = np.zeros(shape, dtype=np.float32), np.ones(shape, dtype=bool)
    for place, part in _blocks(windows):
        values, there = _channels(part)
        for number, name in enumerate(Residual.channels):
            known[place, :, number] = there.get(name, True)
            x[place, :, number] = np.where(known[place, :, number], values[name], 0)
    return x, known


def _channels(windows: Windows) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values by channel, and which of them are known where not all are; each (N, size)."""
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
    there = {
        "high": range_known,
        "low": range_known,
        "traded": volume_known,
        "volume": traded,
        "turnover": volume_known,
        "market": market_known,
        "breadth": np.isfinite(breadth),
        "active": np.isfinite(active),
    }
    return values, there


@dataclass(frozen=True)
class Level:
    """The original v4 design: the min-max-scaled log close in, the scaled log close ahead out."""

    scalers: dict[str, LogPriceScaler]
    name = "level"
    channels = ("scaled_log_close",)
    hidden: ClassVar[dict[str, tuple[str, ...]]] = {}
    outputs = 1

    @classmethod
    def fit(cls, series: Series, train_end: np.datetime64) -> "Level":
        """One scaler per symbol over its closes up to ``train_end``; a symbol with none gets none."""
        scalers = {}
        for symbol in series.symbols:
            rows = series.rows(symbol)
            past = series.dates[rows] <= train_end
            if past.any():
                scalers[symbol] = LogPriceScaler.fit(
                    series.close[rows][past], symbol=symbol, dates=series.dates[rows][past]
                )
        return cls(scalers)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Level":
        return cls({symbol: LogPriceScaler(**bounds) for symbol, bounds in stored["scalers"].items()})

    def as_dict(self) -> dict[str, Any]:
        scalers = {symbol: scaler.as_dict() for symbol, scaler in self.scalers.items()}
        return {"representation": self.name, "scalers": scalers}

    def inputs(self, windows: Windows) -> np.ndarray:
        """float32, shape (N, size, 1)."""
        scaled = self._scaler(windows).transform(windows.cut(windows.series.close))
        return scaled[..., None].astype(np.float32)

    def targets(self, windows: Windows) -> np.ndarray:
        """float32, shape (N, H): scaled log closes ahead; NaN where there is no target."""
        return self._scaler(windows).transform(windows.actual).astype(np.float32)

    def prices(self, windows: Windows, outputs: np.ndarray, asked: np.ndarray | None = None) -> Prices:
        """Outputs (N, H, 1) to KES; published is the same number rounded to the tick; no intervals."""
        last, still = windows.last_price, frozen(windows)
        raw = np.where(still[:, None], last[:, None], self._scaler(windows).inverse(outputs[..., 0]))
        none = np.full(raw.shape, np.nan)
        bounds = np.repeat(none[..., None], len(LEVELS), axis=-1)
        published = np.where(still[:, None], raw, round_to_tick(raw))
        by_model = np.broadcast_to(~still[:, None], raw.shape)
        return Prices(last, still, raw, published, none, bounds, bounds, none, by_model)

    def _scaler(self, windows: Windows) -> LogPriceScaler:
        """Each window's scaler, shape (N, 1); a symbol that was never fitted takes the window's own range."""
        none = LogPriceScaler(np.nan, np.nan)
        fitted = [self.scalers.get(symbol, none) for symbol in windows.series.symbols]
        bounds = np.array([(scaler.low, scaler.high) for scaler in fitted])[windows.symbol]
        strange = np.isnan(bounds[:, 0])
        if strange.any():
            log_close = np.log(windows.take(strange).cut(windows.series.close))
            bounds[strange] = np.stack([log_close.min(axis=1), log_close.max(axis=1)], axis=1)
        return LogPriceScaler(bounds[:, :1], bounds[:, 1:])


def representation_from_dict(stored: dict[str, Any]) -> Representation:
    """Rebuild what ``as_dict`` gave; raises BundleError on an unknown kind or missing numbers."""
    kinds = {kind.name: kind for kind in (Residual, Level)}
    try:
        return kinds[stored["representation"]].from_dict(stored)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BundleError(
            f"scaler: cannot read it ({type(error).__name__}: {error}); known representations: "
            f"{', '.join(kinds)}. Publish the release again."
        ) from None
