"""How good forecasts were, over the days that can be judged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError
from common.forecast.prices import Prices
from common.prices.windows import Windows
from common.scoring.metrics import Errors, errors

CLEAR_LEAD = 0.01
"""Lead in `Score.total` over one stock's validation year that a candidate needs; a judgement, see
docs/decisions.md."""
MINIMUM_JUDGED = 20
"""Moving validation windows that a judgement on one stock needs."""
HORIZON_WEIGHTS = {1: 1.0, 5: 0.125, 10: 0.0625, 30: 0.03}
"""Weight of a horizon by its trading days, in the loss and in `Score.total`; more for the far ones costs the
first."""


def horizon_weights(days: Sequence[int]) -> np.ndarray:
    """Weight of each horizon, float32, shape (H,): what its days weigh, whatever other horizons there are.

    Between the days of ``HORIZON_WEIGHTS`` the log of the weight is linear in the log of the days; beyond the
    last of them the weight is the last one's.

    Parameters
    ----------
    days : sequence of int
        Trading days ahead, ascending.

    Raises
    ------
    ConfigError
        If there are none, or they are not ascending from 1.
    """
    if not days or list(days) != sorted(set(days)) or days[0] < 1:
        raise ConfigError(
            f"window.horizons: got {list(days)}, need ascending trading days from 1, such as [1, 5, 10, 30]."
        )
    known = np.log(list(HORIZON_WEIGHTS)), np.log(list(HORIZON_WEIGHTS.values()))
    weights = [HORIZON_WEIGHTS.get(day, float(np.exp(np.interp(np.log(day), *known)))) for day in days]
    return np.array(weights, dtype=np.float32)


def unusual_weights(days: Sequence[int]) -> list[float]:
    """The weights of horizons other than the shipped ones (or the first few of them), else nothing.

    They go into a run's id, because they once went by a horizon's place and not by its days.
    """
    shipped = tuple(HORIZON_WEIGHTS)[: len(days)]
    return [] if tuple(days) == shipped else horizon_weights(days).tolist()


@dataclass(frozen=True)
class Score:
    """Errors by horizon, and one number to choose by."""

    by_horizon: tuple[Errors, ...]
    days: tuple[int, ...]
    """Trading days ahead of each."""

    @property
    def rel_mae(self) -> list[float]:
        return [1.0 if e.rel_mae is None else e.rel_mae for e in self.by_horizon]

    @property
    def rel_rmse(self) -> list[float]:
        return [1.0 if e.rel_rmse is None else e.rel_rmse for e in self.by_horizon]

    @property
    def total(self) -> float:
        """Mean of relMAE (published) and relRMSE (raw), horizons weighted as in the loss; inf if broken."""
        weights = horizon_weights(self.days)
        total = np.average((np.array(self.rel_mae) + np.array(self.rel_rmse)) / 2, weights=weights)
        return float(total) if np.isfinite(total) else float("inf")


def choose(totals: dict[str, float]) -> str:
    """The candidate to publish, from `Score.total` on validation by candidate.

    The average of the general and the fine-tuned networks unless another is ahead by more than
    ``CLEAR_LEAD``.
    """
    usual = "average" if "average" in totals else next(iter(totals))
    best = min(totals, key=totals.__getitem__)
    return best if totals[best] < totals[usual] - CLEAR_LEAD else usual


def score(windows: Windows, prices: Prices, rows: np.ndarray | None = None) -> Score:
    """Score forecasts for ``windows`` against what happened; windows without a target are left out.

    ``rows`` (a mask, shape (N,), or positions) limits it to some of them; default those in which the price
    moves, because a frozen one would flatter every mean.
    """
    rows = ~prices.frozen if rows is None else rows
    actual = windows.take(rows).actual
    return Score(
        tuple(
            errors(
                last=prices.last[rows],
                raw=prices.raw[rows, h],
                published=prices.published[rows, h],
                actual=actual[:, h],
            )
            for h in range(len(windows.spec.horizons))
        ),
        windows.spec.horizons,
    )


def by_symbol(windows: Windows, prices: Prices) -> dict[str, Score]:
    """The score of each symbol's own moving windows; one without any has n = 0."""
    present = np.unique(windows.symbol)
    moving = np.flatnonzero(~prices.frozen)
    moving = moving[np.argsort(windows.symbol[moving], kind="stable")]
    starts = np.searchsorted(windows.symbol[moving], present)
    return {
        windows.series.symbols[place]: score(windows, prices, rows)
        for place, rows in zip(present, np.split(moving, starts[1:]), strict=True)
    }


def beats_naive(judged: Score) -> bool:
    """Whether a stock's model was better than the last price on validation, by `Score.total`.

    Where it was not, or too few windows moved to say, the last price is what is published. One verdict for
    all horizons and both losses: verdicts on one loss of one horizon are mostly noise, and cost more than
    they save (docs/results.md).
    """
    return judged.by_horizon[0].n >= MINIMUM_JUDGED and judged.total < 1
