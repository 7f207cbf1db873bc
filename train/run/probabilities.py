"""Fit the calibration of the probabilities by direction on validation forecasts."""

import numpy as np
from scipy.special import expit, logit, xlogy

from common.forecast.prices import Prices
from common.forecast.probabilities import IDENTITY, SMALLEST, Line, ProbabilityCalibration, corrected, parts
from common.prices.windows import Windows

FOLDS = 5
"""Blocks of consecutive days of the validation part, for cross-validation."""
FEWEST = 500
"""A line is fitted only to at least this many outcomes."""
STEPS = 50
SLOPE_PRIOR = 0.01
"""Precision of a normal prior of the slope around 1. Forecasts that hardly differ say nothing about a slope;
with any others it does not matter."""


def fit_calibration(windows: Windows, prices: Prices) -> ProbabilityCalibration | None:
    """Fit a line for each probability and horizon, on all moving stocks together.

    A line is kept only if it lowers the log loss in cross-validation over ``FOLDS`` blocks of consecutive
    cutoffs by more than the standard error of the gain (Hastie, Tibshirani and Friedman, The Elements of
    Statistical Learning, 7.10). Otherwise the probability stays as it is.

    Parameters
    ----------
    windows : of the validation part; windows without a known close, or with a frozen price, are left out
    prices : their forecasts, not calibrated

    Returns
    -------
    ProbabilityCalibration
        None if the representation has no probabilities.
    """
    move, up = parts(prices.probabilities)
    if not np.isfinite(move).any():
        return None
    change, moving = windows.change, ~prices.frozen[:, None]
    known = moving & np.isfinite(change) & np.isfinite(move)
    moved = change != 0
    horizons = windows.spec.horizons
    return ProbabilityCalibration(
        horizons,
        move=tuple(
            _chosen(move[rows, h], moved[rows, h], windows.cutoff[rows]) for h, rows in enumerate(known.T)
        ),
        up=tuple(
            _chosen(up[rows, h], change[rows, h] > 0, windows.cutoff[rows])
            for h, rows in enumerate((known & moved).T)
        ),
    )


def fitted_line(probability: np.ndarray, happened: np.ndarray) -> Line:
    """Fit intercept and slope in the log odds by maximum likelihood; ``IDENTITY`` if there is no rising line.

    The slope has a weak prior, ``SLOPE_PRIOR``. Newton's method, with steps of at most 1, since longer ones
    overshoot; see Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 4.4.1. Both arrays
    have shape (N,); ``happened`` is bool.
    """
    odds = logit(np.clip(probability, SMALLEST, 1 - SMALLEST))
    design, line = np.stack([np.ones_like(odds), odds], axis=1), np.array(IDENTITY)
    for _ in range(STEPS):
        fitted = expit(design @ line)
        hessian = design.T @ (design * (fitted * (1 - fitted))[:, None]) + np.diag([0.0, SLOPE_PRIOR])
        gradient = design.T @ (happened - fitted) - np.array([0.0, SLOPE_PRIOR * (line[1] - 1)])
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return IDENTITY
        step /= max(1.0, np.abs(step).max())
        line = line + step
        if np.abs(step).max() < 1e-10:
            break
    a, b = map(float, line)
    return (a, b) if np.isfinite(line).all() and b > 0 else IDENTITY


def log_loss(probability: np.ndarray, happened: np.ndarray) -> float:
    """Return the mean negative log likelihood, natural logarithm; arrays of shape (N,)."""
    return float(-(xlogy(happened, probability) + xlogy(~happened, 1 - probability)).mean())


def _chosen(probability: np.ndarray, happened: np.ndarray, cutoff: np.ndarray) -> Line:
    """Return the line of all rows if it clearly helps in cross-validation."""
    if len(probability) < FEWEST or happened.all() or not happened.any():
        return IDENTITY
    days, day = np.unique(cutoff, return_inverse=True)
    fold, gains = day * FOLDS // len(days), []
    for number in np.unique(fold):
        inside = fold == number
        line = fitted_line(probability[~inside], happened[~inside])
        losses = [
            log_loss(corrected(probability[inside, None], (candidate,))[:, 0], happened[inside])
            for candidate in (IDENTITY, line)
        ]
        gains.append(losses[0] - losses[1])
    clear = np.mean(gains) > np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else False
    return fitted_line(probability, happened) if clear else IDENTITY
