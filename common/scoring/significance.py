"""Test forecasts for equal accuracy (Diebold-Mariano), and estimate the error of a ratio of losses."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

FEWEST = 8
"""The smallest number of values that is tested."""
ROUNDING = 1e-12
"""A differential that varies by less than this share of its largest value is constant."""


@dataclass(frozen=True)
class DieboldMariano:
    """The result of a test of equal accuracy.

    Attributes
    ----------
    statistic : negative if the model is better than its rival; NaN if it cannot be tested
    p_value : two-sided; NaN if ``statistic`` is
    mean : mean of the differential, in its unit; NaN if there is none
    n : values tested, T
    lags : autocovariances in the long-run variance
    """

    statistic: float
    p_value: float
    mean: float
    n: int
    lags: int


def diebold_mariano(differential: np.ndarray, *, horizon: int) -> DieboldMariano:
    """Test whether the mean of a loss differential is 0 (Diebold and Mariano, JBES 1995).

    With d the differential, u = d - mean(d), gamma_k = sum_t(u_t * u_{t-k}) / T and L lags:

    - long-run variance V = gamma_0 + 2 * sum_{k=1..L} (1 - k / (L + 1)) * gamma_k
      (Newey and West, Econometrica 1987: Bartlett weights, never negative);
    - L = max(horizon - 1, floor(4 * (T / 100)^(2/9))), at most T - 1: errors ``horizon`` steps ahead are
      correlated over horizon - 1; the second term is the rule of thumb of Newey and West (Review of
      Economic Studies 1994) for these weights, for any other correlation;
    - statistic = mean(d) / sqrt(V / T) * sqrt((T + 1 - 2m + m(m - 1) / T) / T), m = L + 1;
    - p from Student's t with T - 1 degrees of freedom.

    The factor is that of Harvey, Leybourne and Newbold (IJF 1997), with m = L + 1 instead of the horizon: it
    corrects the bias that subtracting the mean causes in each autocovariance used, of which there may be more
    than horizon - 1. Where L = horizon - 1 it is their factor. They derived it for equal weights; with
    Bartlett weights it corrects slightly more, which offsets part of what these weights leave out.
    Simulated under the null at 5 %, the test rejects 5 % at horizon 1 (T 20 to 1000), but 7 to 10 % for
    squared errors that overlap over horizons 5 to 30 (T 100 to 1000), and more if the correlation decays
    slowly. At long horizons a p near .05 is therefore weak evidence.

    Parameters
    ----------
    differential : shape (T,)
        Loss of the model minus loss of its rival, one value per date, oldest first, any unit. NaN entries
        are dropped, and the rest counts as consecutive.
    horizon : int
        Steps ahead of the forecast.

    Returns
    -------
    DieboldMariano
        Statistic and p-value are NaN, without a warning, where T < 8, the differential is constant or
        not finite, or the factor is 0 (horizon >= T).

    Raises
    ------
    ValueError
        If ``differential`` is not one-dimensional or ``horizon`` is below 1.
    """
    values = np.asarray(differential, dtype=np.float64)
    if values.ndim != 1 or horizon < 1:
        raise ValueError(
            f"diebold_mariano: got shape {values.shape} and horizon {horizon}; need (T,) and at least 1."
        )
    values = values[~np.isnan(values)]
    n = len(values)
    lags = _lags(n, horizon)
    if n == 0 or not np.isfinite(values).all():
        return DieboldMariano(math.nan, math.nan, math.nan, n, lags)
    largest = float(np.abs(values).max()) or 1.0
    scaled = values / largest
    mean = float(scaled.mean())
    correction = (n - lags - 1) * (n - lags) / n**2
    if n < FEWEST or correction <= 0 or float(np.ptp(scaled)) <= ROUNDING:
        return DieboldMariano(math.nan, math.nan, largest * mean, n, lags)
    statistic = mean / math.sqrt(_long_run_variance(scaled - mean, lags) / n) * math.sqrt(correction)
    return DieboldMariano(statistic, float(2 * stdtr(n - 1, -abs(statistic))), largest * mean, n, lags)


def ratio_noise(own: np.ndarray, rival: np.ndarray, dates: np.ndarray, *, horizon: int) -> float:
    """Estimate the standard error of sum(own) / sum(rival), with the dates as the sample.

    With a_t and b_t the sums of a date, r = sum(a_t) / sum(b_t) and u_t = a_t - r * b_t (linearization of a
    ratio: Cochran, Sampling Techniques, 1977, section 6.4), T dates, and V, L and m = L + 1 as in
    `diebold_mariano`:

    - standard error = sqrt(V / T) / mean(b_t) / sqrt((T + 1 - 2m + m(m - 1) / T) / T).

    Parameters
    ----------
    own, rival : shape (N,)
        Losses of the same N forecasts, without NaN. ``own`` may be a difference of losses.
    dates : shape (N,)
        Sortable values, in any order.
    horizon : int
        Steps ahead of the forecast.

    Returns
    -------
    float
        In the unit of the ratio; NaN where T < 8, the factor is 0 (horizon >= T), or the rival has no loss.
    """
    days, day = np.unique(np.asarray(dates), return_inverse=True)
    n = len(days)
    lags = _lags(n, horizon)
    correction = (n - lags - 1) * (n - lags) / n**2 if n else 0.0
    ours, theirs = (
        np.bincount(day, weights=np.asarray(values, dtype=np.float64), minlength=n) for values in (own, rival)
    )
    total = float(theirs.sum())
    if n < FEWEST or correction <= 0 or not total > 0:
        return math.nan
    residual = ours - float(ours.sum()) / total * theirs
    variance = _long_run_variance(residual - residual.mean(), lags)
    return math.sqrt(variance / n / correction) / (total / n)


def by_date(values: np.ndarray, dates: np.ndarray) -> np.ndarray:
    """Compute the mean of each date, in date order.

    Stocks move together, so the losses of S stocks on one day are not S independent observations. Averaging
    first gives a test one value per date. Each date has the same weight, so where the number of stocks
    varies the mean of the result differs from the mean over rows.

    Parameters
    ----------
    values : shape (N,)
        NaN entries are left out.
    dates : shape (N,)
        Sortable values, in any order.

    Returns
    -------
    float64, shape (D,)
        One mean for each of the D distinct dates, oldest first; NaN for a date without values.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != np.shape(dates):
        raise ValueError(f"by_date: got values {values.shape} and dates {np.shape(dates)}; need the same.")
    days, day = np.unique(np.asarray(dates), return_inverse=True)
    known = ~np.isnan(values)
    total = np.bincount(day[known], weights=values[known], minlength=len(days))
    count = np.bincount(day[known], minlength=len(days))
    with np.errstate(invalid="ignore"):
        return total / count


def _lags(n: int, horizon: int) -> int:
    """Return L for n values; 1e-9 because 4 * (51200 / 100)^(2/9) is 16, but slightly less in floats."""
    usual: float = 4 * (n / 100) ** (2 / 9)
    return max(min(max(horizon - 1, math.floor(usual + 1e-9)), n - 1), 0)


def _long_run_variance(centred: np.ndarray, lags: int) -> float:
    covariance = [float(centred[k:] @ centred[: len(centred) - k]) for k in range(lags + 1)]
    tail = sum((1 - k / (lags + 1)) * covariance[k] for k in range(1, lags + 1))
    return (covariance[0] + 2 * tail) / len(centred)
