"""Hold forecasts in KES."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Prices:
    """A forecast in KES for N windows and H horizons.

    Attributes
    ----------
    last, frozen : shape (N,)
        Close at the cutoff; whether the price never moved inside the window.
    raw, published : shape (N, H)
        The best price for squared error (residual: the output trained with the Huber loss), and the best one
        for absolute error, the mixture's median rounded to the tick.
    p_move : shape (N, H), NaN where the representation has none
        The mixture's own probability of a move, which decides the published price.
    probabilities : shape (N, H, 3), NaN where the representation has none
        Of a close above, at and below the last one (`common.forecast.probabilities`), calibrated if the
        release has a calibration. They sum to 1.
    low, high : shape (N, H, 3), bounds of the intervals at ``LEVELS``; NaN where there are none
    needed : shape (N, H), level of the smallest interval that contains the actual price; NaN where unknown
    by_model : bool, shape (N, H)
        Whether the published price is the model's. Otherwise it is the last price, because the price never
        moved or the model did not beat it on validation.
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
    probabilities: np.ndarray

    @property
    def expected_change_percent(self) -> np.ndarray:
        """Change of the raw price from the last one in percent, shape (N, H): the forecast change that is
        best for squared error."""
        change: np.ndarray = 100 * (self.raw / self.last[:, None] - 1)
        return change

    @classmethod
    def joined(cls, parts: list["Prices"]) -> "Prices":
        """Concatenate forecasts."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def singles(self) -> list["Prices"]:
        """Return the prices of each window separately."""
        return [self.take(slice(row, row + 1)) for row in range(len(self.last))]

    def take(self, rows: slice | np.ndarray) -> "Prices":
        """Return the prices of some windows."""
        return Prices(*(getattr(self, field.name)[rows] for field in fields(self)))
