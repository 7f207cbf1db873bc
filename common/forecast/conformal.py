"""Adaptive conformal intervals, whose levels learn from each day's outcomes.

Gibbs and Candes, "Adaptive conformal inference under distribution shift", NeurIPS 2021, applied to the
levels of the forecast distribution. If more prices than nominal fell outside the intervals of a day, their
level is raised a little, otherwise it is lowered. Each horizon has its own levels, and so has each group of
windows of similar liquidity and volatility (Mondrian groups: Vovk, Lindsay, Nouretdinov and Gammerman 2003).
The outcomes of all moving stocks move the level of every group; a group's own outcomes move it further, by
more if there are many of them that day.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from common.errors import BundleError
from common.forecast.groups import Groups
from common.prices.windows import Windows

LEVELS = (0.8, 0.9, 0.95)
"""Nominal levels of the intervals."""
BOUNDS = tuple(f"{side}{100 * level:.0f}" for level in LEVELS for side in ("lo", "hi"))
"""Names of the intervals' bounds in tables of forecasts."""
GAMMA = 0.005
"""Change of a level per unit of excess misses on one day."""
GROUP_GAIN = 2.0
"""Weight of a group's own outcomes, if it has very many, relative to those of all stocks (1)."""
GROUP_PRIOR = 10
"""Number of outcomes on a day at which a group's own outcomes have half of ``GROUP_GAIN``."""
HIGHEST = 0.9995
"""Upper bound of every level."""


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of N earlier forecasts.

    Attributes
    ----------
    known : datetime64[D], shape (N, H), the evening on which the actual price became known, or NaT
    needed : shape (N, H), see `Mixture.needed_level`; NaN if unknown
    group : int, shape (N,), see `Groups`; None if all are in one
    """

    known: np.ndarray
    needed: np.ndarray
    group: np.ndarray | None = None

    @classmethod
    def of(cls, windows: Windows, needed: np.ndarray, group: np.ndarray | None = None) -> "Outcomes":
        """Build the outcomes of windows from the levels they needed, shape (N, H), and their groups (N,).

        A close that became known only later (a repaired day) is left out.
        """
        target = windows.target
        in_time = (target >= 0) & windows.series.known[np.maximum(target, 0)]
        known = np.where(in_time, windows.target_date, np.datetime64("NaT"))
        return cls(known, np.where(in_time, needed, np.nan), group)

    @classmethod
    def joined(cls, parts: Sequence["Outcomes"]) -> "Outcomes":
        """Concatenate outcomes with groups."""
        names = ("known", "needed", "group")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Calibration:
    """Corrected interval levels by day, group, horizon and nominal level.

    Attributes
    ----------
    horizons : tuple of int, trading days ahead
    dates : datetime64[D], shape (T,), ascending: evenings with outcomes
    levels : shape (T, G, H, 3), the levels from that evening on
    groups : the G groups; one in releases published before groups existed
    """

    horizons: tuple[int, ...]
    dates: np.ndarray
    levels: np.ndarray
    groups: Groups = field(default_factory=Groups)
    steps: tuple[tuple[str, float], ...] = ()
    """The first evening (ISO date) of each step with which the levels were learned, and the step."""

    @classmethod
    def nominal(cls, horizons: tuple[int, ...], groups: Groups | None = None) -> "Calibration":
        """Return a calibration without outcomes, which uses the nominal levels; by default with one group."""
        groups = groups or Groups()
        empty = np.empty((0, len(groups), len(horizons), len(LEVELS)))
        return cls(horizons, np.empty(0, "datetime64[D]"), empty, groups)

    def for_windows(self, windows: Windows) -> np.ndarray:
        """Return the levels known on the windows' cutoffs for their groups, shape (N, H, 3)."""
        return self.on(windows.cutoff, self.groups.of(windows))

    def on(self, evenings: np.ndarray, group: np.ndarray | int = 0) -> np.ndarray:
        """Return a group's levels known on these evenings (datetime64[D], shape (N,)), shape (N, H, 3)."""
        return np.asarray(self._since_start[np.searchsorted(self.dates, evenings, side="right"), group])

    @cached_property
    def _since_start(self) -> np.ndarray:
        """The levels before the first outcome, then ``levels``, shape (T + 1, G, H, 3)."""
        start = np.broadcast_to(LEVELS, (1, len(self.groups), len(self.horizons), len(LEVELS)))
        return np.concatenate([start, self.levels])

    def extended(self, outcomes: Outcomes) -> "Calibration":
        """Return a calibration that has also learned from the outcomes after its last date."""
        level = self._since_start[-1].copy()
        after = outcomes.known > (self.dates[-1] if len(self.dates) else np.datetime64("0001-01-01"))
        usable = after & np.isfinite(outcomes.needed)
        dates = np.unique(outcomes.known[usable])
        if not len(dates):
            return self
        group = np.zeros(len(usable), dtype=np.int64) if outcomes.group is None else outcomes.group
        levels = np.empty((len(dates), *level.shape))
        for h in range(len(self.horizons)):
            rows = np.flatnonzero(usable[:, h])
            rows = rows[np.argsort(outcomes.known[rows, h], kind="stable")]
            known, needed = outcomes.known[rows, h], outcomes.needed[rows, h]
            days = np.split(np.arange(len(rows)), np.searchsorted(known, dates[1:]))
            for day, chosen in enumerate(days):
                if len(chosen):
                    level[:, h] = _learned(level[:, h], needed[chosen], group[rows[chosen]])
                level[:, h] = np.maximum.accumulate(level[:, h], axis=-1)
                levels[day, :, h] = level[:, h]
        steps = self.steps
        if not steps or steps[-1][1] != GAMMA:
            steps = (*steps, (str(dates[0]), GAMMA))
        dates, levels = np.concatenate([self.dates, dates]), np.concatenate([self.levels, levels])
        return Calibration(self.horizons, dates, levels, self.groups, steps)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with every digit.

        ``gamma`` is the step of the newest levels, and ``steps`` has those of all levels since their first
        evening.
        """
        levels: dict[str, Any] = {"asked": self.levels[:, 0].tolist()}
        if len(self.groups) > 1:
            levels = {"groups": self.groups.as_dict(), "asked_by_group": self.levels.tolist()}
        return {
            "method": "adaptive conformal inference on the mixture's levels (Gibbs and Candes 2021)",
            "gamma": self.steps[-1][1] if self.steps else GAMMA,
            "steps": [{"from": evening, "gamma": gamma} for evening, gamma in self.steps],
            "levels": list(LEVELS),
            "horizons": list(self.horizons),
            "dates": self.dates.astype(str).tolist(),
            **levels,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Calibration":
        """Rebuild a calibration from `as_dict`; BundleError if the values are invalid."""
        try:
            horizons, dates = tuple(stored["horizons"]), np.array(stored["dates"], "datetime64[D]")
            groups = Groups.from_dict(stored["groups"]) if "groups" in stored else Groups()
            levels = np.array(stored["asked_by_group" if "groups" in stored else "asked"], float)
            levels = levels.reshape(len(dates), len(groups), len(horizons), len(LEVELS))
            steps = tuple((str(step["from"]), float(step["gamma"])) for step in stored.get("steps", ()))
            if "steps" not in stored and len(dates):  # written before the steps were stated
                steps = ((str(dates[0]), float(stored.get("gamma", GAMMA))),)
            if tuple(stored["levels"]) != LEVELS or not np.isfinite(levels).all():
                raise ValueError(f"levels {stored['levels']}, need {LEVELS}")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"calibration: cannot read it ({type(error).__name__}: {error}). Publish the release again."
            ) from None
        return cls(horizons, dates, levels, groups, steps)


def _learned(level: np.ndarray, needed: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the levels of the groups at one horizon, shape (G, 3), after the outcomes of one day.

    A level moves by GAMMA * (e + GROUP_GAIN * n / (n + GROUP_PRIOR) * e_g): e is the excess of misses over
    nominal of all outcomes together, e_g that of the group's n outcomes. One group moves by GAMMA * e alone.
    """
    missed, allowed = needed[:, None] > level[group], 1 - np.array(LEVELS)
    excess = missed.mean(axis=0) - allowed
    if len(level) > 1:
        count = np.bincount(group, minlength=len(level))[:, None]
        misses = [np.bincount(group, weights=column, minlength=len(level)) for column in missed.T]
        own = np.stack(misses, axis=1) - count * allowed
        excess = excess + GROUP_GAIN * own / (count + GROUP_PRIOR)
    learned: np.ndarray = np.clip(level + GAMMA * excess, 0, HIGHEST)
    return learned
