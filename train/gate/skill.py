"""The minimum skill next to the last price that a release needs, regardless of production.

The ratios are those of `common.scoring.forecast_errors`: relMAE of the published price, relRMSE of the raw
price, and relPinball, the pinball loss of the median and the six bounds over that of the last price in place
of each.
The noise of a ratio is its standard error with the days as the sample
(`common.scoring.significance.ratio_noise`). For relRMSE, a square root, it is the standard error of the
square divided by twice the root.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.scoring.forecast_errors import pinball_losses
from common.scoring.significance import ratio_noise
from train.evaluation.summary import QUANTILES, TAUS

FLOOR_DAYS = 5
"""Up to this many trading days ahead, a release must be no worse than the last price. Further ahead nothing
beats the last price reliably, and releases are only compared with production."""
ERRORS = 2.0
"""Standard errors by which a figure may miss its bound."""
MOST_NOISE = 0.05
"""Maximum allowance for noise, so that a bad release does not pass a short test."""
QUICK = 0.05
"""How much worse than the last price a ``--quick`` release may be, since its networks are barely trained and
a complete release replaces it."""
COVERAGE = {80: 0.75, 90: 0.85, 95: 0.90}
"""Minimum share of prices inside the intervals, by nominal level in percent."""
RATIOS = {
    "rel_mae": "relMAE of the published price",
    "rel_rmse": "relRMSE of the raw price",
    "rel_pinball": "relPinball of the intervals",
}
"""Names of the ratios of `Losses`, with their labels."""


@dataclass(frozen=True)
class Losses:
    """Losses of N forecasts at one horizon, errors in percent of the last price; arrays of shape (N,)."""

    horizon: int
    cutoff: np.ndarray
    own: dict[str, np.ndarray]
    """By name in ``RATIOS``; squares for ``rel_rmse``, and no ``rel_pinball`` without intervals."""
    naive: dict[str, np.ndarray]
    inside: dict[int, np.ndarray]
    """Whether the interval contained the price, by nominal level; empty without intervals."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Losses":
        """Compute the losses of the scored rows of one horizon of a forecast table."""
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
        """Return the loss over that of the last price; NaN where that is 0, or without intervals."""
        if name not in self.own or not self.naive[name].any():
            return math.nan
        ratio = float(self.own[name].sum() / self.naive[name].sum())
        return math.sqrt(ratio) if name == "rel_rmse" else ratio

    def noise(self, name: str) -> float:
        """Return the standard error of `ratio`.

        Where it cannot be computed, it is 0; but if all outcomes overlap, the maximum that is allowed,
        because so few days are no evidence that far ahead.
        """
        return self._noise(self._linear(name), self.naive[name])

    def noise_of_difference(self, other: "Losses", name: str) -> float:
        """Return the standard error of this `ratio` minus another's on the same rows, as `noise`."""
        return self._noise(self._linear(name) - other._linear(name), self.naive[name])

    def coverage(self, level: int) -> tuple[float, float]:
        """Return the share of prices inside the intervals, and its standard error."""
        inside = self.inside[level]
        return float(inside.mean()), self._noise(inside, np.ones(len(inside)))

    def _noise(self, losses: np.ndarray, naive: np.ndarray) -> float:
        noise = ratio_noise(losses, naive, self.cutoff, horizon=self.horizon)
        if math.isfinite(noise):
            return noise
        return MOST_NOISE / ERRORS if FLOOR_DAYS < self.days <= self.horizon else 0.0

    def _linear(self, name: str) -> np.ndarray:
        """Return losses whose sum over naive's has the standard error of `ratio`."""
        if name != "rel_rmse":
            return self.own[name]
        root = self.ratio(name)
        return self.own[name] / (2 * root) if root > 0 else self.own[name]


def by_horizon(table: pd.DataFrame) -> list[Losses]:
    """Return the losses of the scored forecasts of moving stocks by horizon."""
    return [Losses.of(rows) for _, rows in _scored(table).groupby("horizon", sort=True)]


def _scored(table: pd.DataFrame) -> pd.DataFrame:
    return table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)]


def of_price(table: pd.DataFrame, *, quick: bool = False) -> tuple[list[str], str]:
    """Return in what the prices are worse than the last price by more than noise, and all figures.

    Includes every horizon up to ``FLOOR_DAYS``, or the shortest one if all are longer.

    Parameters
    ----------
    table : one row per symbol, cutoff and horizon, see `train.evaluation.backtest.forecast_table`
    quick : whether the release was trained with ``--quick``
    """
    horizons = by_horizon(table)
    near = [losses for losses in horizons if losses.horizon <= FLOOR_DAYS] or horizons[:1]
    if not near:
        return ["no scored forecast of a price that moved"], ""
    problems: list[str] = []
    figures = []
    for losses in near:
        for name in ("rel_mae", "rel_rmse"):
            figures.append(f"{RATIOS[name].split()[0]} {losses.ratio(name):.4f} at {_days(losses.horizon)}")
            problems += _above_one(losses, name, QUICK if quick else 0.0)
    return problems, ", ".join(figures)


def of_intervals(table: pd.DataFrame) -> tuple[list[str], str]:
    """Return the problems of the intervals at any horizon, and all figures. A model may have no intervals."""
    bounded = np.isfinite(_scored(table)[[*QUANTILES]].to_numpy(float)).all(axis=1)
    problems: list[str] = []
    if bounded.any() and not bounded.all():
        problems.append(f"{(~bounded).sum()} of {len(bounded)} forecasts have no intervals")
    figures = []
    for losses in by_horizon(table):
        if not losses.inside:
            continue
        shares = {level: losses.coverage(level) for level in COVERAGE}
        figures.append(f"{shares[90][0]:.3f} in the 90 % ones at {_days(losses.horizon)}")
        problems += _above_one(losses, "rel_pinball")
        for level, (share, error) in shares.items():
            bound = COVERAGE[level] - min(ERRORS * error, MOST_NOISE)
            if not share >= bound:
                problems.append(
                    f"the {level} % intervals contain {share:.3f} of the prices {_days(losses.horizon)} "
                    f"ahead, need at least {bound:.3f} ({COVERAGE[level]} less noise, {losses.days} days)"
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
