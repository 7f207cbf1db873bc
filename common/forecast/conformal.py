"""Adaptive conformal intervals: the level that is really asked for, corrected by every outcome.

Gibbs and Candes, "Adaptive conformal inference under distribution shift", NeurIPS 2021, on the levels of
the forecast distribution: a level whose intervals were missed too often on a day is raised a little, one
that was missed too rarely is lowered, for each horizon on its own and for all moving stocks together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import BundleError
from common.prices.windows import Windows

LEVELS = (0.8, 0.9, 0.95)
"""Nominal levels of the intervals."""
GAMMA = 0.01
"""Step of a level per unit of excess misses on one day."""
HIGHEST = 0.9995
"""No interval is asked to be surer than this."""


@dataclass(frozen=True)
class Outcomes:
    """What became known of N earlier forecasts.

    Attributes
    ----------
    known : datetime64[D], shape (N, H), the evening the actual price was known; NaT for none
    needed : shape (N, H), see `Mixture.needed_level`; NaN for none
    """

    known: np.ndarray
    needed: np.ndarray

    @classmethod
    def of(cls, windows: Windows, needed: np.ndarray) -> "Outcomes":
        """What happened to these windows, with the levels that were needed, shape (N, H).

        A close that was found only later (a repaired day) teaches nothing, because nobody knew it in time.
        """
        target = windows.target
        in_time = (target >= 0) & windows.series.known[np.maximum(target, 0)]
        known = np.where(in_time, windows.target_date, np.datetime64("NaT"))
        return cls(known, np.where(in_time, needed, np.nan))


@dataclass(frozen=True)
class Calibration:
    """The level to ask for, by day, horizon and nominal level.

    Attributes
    ----------
    horizons : tuple of int, trading days ahead
    dates : datetime64[D], shape (T,), ascending: evenings on which outcomes came in
    asked : shape (T, H, 3), the levels from that evening on
    """

    horizons: tuple[int, ...]
    dates: np.ndarray
    asked: np.ndarray

    @classmethod
    def nominal(cls, horizons: tuple[int, ...]) -> "Calibration":
        """Before any outcome: each level is asked for as it is."""
        return cls(horizons, np.empty(0, "datetime64[D]"), np.empty((0, len(horizons), len(LEVELS))))

    def on(self, evenings: np.ndarray) -> np.ndarray:
        """Levels as known on these evenings (datetime64[D], shape (N,)), shape (N, H, 3)."""
        start = np.broadcast_to(LEVELS, (1, len(self.horizons), len(LEVELS)))
        return np.concatenate([start, self.asked])[np.searchsorted(self.dates, evenings, side="right")]

    def extended(self, outcomes: Outcomes) -> "Calibration":
        """Learn from the outcomes of evenings after the last one; earlier ones are in it already."""
        level = self.on(np.array(["9999-12-31"], "datetime64[D]"))[0]
        after = outcomes.known > (self.dates[-1] if len(self.dates) else np.datetime64("0001-01-01"))
        usable = after & np.isfinite(outcomes.needed)
        dates, columns = np.unique(outcomes.known[usable]), np.arange(len(self.horizons))
        order = np.argsort(outcomes.known, axis=0, kind="stable")
        known = np.take_along_axis(outcomes.known, order, axis=0)
        needed = np.take_along_axis(np.where(usable, outcomes.needed, np.nan), order, axis=0)
        asked = np.empty((len(dates), len(self.horizons), len(LEVELS)))
        first = np.stack([np.searchsorted(known[:, h], dates, "left") for h in columns], axis=1)
        last = np.stack([np.searchsorted(known[:, h], dates, "right") for h in columns], axis=1)
        for day in range(len(dates)):
            for h in columns:
                scores = needed[first[day, h] : last[day, h], h]
                scores = scores[np.isfinite(scores)]
                if len(scores):
                    missed = (scores[:, None] > level[h]).mean(axis=0)
                    level[h] = np.clip(level[h] + GAMMA * (missed - (1 - np.array(LEVELS))), 0, HIGHEST)
            level = np.maximum.accumulate(level, axis=1)
            asked[day] = level
        return Calibration(
            self.horizons, np.concatenate([self.dates, dates]), np.concatenate([self.asked, asked])
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which keep every digit."""
        return {
            "method": "adaptive conformal inference on the mixture's levels (Gibbs and Candes 2021)",
            "gamma": GAMMA,
            "levels": list(LEVELS),
            "horizons": list(self.horizons),
            "dates": self.dates.astype(str).tolist(),
            "asked": self.asked.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Calibration":
        """Rebuild what ``as_dict`` gave; raises BundleError if it is not that."""
        try:
            horizons, dates = tuple(stored["horizons"]), np.array(stored["dates"], "datetime64[D]")
            asked = np.array(stored["asked"], float).reshape(len(dates), len(horizons), len(LEVELS))
            if tuple(stored["levels"]) != LEVELS or not np.isfinite(asked).all():
                raise ValueError(f"levels {stored['levels']}, need {LEVELS}")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"calibration: cannot read it ({type(error).__name__}: {error}). Publish the release again."
            ) from None
        return cls(horizons, dates, asked)
