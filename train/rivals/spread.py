"""Intervals around the last price, the benchmark for the networks' intervals."""

from dataclasses import dataclass

import numpy as np

from common.network.channels import frozen, sigma
from common.prices.windows import Windows


@dataclass(frozen=True)
class NaiveSpread:
    """The distribution of the distance from the last price in units of sigma * sqrt(h), by horizon.

    Attributes
    ----------
    levels, sizes : tuple of float64, H arrays of shape (K,)
        Points of the empirical distribution function of |log change| / (sigma * sqrt(h)): strictly ascending
        sizes from 0, and the share of outcomes at or below each; linear in between.
    """

    levels: tuple[np.ndarray, ...]
    sizes: tuple[np.ndarray, ...]

    @classmethod
    def fit(cls, train: Windows) -> "NaiveSpread":
        """Fit on the outcomes of the moving training windows; without any, every bound is the last price."""
        outcomes = _outcomes(train.take(~frozen(train)))
        points = [_points(column[np.isfinite(column)]) for column in outcomes.T]
        return cls(tuple(levels for levels, _ in points), tuple(sizes for _, sizes in points))

    def needed_level(self, windows: Windows) -> np.ndarray:
        """Return the smallest nominal level whose interval contains the actual price, float64, shape (N, H).

        0 for a price that did not move; 1 for one that moved at least as far as any in training, the widest
        interval there is; NaN without an actual price.
        """
        outcomes = _outcomes(windows)
        columns = [
            np.where(column > 0, np.interp(column, sizes, levels), np.where(column == 0, 0.0, np.nan))
            for column, levels, sizes in zip(outcomes.T, self.levels, self.sizes, strict=True)
        ]
        return np.stack(columns, axis=1)

    def bounds(self, windows: Windows, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of intervals in KES, float64, shape (N, H), symmetric in logs.

        ``levels``, shape (N, H), are nominal levels between 0 and 1; NaN gives NaN.
        """
        columns = [
            np.interp(column, own_levels, sizes)
            for column, own_levels, sizes in zip(np.asarray(levels).T, self.levels, self.sizes, strict=True)
        ]
        reach = np.stack(columns, axis=1) * _scale(windows)
        last = windows.last_price[:, None]
        return last * np.exp(-reach), last * np.exp(reach)


def _scale(windows: Windows) -> np.ndarray:
    return sigma(windows)[:, None] * np.sqrt(windows.spec.horizons)


def _outcomes(windows: Windows) -> np.ndarray:
    outcomes: np.ndarray = np.abs(windows.change) / _scale(windows)
    return outcomes


def _points(outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (levels, sizes) of an empirical distribution function, starting at size 0."""
    sizes, counts = np.unique(outcomes, return_counts=True)
    levels = np.cumsum(counts) / max(len(outcomes), 1)
    if not len(sizes) or sizes[0] > 0:
        sizes, levels = np.append(0.0, sizes), np.append(0.0, levels)
    return levels, sizes
