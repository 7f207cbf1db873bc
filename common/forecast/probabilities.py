"""Calibrate the probabilities of a rise, no change and a fall.

The network's two probabilities, that the price moves and that a move is a rise, are corrected by a line in
the log odds for each horizon: Platt, "Probabilistic outputs for support vector machines", 1999. The lines are
fitted on the validation part (`train.run.probabilities`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from common.errors import BundleError

DIRECTIONS = ("up", "unchanged", "down")
"""Order of the last axis of probabilities by direction."""
SMALLEST = 1e-6
"""Probabilities are calibrated between this and 1 less this."""
Line = tuple[float, float]
"""Intercept and slope in the log odds."""
IDENTITY: Line = (0.0, 1.0)


@dataclass(frozen=True)
class ProbabilityCalibration:
    """A line for each probability and horizon; ``IDENTITY`` leaves a probability as it is."""

    horizons: tuple[int, ...]
    """Trading days ahead."""
    move: tuple[Line, ...]
    """For the probability that the price moves."""
    up: tuple[Line, ...]
    """For the probability that a move is a rise."""

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrate probabilities by direction, shape (N, H, 3).

        Rows whose probability of a move is 0 (the price is frozen) and rows of NaN stay as they are. The
        others sum to 1.
        """
        move, up = parts(probabilities)
        calibrated = by_direction(corrected(move, self.move), corrected(up, self.up))
        return np.where(move[..., None] > 0, calibrated, probabilities)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with every digit."""
        return {
            "method": "a line in the log odds, fitted on the validation part (Platt 1999)",
            "horizons": list(self.horizons),
            "move": [list(line) for line in self.move],
            "up": [list(line) for line in self.up],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any], horizons: tuple[int, ...]) -> "ProbabilityCalibration":
        """Rebuild a calibration from `as_dict`; BundleError unless it has a rising line for each horizon."""
        try:
            lines = [np.array(stored[name], float).reshape(len(horizons), 2) for name in ("move", "up")]
            if tuple(stored["horizons"]) != horizons:
                raise ValueError(f"horizons {stored['horizons']}, need {list(horizons)}")
            if not all(np.isfinite(line).all() and (line[:, 1] > 0).all() for line in lines):
                raise ValueError("need finite intercepts and positive slopes")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"probability_calibration: cannot read it ({type(error).__name__}: {error}). Train and "
                "publish the release again."
            ) from None
        move, up = ([(float(a), float(b)) for a, b in pairs] for pairs in lines)
        return cls(horizons, tuple(move), tuple(up))


def by_direction(move: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Combine P(move) and P(up | move), each (N, H), to P(up), P(unchanged), P(down), shape (N, H, 3)."""
    return np.stack([move * up, 1 - move, move * (1 - up)], axis=-1)


def parts(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return P(move) and P(up | move), each (N, H), of probabilities by direction; .5 without a move."""
    up, down = probabilities[..., 0], probabilities[..., 2]
    move = up + down
    return move, np.divide(up, move, out=np.full_like(move, 0.5), where=move != 0)


def corrected(probability: np.ndarray, lines: tuple[Line, ...]) -> np.ndarray:
    """Apply the line of each horizon to the log odds of probabilities, shape (N, H)."""
    intercept, slope = np.array(lines, float).T
    odds: np.ndarray = logit(np.clip(probability, SMALLEST, 1 - SMALLEST))
    moved: np.ndarray = expit(intercept + slope * odds)
    return moved
