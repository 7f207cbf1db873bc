"""Tests of served forecasts against the backtest: larger losses, and coverage beside the nominal level."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr
from scipy.stats import beta

from common.scoring.significance import by_date, diebold_mariano

NOMINAL = 0.9


class Breakdown(NamedTuple):
    """A one-sided test of whether losses have increased; NaN if it is not defined."""

    statistic: float
    p: float


def breakdown(surprise: np.ndarray, *, horizon: int, reference_dates: int) -> Breakdown:
    """Test whether losses exceed the mean loss of an earlier period (Giacomini and Rossi, "Detecting and
    predicting forecast breakdowns", Review of Economic Studies 2009).

    Surprise losses (loss minus the mean loss of the reference) have mean 0 without a breakdown. Their mean is
    studentised as in `diebold_mariano` and divided by sqrt(1 + n / m), because the mean of the reference is
    itself estimated from m dates (their fixed scheme).

    Parameters
    ----------
    surprise : shape (T,), one value a date, oldest first
    horizon : steps ahead that were forecast
    reference_dates : m
    """
    test = diebold_mariano(surprise, horizon=horizon)
    if math.isnan(test.statistic) or reference_dates < 1:
        return Breakdown(math.nan, math.nan)
    statistic = test.statistic / math.sqrt(1 + test.n / reference_dates)
    return Breakdown(statistic, float(stdtr(test.n - 1, -statistic)))


class Coverage(NamedTuple):
    """Share of outcomes inside their intervals, with its exact binomial interval; NaN without outcomes."""

    share: float
    low: float
    high: float
    p: float
    """Two-sided p-value of the nominal level."""
    effective_n: float


def binomial_coverage(
    inside: np.ndarray, dates: np.ndarray, *, horizon: int, level: float, nominal: float = NOMINAL
) -> Coverage:
    """Return the Clopper-Pearson interval for an effective number of outcomes (Korn and Graubard, Survey
    Methodology 1998), because stocks move together and horizons overlap.

    The effective number is p (1 - p) over the variance of p, estimated from the means of the dates as in
    `diebold_mariano`, and at most n / horizon, the number of outcomes that do not overlap. If it cannot be
    estimated (all inside, or too few dates), it is the number of dates over horizon.

    Parameters
    ----------
    inside : bool, shape (N,)
    dates : shape (N,), cutoffs
    level : of the interval, such as .99
    """
    n = len(inside)
    if not n:
        return Coverage(math.nan, math.nan, math.nan, math.nan, 0.0)
    share, means = float(np.mean(inside)), by_date(inside.astype(float), dates)
    test = diebold_mariano(means, horizon=horizon)
    if 0 < share < 1 and test.statistic > 0:
        spread = test.mean / test.statistic
        effective = min(n / horizon, share * (1 - share) / spread**2)
    else:
        effective = len(means) / horizon
    effective = max(effective, 1.0)
    hits, tail = share * effective, (1 - level) / 2
    misses = effective - hits
    low = float(beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 0 else 1.0
    at_most = float(beta.sf(nominal, hits + 1, misses)) if misses > 0 else 1.0
    at_least = float(beta.cdf(nominal, hits, misses + 1)) if hits > 0 else 1.0
    return Coverage(share, low, high, min(1.0, 2 * min(at_most, at_least)), effective)
