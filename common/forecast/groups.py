"""Groups of windows that share the levels of their intervals."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.network.channels import blocks, frozen, sigma
from common.prices.windows import Windows

FITTED_ON = 20_000
"""Largest number of training windows that the borders are fitted on."""


@dataclass(frozen=True)
class Groups:
    """Borders between windows by how often the price moved in them (liquidity) and how much (volatility).

    Both are known at the cutoff, from closes alone, so a request that sends only closes has a group too.

    Attributes
    ----------
    moved : ascending borders of the share of days on which the price moved
    sigma : ascending borders of `common.network.channels.sigma`
    """

    moved: tuple[float, ...] = ()
    sigma: tuple[float, ...] = ()

    def __len__(self) -> int:
        return (len(self.moved) + 1) * (len(self.sigma) + 1)

    @classmethod
    def fit(cls, train: Iterable[Windows]) -> "Groups":
        """Fit the borders as terciles of a sample of the moving training windows; no borders without any.

        ``train`` has the windows by blocks of symbols, and is iterated twice.
        """
        count, first = sum(len(block) for block in train), 0
        chosen = np.unique(np.linspace(0, count - 1, min(count, FITTED_ON)).astype(np.int64))
        values = []
        for block in train:
            inside = chosen[(chosen >= first) & (chosen < first + len(block))]
            thinned = block.take(inside - first)
            moving = thinned.take(~frozen(thinned))
            values.append((moved_share(moving), sigma(moving)))
            first += len(block)
        measured = [np.concatenate(parts) for parts in zip(*values, strict=True)]
        if not len(measured[0]):
            return cls()
        moved, spread = (tuple(map(float, np.quantile(part, [1 / 3, 2 / 3]))) for part in measured)
        return cls(moved, spread)

    def of(self, windows: Windows) -> np.ndarray:
        """Return each window's group, int64, shape (N,), from 0; a value on a border is above it."""
        if len(self) == 1:
            return np.zeros(len(windows), dtype=np.int64)
        liquidity = np.searchsorted(self.moved, moved_share(windows), side="right")
        volatility = np.searchsorted(self.sigma, sigma(windows), side="right")
        group: np.ndarray = liquidity * (len(self.sigma) + 1) + volatility
        return group

    def as_dict(self) -> dict[str, Any]:
        return {"moved": list(self.moved), "sigma": list(self.sigma)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Groups":
        """Rebuild groups from `as_dict`; KeyError, TypeError or ValueError if the values are invalid."""
        moved, spread = (tuple(map(float, stored[name])) for name in ("moved", "sigma"))
        for borders in (moved, spread):
            if not np.isfinite(borders).all() or list(borders) != sorted(borders):
                raise ValueError(f"groups: got borders {borders}, need ascending numbers")
        return cls(moved, spread)


def moved_share(windows: Windows) -> np.ndarray:
    """Return the share of each window's daily returns that are not 0, shape (N,)."""
    share = np.empty(len(windows))
    for rows, part in blocks(windows):
        share[rows] = (part.cut(part.series.log_return)[:, 1:] != 0).mean(axis=1)
    return share
