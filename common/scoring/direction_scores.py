"""Brier scores of the probabilities of a rise, no change and a fall, and their skill against climatology.

Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.
"""

import numpy as np

SCORES = ("brier", "brier_skill", "brier_up", "brier_up_skill")


def outcomes(last: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return 1 for the direction that occurred, else 0: up, unchanged, down, (N, 3); prices (N,) in KES."""
    happened: np.ndarray = np.stack([actual > last, actual == last, actual < last], axis=-1).astype(float)
    return happened


def direction_scores(
    probabilities: np.ndarray, base: np.ndarray, last: np.ndarray, actual: np.ndarray
) -> dict[str, float | None]:
    """Score probabilities by direction, shape (N, 3), against base rates of the same shape.

    Returns
    -------
    dict
        ``brier``: mean over the rows of the squared differences from the outcome, summed over the three
        directions: 0 is perfect, 2 the worst. ``brier_up``: the same for a rise against everything else, one
        term, at most 1. ``brier_skill`` and ``brier_up_skill``: 1 - score / score of the base rates; above 0
        is better than climatology. Rows with NaN are left out; None where no row is left.
    """
    known = np.isfinite(probabilities).all(axis=1) & np.isfinite(actual)
    scored = known & np.isfinite(base).all(axis=1)
    happened = outcomes(last, actual)

    def score(forecast: np.ndarray, rows: np.ndarray) -> tuple[float, float] | None:
        if not rows.any():
            return None
        squares = (forecast[rows] - happened[rows]) ** 2
        return float(squares.sum(axis=1).mean()), float(squares[:, 0].mean())

    ours, own, climate = score(probabilities, known), score(probabilities, scored), score(base, scored)
    skills = [
        None if own is None or climate is None or not climate[place] else 1 - own[place] / climate[place]
        for place in range(2)
    ]
    brier, brier_up = ours or (None, None)
    return dict(zip(SCORES, (brier, skills[0], brier_up, skills[1]), strict=True))
