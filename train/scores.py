"""How good forecasts were, over the days that can be judged."""

from dataclasses import dataclass

import numpy as np

from common.data.windows import Windows
from common.metrics import Errors, errors
from common.model.prices import Prices

CLEAR_LEAD = 0.01
"""Lead in `Score.total` over one stock's validation year that a candidate needs; a judgement, see
docs/decisions.md."""
MINIMUM_JUDGED = 20
"""Moving validation windows that a judgement on one stock needs."""
HORIZON_DECAY = np.array([4.0, 0.5, 0.25, 0.12])


def horizon_weights(horizons: int) -> np.ndarray:
    """Weight of each horizon's loss, 1 for the first: more for the far ones costs the first."""
    weights = np.full(horizons, HORIZON_DECAY[-1])
    weights[: len(HORIZON_DECAY)] = HORIZON_DECAY[:horizons]
    relative: np.ndarray = (weights / weights[0]).astype(np.float32)
    return relative


@dataclass(frozen=True)
class Score:
    """Errors by horizon, and one number to choose by."""

    by_horizon: tuple[Errors, ...]

    @property
    def rel_mae(self) -> list[float]:
        return [1.0 if e.rel_mae is None else e.rel_mae for e in self.by_horizon]

    @property
    def rel_rmse(self) -> list[float]:
        return [1.0 if e.rel_rmse is None else e.rel_rmse for e in self.by_horizon]

    @property
    def total(self) -> float:
        """Mean of relMAE (published) and relRMSE (raw), horizons weighted as in the loss; inf if broken."""
        weights = horizon_weights(len(self.by_horizon))
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
        )
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
