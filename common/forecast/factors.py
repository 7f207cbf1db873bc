"""Factors by which the changes that a model forecasts are multiplied before they become prices.

A network's changes may be too small or too large at a horizon. One factor per horizon and price, fitted on
validation (`train.run.factors`), corrects this: 1 leaves the forecast as it is, 0 gives the last price.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

LARGEST = 1.3
"""Upper bound of every factor; the lower one is 0."""


@dataclass(frozen=True)
class Factors:
    """Factors of H horizons, the same for all stocks.

    Attributes
    ----------
    horizons : trading days ahead
    published : of the published price's change, H numbers
    raw : of the raw price's change, H numbers
    """

    horizons: tuple[int, ...]
    published: tuple[float, ...]
    raw: tuple[float, ...]

    @property
    def values(self) -> np.ndarray:
        """The factors as an array, shape (H, 2): published, raw."""
        return np.array([self.published, self.raw]).T

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with every digit."""
        return {
            "meaning": "the forecast change from the last price is multiplied by the factor of its horizon; "
            "1 leaves it as it is, 0 is the last price",
            "horizons": list(self.horizons),
            "published": list(self.published),
            "raw": list(self.raw),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Factors":
        """Rebuild factors from `as_dict`; KeyError, TypeError or ValueError if the values are invalid."""
        horizons = tuple(stored["horizons"])
        published, raw = (tuple(map(float, stored[name])) for name in ("published", "raw"))
        if not len(horizons) == len(published) == len(raw):
            raise ValueError(f"factors: got {len(published)} and {len(raw)}, need one for each of {horizons}")
        if not all(0 <= factor <= LARGEST for factor in published + raw):
            raise ValueError(f"factors: got {published} and {raw}, need numbers from 0 to {LARGEST}")
        return cls(horizons, published, raw)
