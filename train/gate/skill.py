"""The floor of skill: what a release must be worth next to the last price, whatever is in production.

The ratios are those of `common.scoring.metrics`: relMAE of the published price, relRMSE of the raw one, and
relPinball, the pinball loss of the median and the six bounds over that of the last price in each one's
place. A ratio's noise is its standard error with the days as the sample
(`common.scoring.significance.ratio_noise`); that of relRMSE, a root, is the standard error of its square over
twice the root.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.scoring.metrics import pinball_losses
from common.scoring.significance import ratio_noise
from train.evaluation.summary import QUANTILES, TAUS

FLOOR_DAYS = 5
"""A release must be no worse than the last price at every horizon up to so many trading days; farther ahead
nothing beats it reliably, and only production and the best release are what to compare with."""
ERRORS = 2.0
"""Standard errors by which a figure may miss its bound."""
MOST_NOISE = 0.05
"""What noise excuses at most, so that a short test does not let a bad release through."""
QUICK = 0.05
"""How much worse than the last price a ``--quick`` release may be: its networks have hardly begun to learn,
and it gives way to a complete release."""
COVERAGE = {80: 0.75, 90: 0.85, 95: 0.90}
"""Share of prices that the intervals of a nominal level, percent, must hold at least."""
RATIOS = {
    "rel_mae": "relMAE of the published price",
    "rel_rmse": "relRMSE of the raw price",
    "rel_pinball": "relPinball of the intervals",
}
"""Figures of `Losses`, and what they are called."""


@dataclass(frozen=True)
class Losses:
    """Losses of N forecasts of one horizon, errors in percent of the last price; all arrays shape (N,)."""

    horizon: int
    cutoff: np.ndarray
    own: dict[str, np.ndarray]
    """By name in ``RATIOS``; ``rel_rmse`` are squares. No ``rel_pinball`` where there are no intervals."""
    naive: dict[str, np.ndarray]
    inside: dict[int, np.ndarray]
    """Whether the interval held the price, by nominal level; empty where there are no intervals."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Losses":
        """Of the rows of one horizon, all scored; see `train.evaluation.backtest.forecast_table`."""
        last, raw, published, actual = (
            table[name].to_numpy(float) for name in ("last_price", "raw", "published", "actual")
        )
        quantiles = table[[*QUANTILES]].to_numpy(float)
        own = {
            "rel_mae": 100 * np.abs(published - actual) / last,
            "rel_rmse": (100 * (raw - actual) / last) ** 2,
        }
        naive = {
            "rel_mae": 100 * np.abs(last - actual) / last,
            "rel_rmse": (100 * (last - actual) / last) ** 2,
        }
        inside = {}
        if len(table) and np.isfinite(quantiles).all():
            flat = np.repeat(last[:, None], len(TAUS), axis=1)
            own["rel_pinball"] = pinball_losses(quantiles, TAUS, last, actual).mean(axis=1)
            naive["rel_pinball"] = pinball_losses(flat, TAUS, last, actual).mean(axis=1)
            bounds = {level: (table[f"lo{level}"], table[f"hi{level}"]) for level in COVERAGE}
            inside = {
                level: ((low <= table["actual"]) & (table["actual"] <= high)).to_numpy(float)
                for level, (low, high) in bounds.items()
            }
        horizon = int(table["horizon"].iloc[0]) if len(table) else 0
        return cls(horizon, table["cutoff"].to_numpy(), own, naive, inside)

    @property
    def days(self) -> int:
        return len(np.unique(self.cutoff))

    def ratio(self, name: str) -> float:
        """The loss over that of the last price; NaN where that makes none, or there are no intervals."""
        if name not in self.own or not self.naive[name].any():
            return math.nan
        ratio = float(self.own[name].sum() / self.naive[name].sum())
        return math.sqrt(ratio) if name == "rel_rmse" else ratio

    def noise(self, name: str) -> float:
        """The standard error of `ratio`.

        Where it cannot be computed: 0, so that nothing is excused; but as much as is ever excused if all
        outcomes overlap, since so few days tell nothing that far ahead.
        """
        return self._known(self._error(self._linear(name), name))

    def noise_of_difference(self, other: "Losses", name: str) -> float:
        """The standard error of this `ratio` less another's, on the same rows in their order; as `noise`."""
        return self._known(self._error(self._linear(name) - other._linear(name), name))

    def coverage(self, level: int) -> tuple[float, float]:
        """Share of prices inside the intervals, and its standard error."""
        inside = self.inside[level]
        noise = ratio_noise(inside, np.ones(len(inside)), self.cutoff, horizon=self.horizon)
        return float(inside.mean()), self._known(noise)

    def _known(self, noise: float) -> float:
        if math.isfinite(noise):
            return noise
        return MOST_NOISE / ERRORS if FLOOR_DAYS < self.days <= self.horizon else 0.0

    def _linear(self, name: str) -> np.ndarray:
        """Losses whose sum over naive's has the standard error of `ratio`."""
        if name != "rel_rmse":
            return self.own[name]
        root = self.ratio(name)
        return self.own[name] / (2 * root) if root > 0 else self.own[name]

    def _error(self, losses: np.ndarray, name: str) -> float:
        return ratio_noise(losses, self.naive[name], self.cutoff, horizon=self.horizon)


def by_horizon(table: pd.DataFrame) -> list[Losses]:
    """Losses of the rows that are judged (scored, and the price moved in the window), by horizon."""
    return [Losses.of(rows) for _, rows in _judged(table).groupby("horizon", sort=True)]


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    return table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)]


def of_price(table: pd.DataFrame, *, quick: bool = False) -> tuple[list[str], str]:
    """What is worse than the last price by more than noise, up to ``FLOOR_DAYS`` ahead; and all figures.

    Every horizon up to ``FLOOR_DAYS`` is judged, or the shortest where all are longer.

    Parameters
    ----------
    table : one row per symbol, cutoff and horizon, see `train.evaluation.backtest.forecast_table`
    quick : whether the release was trained with ``--quick``
    """
    every = by_horizon(table)
    near = [losses for losses in every if losses.horizon <= FLOOR_DAYS] or every[:1]
    if not near:
        return ["no forecast of a price that moved to judge it by"], ""
    problems: list[str] = []
    figures = []
    for losses in near:
        for name in ("rel_mae", "rel_rmse"):
            figures.append(f"{RATIOS[name].split()[0]} {losses.ratio(name):.4f} at {_days(losses.horizon)}")
            problems += _above_one(losses, name, QUICK if quick else 0.0)
    return problems, ", ".join(figures)


def of_intervals(table: pd.DataFrame) -> tuple[list[str], str]:
    """What speaks against the intervals at any horizon; and all figures. A model may have none."""
    every = [losses for losses in by_horizon(table) if losses.inside]
    bounded = np.isfinite(_judged(table)[[*QUANTILES]].to_numpy(float)).all(axis=1)
    problems: list[str] = []
    if bounded.any() and not bounded.all():
        problems.append(f"{(~bounded).sum()} of {len(bounded)} forecasts have no intervals")
    figures = []
    for losses in every:
        shares = {level: losses.coverage(level) for level in COVERAGE}
        figures.append(f"{shares[90][0]:.3f} in the 90 % ones at {_days(losses.horizon)}")
        problems += _above_one(losses, "rel_pinball")
        for level, (share, error) in shares.items():
            bound = COVERAGE[level] - min(ERRORS * error, MOST_NOISE)
            if not share >= bound:
                problems.append(
                    f"the {level} % intervals hold {share:.3f} of the prices {_days(losses.horizon)} ahead, "
                    f"need at least {bound:.3f} ({COVERAGE[level]} less noise, {losses.days} days)"
                )
    return problems, ", ".join(figures) or "the model gives no intervals"


def _above_one(losses: Losses, name: str, least: float = 0.0) -> Iterator[str]:
    ratio = losses.ratio(name)
    bound = 1 + max(min(ERRORS * losses.noise(name), MOST_NOISE), least)
    if losses.naive[name].any() and not ratio <= bound + 1e-9:
        yield (
            f"{RATIOS[name]} is {ratio:.4f} {_days(losses.horizon)} ahead, need at most {bound:.4f} "
            f"(the last price is 1; {losses.days} days)"
        )


def _days(horizon: int) -> str:
    return "1 day" if horizon == 1 else f"{horizon} days"
