"""Scores of forecasts, and the choice between candidates by them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.forecast.prices import Prices
from common.prices.windows import Windows
from common.scoring.forecast_errors import Errors, errors

CLEAR_LEAD = 0.01
"""Lead in `Score.total` on validation that replaces the usual candidate (docs/decisions.md)."""
MINIMUM_JUDGED = 20
"""Moving validation windows that a verdict on one stock needs."""
HORIZON_WEIGHTS = {1: 1.0, 5: 0.125, 10: 0.0625, 30: 0.03}
"""Weight of a horizon by its trading days, in the loss and in `Score.total`."""


def horizon_weights(days: Sequence[int]) -> np.ndarray:
    """Return the weight of horizons in trading days ahead, ascending: float32, shape (H,).

    Between the days of ``HORIZON_WEIGHTS`` the log of the weight is linear in the log of the days; beyond the
    last of them it is constant. Other horizons do not matter.
    """
    logs = np.log(list(HORIZON_WEIGHTS)), np.log(list(HORIZON_WEIGHTS.values()))
    weights = [HORIZON_WEIGHTS.get(day, float(np.exp(np.interp(np.log(day), *logs)))) for day in days]
    return np.array(weights, dtype=np.float32)


def unusual_weights(days: Sequence[int]) -> list[float]:
    """Return the weights of horizons that differ from the first keys of ``HORIZON_WEIGHTS``, else nothing.

    They are part of a run's id, because an earlier version weighted horizons by position, not by days.
    """
    shipped = tuple(HORIZON_WEIGHTS)[: len(days)]
    return [] if tuple(days) == shipped else horizon_weights(days).tolist()


@dataclass(frozen=True)
class Score:
    """Errors by horizon, and their total."""

    by_horizon: tuple[Errors, ...]
    days: tuple[int, ...]
    """Trading days ahead of each horizon."""

    @property
    def rel_mae(self) -> list[float]:
        return [1.0 if e.rel_mae is None else e.rel_mae for e in self.by_horizon]

    @property
    def rel_rmse(self) -> list[float]:
        return [1.0 if e.rel_rmse is None else e.rel_rmse for e in self.by_horizon]

    @property
    def total(self) -> float:
        """Mean of relMAE (published) and relRMSE (raw), weighted by horizon; inf if not finite."""
        weights = horizon_weights(self.days)
        total = np.average((np.array(self.rel_mae) + np.array(self.rel_rmse)) / 2, weights=weights)
        return float(total) if np.isfinite(total) else float("inf")


def choose(totals: dict[str, float]) -> str:
    """Return the candidate to publish, given each one's `Score.total` on validation.

    It is the average of the general and the fine-tuned networks, unless another leads by more than
    ``CLEAR_LEAD``.
    """
    usual = "average" if "average" in totals else next(iter(totals))
    best = min(totals, key=totals.__getitem__)
    return best if totals[best] < totals[usual] - CLEAR_LEAD else usual


def score(windows: Windows, prices: Prices, rows: np.ndarray | None = None) -> Score:
    """Score forecasts for ``windows`` against the actual prices; windows without a target are left out.

    ``rows`` (a mask, shape (N,), or positions) chooses windows; by default those in which the price moves,
    because frozen ones would improve every mean.
    """
    rows = ~prices.frozen if rows is None else rows
    return score_of(windows.take(rows), prices.raw[rows], prices.published[rows])


def score_of(windows: Windows, raw: np.ndarray, published: np.ndarray) -> Score:
    """Score forecast prices in KES, shape (N, H), of all these windows."""
    last, actual = windows.last_price, windows.actual
    return Score(
        tuple(
            errors(last=last, raw=raw[:, h], published=published[:, h], actual=actual[:, h])
            for h in range(len(windows.spec.horizons))
        ),
        windows.spec.horizons,
    )


def by_symbol(windows: Windows, prices: Prices) -> dict[str, Score]:
    """Return the score of each symbol on its moving windows; a symbol without any has n = 0."""
    present = np.unique(windows.symbol)
    moving = np.flatnonzero(~prices.frozen)
    moving = moving[np.argsort(windows.symbol[moving], kind="stable")]
    starts = np.searchsorted(windows.symbol[moving], present)
    return {
        windows.series.symbols[position]: score(windows, prices, rows)
        for position, rows in zip(present, np.split(moving, starts[1:]), strict=True)
    }


def beats_naive(judged: Score) -> bool:
    """Whether a stock's model beat the last price on validation, by `Score.total`.

    It is recorded in the metadata. Where a model has no factors (`train.run.factors`), the last price is
    published if it did not, or if too few windows moved. The verdict is the same for all horizons and both
    losses: single ones are mostly noise, and cost more than they save (docs/results.md).
    """
    return judged.by_horizon[0].n >= MINIMUM_JUDGED and judged.total < 1
