"""Intervals around the last price: what an interval must beat."""

from dataclasses import dataclass

import numpy as np

from common.network.channels import frozen, sigma
from common.prices.windows import Windows


@dataclass(frozen=True)
class NaiveSpread:
    """How far prices went from the last one, in units of sigma * sqrt(h), by horizon.

    Attributes
    ----------
    levels, sizes : tuple of float64, H arrays of shape (K,)
        Points of the empirical distribution function of |log change| / (sigma * sqrt(h)): sizes ascending
        without repeats from 0, and the share of outcomes at or below each. Linear in between.
    """

    levels: tuple[np.ndarray, ...]
    sizes: tuple[np.ndarray, ...]

    @classmethod
    def fit(cls, train: Windows) -> "NaiveSpread":
        """From the outcomes of the moving training windows; without any, every level is the last price."""
        outcomes = _outcomes(train.take(~frozen(train)))
        points = [_points(column[np.isfinite(column)]) for column in outcomes.T]
        return cls(tuple(levels for levels, _ in points), tuple(sizes for _, sizes in points))

    def needed_level(self, windows: Windows) -> np.ndarray:
        """Smallest nominal level whose interval holds the actual, float64, shape (N, H).

        0 for a price that did not move: even an interval of no width holds it. 1 for one that moved at
        least as far as any in training, beyond which no interval goes. NaN without an actual.
        """
        outcomes = _outcomes(windows)
        columns = [
            np.where(column > 0, np.interp(column, sizes, levels), np.where(column == 0, 0.0, np.nan))
            for column, levels, sizes in zip(outcomes.T, self.levels, self.sizes, strict=True)
        ]
        return np.stack(columns, axis=1)

    def bounds(self, windows: Windows, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Intervals of these nominal levels, each bound float64, shape (N, H), KES.

        Parameters
        ----------
        levels : float, shape (N, H)
            In 0 ... 1; NaN gives NaN. As far up as down, in logs.
        """
        columns = [
            np.interp(column, known, sizes)
            for column, known, sizes in zip(np.asarray(levels).T, self.levels, self.sizes, strict=True)
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
    """(levels, sizes) of an empirical distribution function; starts at size 0, whatever its share."""
    sizes, counts = np.unique(outcomes, return_counts=True)
    levels = np.cumsum(counts) / max(len(outcomes), 1)
    if not len(sizes) or sizes[0] > 0:
        sizes, levels = np.append(0.0, sizes), np.append(0.0, levels)
    return levels, sizes
