"""Adaptive conformal intervals, whose levels every day's outcomes correct.

Gibbs and Candes, "Adaptive conformal inference under distribution shift", NeurIPS 2021, applied to the
levels of the forecast distribution. If more prices than nominal fell outside the intervals of a day, their
level is raised a little, otherwise it is lowered: per horizon, for all moving stocks together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import BundleError
from common.prices.windows import Windows

LEVELS = (0.8, 0.9, 0.95)
"""Nominal levels of the intervals."""
BOUNDS = tuple(f"{side}{100 * level:.0f}" for level in LEVELS for side in ("lo", "hi"))
"""Names of the intervals' bounds in tables of forecasts."""
GAMMA = 0.01
"""Change of a level per unit of excess misses on one day."""
HIGHEST = 0.9995
"""Upper bound of every level."""


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of N earlier forecasts.

    Attributes
    ----------
    known : datetime64[D], shape (N, H), the evening on which the actual price became known, or NaT
    needed : shape (N, H), see `Mixture.needed_level`; NaN if unknown
    """

    known: np.ndarray
    needed: np.ndarray

    @classmethod
    def of(cls, windows: Windows, needed: np.ndarray) -> "Outcomes":
        """Build the outcomes of windows from the levels they needed, shape (N, H).

        A close that became known only later (a repaired day) is left out.
        """
        target = windows.target
        in_time = (target >= 0) & windows.series.known[np.maximum(target, 0)]
        known = np.where(in_time, windows.target_date, np.datetime64("NaT"))
        return cls(known, np.where(in_time, needed, np.nan))


@dataclass(frozen=True)
class Calibration:
    """Corrected interval levels by day, horizon and nominal level.

    Attributes
    ----------
    horizons : tuple of int, trading days ahead
    dates : datetime64[D], shape (T,), ascending: evenings with outcomes
    levels : shape (T, H, 3), the levels from that evening on
    """

    horizons: tuple[int, ...]
    dates: np.ndarray
    levels: np.ndarray

    @classmethod
    def nominal(cls, horizons: tuple[int, ...]) -> "Calibration":
        """Return a calibration without outcomes, which uses the nominal levels."""
        return cls(horizons, np.empty(0, "datetime64[D]"), np.empty((0, len(horizons), len(LEVELS))))

    def on(self, evenings: np.ndarray) -> np.ndarray:
        """Return the levels known on these evenings (datetime64[D], shape (N,)), shape (N, H, 3)."""
        start = np.broadcast_to(LEVELS, (1, len(self.horizons), len(LEVELS)))
        return np.concatenate([start, self.levels])[np.searchsorted(self.dates, evenings, side="right")]

    def extended(self, outcomes: Outcomes) -> "Calibration":
        """Return a calibration that has also learned from the outcomes after its last date."""
        level = self.on(np.array(["9999-12-31"], "datetime64[D]"))[0]
        after = outcomes.known > (self.dates[-1] if len(self.dates) else np.datetime64("0001-01-01"))
        usable = after & np.isfinite(outcomes.needed)
        dates = np.unique(outcomes.known[usable])
        if not len(dates):
            return self
        levels = np.empty((len(dates), len(self.horizons), len(LEVELS)))
        for h in range(len(self.horizons)):
            known, needed = outcomes.known[usable[:, h], h], outcomes.needed[usable[:, h], h]
            order = np.argsort(known, kind="stable")
            by_date = np.split(needed[order], np.searchsorted(known[order], dates[1:]))
            for day, scores in enumerate(by_date):
                if len(scores):
                    missed = (scores[:, None] > level[h]).mean(axis=0)
                    level[h] = np.clip(level[h] + GAMMA * (missed - (1 - np.array(LEVELS))), 0, HIGHEST)
                level[h] = np.maximum.accumulate(level[h])
                levels[day, h] = level[h]
        dates, levels = np.concatenate([self.dates, dates]), np.concatenate([self.levels, levels])
        return Calibration(self.horizons, dates, levels)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with every digit."""
        return {
            "method": "adaptive conformal inference on the mixture's levels (Gibbs and Candes 2021)",
            "gamma": GAMMA,
            "levels": list(LEVELS),
            "horizons": list(self.horizons),
            "dates": self.dates.astype(str).tolist(),
            "asked": self.levels.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Calibration":
        """Rebuild a calibration from `as_dict`; BundleError if the values are invalid."""
        try:
            horizons, dates = tuple(stored["horizons"]), np.array(stored["dates"], "datetime64[D]")
            levels = np.array(stored["asked"], float).reshape(len(dates), len(horizons), len(LEVELS))
            if tuple(stored["levels"]) != LEVELS or not np.isfinite(levels).all():
                raise ValueError(f"levels {stored['levels']}, need {LEVELS}")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"calibration: cannot read it ({type(error).__name__}: {error}). Publish the release again."
            ) from None
        return cls(horizons, dates, levels)
