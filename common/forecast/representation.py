"""Convert windows to network inputs and targets, and outputs to KES, for training and serving alike."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import BundleError
from common.exchange.ticks import round_to_tick
from common.forecast.conformal import LEVELS
from common.forecast.log_price import LogPrice
from common.forecast.prices import Prices
from common.forecast.probabilities import by_direction
from common.network.channels import CHANNELS, CLIP, HIDDEN, blocks, frozen, raw_channels, sigma
from common.network.mixture import OUTPUTS, Mixture
from common.network.scaling import ChannelScaler
from common.prices.windows import Windows, evenly


@dataclass(frozen=True)
class Residual:
    """The volatility-scaled change from the last price, as a mixture.

    The target is log(P[t+h] / P[t]) / (sigma * sqrt(h)), clipped to +-8. An output of 0 forecasts the last
    price.
    """

    scaler: ChannelScaler
    name = "residual"
    channels = CHANNELS
    hidden: ClassVar[dict[str, tuple[str, ...]]] = HIDDEN
    outputs = OUTPUTS

    @classmethod
    def fit(cls, train: Windows) -> "Residual":
        """Fit the channel scaler on at most 20,000 training windows, evenly spaced."""
        return cls(ChannelScaler.fit(*raw_channels(evenly(train, 20_000))))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Residual":
        mean, spread = (tuple(map(float, stored[name])) for name in ("mean", "spread"))
        if not len(mean) == len(spread) == len(cls.channels):
            raise ValueError(f"{len(mean)} means, {len(spread)} spreads, need {len(cls.channels)} of each")
        if not np.isfinite([mean, spread]).all() or min(spread) <= 0:
            raise ValueError("need finite means and positive spreads")
        return cls(ChannelScaler(mean, spread))

    def as_dict(self) -> dict[str, Any]:
        return {"representation": self.name, **self.scaler.as_dict()}

    def inputs(self, windows: Windows) -> np.ndarray:
        """Return scaled channels, float32, shape (N, days, 14); unknown entries are 0 and flagged."""
        x = np.empty((len(windows), windows.spec.days, len(self.channels)), dtype=np.float32)
        flags = self.channels.index("range_known")
        scaler = ChannelScaler(self.scaler.mean[:flags], self.scaler.spread[:flags])
        for rows, part in blocks(windows):
            raw, known = raw_channels(part)
            x[rows, :, :flags] = np.where(known[..., :flags], scaler.transform(raw[..., :flags]), 0)
            x[rows, :, flags:] = raw[..., flags:]
        return x

    def targets(self, windows: Windows) -> np.ndarray:
        """Return scaled changes, float32, shape (N, H); NaN where there is no target."""
        scale = sigma(windows)[:, None] * np.sqrt(windows.spec.horizons)
        scaled: np.ndarray = np.clip(windows.change / scale, -CLIP, CLIP).astype(np.float32)
        return scaled

    def prices(
        self,
        windows: Windows,
        outputs: np.ndarray,
        levels: np.ndarray | None = None,
        factors: np.ndarray | None = None,
    ) -> Prices:
        """Convert outputs (N, H, 14) to KES.

        Parameters
        ----------
        levels : shape (N, H, 3), levels of the intervals, default ``LEVELS``
        factors : shape (H, 2), what the changes of the published and of the raw price are multiplied by
            before rounding, see `Factors`; default: 1. The intervals do not depend on them.
        """
        if levels is None:
            levels = np.broadcast_to(LEVELS, (*outputs.shape[:2], len(LEVELS)))
        if factors is None:
            factors = np.ones((outputs.shape[1], 2))
        parts = [self._prices(part, outputs[rows], levels[rows], factors) for rows, part in blocks(windows)]
        return Prices.joined(parts)

    def _prices(
        self, windows: Windows, outputs: np.ndarray, levels: np.ndarray, factors: np.ndarray
    ) -> Prices:
        mixture = Mixture.from_outputs(outputs)
        last, still = windows.last_price, frozen(windows)
        scale = sigma(windows)[:, None] * np.sqrt(windows.spec.horizons)

        half = np.moveaxis(levels, -1, 0) / 2
        median = np.full((1, *outputs.shape[:2]), 0.5)
        taus = np.concatenate([0.5 - half, 0.5 + half, median])
        change = np.concatenate([mixture.quantile(taus), mixture.mean[None]])
        change = np.where(still[:, None], 0.0, np.clip(change, -CLIP, CLIP))
        change[-2:] *= factors.T[:, None]
        price = np.where(change == 0, last[:, None], last[:, None] * np.exp(scale * change))
        *bounds, middle, mean = price
        published = np.where(middle == last[:, None], middle, round_to_tick(middle))
        needed = np.full(outputs.shape[:2], np.nan)
        if windows.counted.any():  # a served forecast has no targets
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
            by_model=~still[:, None] & (factors[:, 0] > 0),
            probabilities=np.where(
                still[:, None, None], (0.0, 1.0, 0.0), by_direction(mixture.p_move, mixture.up_given_move)
            ),
        )

    def changes(self, windows: Windows, outputs: np.ndarray) -> np.ndarray:
        """Return the log changes of the published price, before rounding, and of the raw price: (N, H, 2).

        They are what `prices` multiplies by ``factors``.
        """
        changes = np.empty((*outputs.shape[:2], 2))
        for rows, part in blocks(windows):
            mixture = Mixture.from_outputs(outputs[rows])
            scale = sigma(part)[:, None] * np.sqrt(part.spec.horizons)
            change = np.clip(np.stack([mixture.quantile(0.5), mixture.mean], axis=-1), -CLIP, CLIP)
            changes[rows] = np.where(frozen(part)[:, None, None], 0.0, scale[..., None] * change)
        return changes


Representation = Residual | LogPrice
"""How windows become network inputs and targets, and outputs become prices."""


def representation_from_dict(stored: dict[str, Any]) -> Representation:
    """Rebuild a representation from its ``as_dict``; BundleError on an unknown kind or missing numbers."""
    kinds = {kind.name: kind for kind in (Residual, LogPrice)}
    try:
        return kinds[stored["representation"]].from_dict(stored)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BundleError(
            f"scaler: cannot read it ({type(error).__name__}: {error}); known representations: "
            f"{', '.join(kinds)}. Publish the release again."
        ) from None
