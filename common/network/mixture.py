"""The zero-inflated mixture: a change is 0 with probability 1 - p, else it is drawn from quantiles.

On many days a price does not move, so the best price for absolute error (the mixture's median) differs
from the best one for squared error (a mean). One network predicts both. The mean is a separate output,
trained with the Huber loss; the mixture's own mean is as good and is not used (docs/results.md, "Raw").
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

TAUS = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
"""Probabilities of the quantiles of the change given a move."""
_Z = ndtri(TAUS)
OUTPUTS = 3 + len(TAUS)
"""Outputs per horizon: Huber output, p_move, the quantiles and an L1 median, which only helps training."""


@dataclass(frozen=True)
class Mixture:
    """Forecast of the scaled change, for N windows and H horizons.

    Attributes
    ----------
    mean : shape (N, H)
        The Huber output: the change that is best for squared error.
    p_move : shape (N, H), probability that the price will differ from the last one
    quantiles : shape (N, H, 11), ascending: quantiles at ``TAUS`` of the change given a move
    """

    mean: np.ndarray
    p_move: np.ndarray
    quantiles: np.ndarray

    @classmethod
    def from_outputs(cls, outputs: np.ndarray) -> "Mixture":
        """Read a network's outputs, shape (N, H, 14), and sort crossing quantiles.

        Sorting is the rearrangement of Chernozhukov, Fernandez-Val and Galichon, Econometrica 2010.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        return cls(outputs[..., 0], outputs[..., 1], np.sort(outputs[..., 2:-1], axis=-1))

    def quantile(self, tau: float | np.ndarray) -> np.ndarray:
        """Return the mixture's quantile at probability ``tau``: 0 inside the mass at "no move".

        ``tau`` is a number or has shape (N, H) or (Q, N, H). The result is float64, shape (N, H) or
        (Q, N, H). Between and beyond `TAUS` the quantiles are linear in the normal score, which is exact
        for a normal distribution.
        """
        below = self.p_move * self._falls
        above = below + 1 - self.p_move
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(tau < below, tau, tau - (1 - self.p_move)) / self.p_move
        value = self._given_move(ndtri(np.clip(inside, 1e-6, 1 - 1e-6)))
        falls, rises = tau < below, tau > above
        change = np.where(falls, np.minimum(value, 0), np.where(rises, np.maximum(value, 0), 0.0))
        return np.where(np.isnan(below) | np.isnan(self.quantiles).any(axis=-1), np.nan, change)

    def needed_level(self, change: np.ndarray) -> np.ndarray:
        """Return the smallest level whose central interval contains ``change``, shape (N, H); NaN for NaN.

        The conformity score of distributional conformal prediction (Chernozhukov, Wuethrich and Zhu, PNAS
        2021): twice the distance of the probability integral transform from one half. A change of 0 may
        fall anywhere in the mass at "no move".
        """
        moved = self.p_move * self._share_below(change)
        still = 1 - self.p_move
        up_to = moved + np.where(change >= 0, still, 0.0)
        below = moved + np.where(change > 0, still, 0.0)
        needed = np.clip(np.maximum(2 * below - 1, 1 - 2 * up_to), 0.0, 1.0)
        return np.where(np.isfinite(change), needed, np.nan)

    @property
    def up_given_move(self) -> np.ndarray:
        """Return P(rise | move), shape (N, H): the share of the move's distribution above 0.

        A move is a close that differs from the last one, so it is at least one tick. Its distribution is
        continuous and reaches below half a tick; such a change is a rise or a fall of one tick, not "no
        move", which `p_move` has counted already.
        """
        return 1 - self._falls

    @cached_property
    def _falls(self) -> np.ndarray:
        """P(fall | move), shape (N, H)."""
        return self._share_below(np.zeros_like(self.p_move))

    def _given_move(self, score: np.ndarray) -> np.ndarray:
        """Return the quantile of the move at a normal score."""
        segment = np.clip(np.searchsorted(_Z, score) - 1, 0, len(_Z) - 2)
        left, right = _ends(self.quantiles, segment)
        share = (score - _Z[segment]) / (_Z[segment + 1] - _Z[segment])
        moves: np.ndarray = left + share * (right - left)
        return moves

    def _share_below(self, change: np.ndarray) -> np.ndarray:
        """Return P(move < ``change``), shape (N, H), by the same interpolation."""
        gap = self.quantiles - change[..., None]
        segment = np.clip((gap < 0).sum(axis=-1) - 1, 0, len(_Z) - 2)
        left, right = _ends(gap, segment)
        width = np.maximum(right - left, 1e-9)
        below: np.ndarray = ndtr(_Z[segment] - left / width * (_Z[segment + 1] - _Z[segment]))
        return below


def _ends(values: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of the chosen segments of values (N, H, 11), in the shape of ``segment``.

    ``segment`` has shape (N, H) or (Q, N, H).
    """
    flat, rows = values.reshape(-1, values.shape[-1]), np.arange(values[..., 0].size)
    chosen = segment.reshape(-1, len(rows)) if len(rows) else segment.reshape(1, 0)
    ends = (flat[rows, chosen + step].reshape(segment.shape) for step in (0, 1))
    return next(ends), next(ends)
