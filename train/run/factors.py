"""Fit the factors of a model's forecast changes on validation.

The factor of each horizon and price has the smallest loss over all moving windows: squared error for the raw
price (least squares through the origin), absolute error for the published price (a grid). Errors are in
percent of the last price, as in the pooled figures.

The factors are then shrunk towards 1 by empirical Bayes (Efron and Morris, JASA 1973): the difference from 1
is multiplied by t2 / (t2 + e2), where e is the factor's standard error, and t2 the variance between horizons
that these errors do not explain. Outcomes overlap and stocks move together, so the standard error comes from
a bootstrap of blocks of days (Carlstein, Annals of Statistics 1986), each at least as long as the horizon.
All stocks have the same factor: factors per stock, and a verdict per stock, were worse (docs/results.md).
"""

import numpy as np

from common.exchange.ticks import round_to_tick
from common.forecast.factors import LARGEST, Factors
from common.forecast.representation import Residual
from common.network.channels import frozen
from common.prices.windows import Windows

STEP = 0.05
GRID = np.round(np.arange(0, LARGEST + STEP / 2, STEP), 2)
"""Candidates for the factor of the published price."""
SHORTEST_BLOCK = 5
"""Least number of days in a block."""
DRAWS = 200
"""Draws of the bootstrap."""


def fit_factors(representation: Residual, windows: Windows, outputs: np.ndarray) -> Factors:
    """Fit the factors of a network on validation windows.

    Parameters
    ----------
    windows : N windows; the frozen ones, and those without an outcome, are left out
    outputs : the network's outputs, shape (N, H, 14)

    Returns
    -------
    Factors
        Factor 1 where there are fewer than two blocks of days, or no forecast change to multiply; such a
        horizon does not affect the others.
    """
    moving = ~frozen(windows)
    windows, outputs = windows.take(moving), outputs[moving]
    changes, actual, last = representation.changes(windows, outputs), windows.change, windows.last_price
    day = np.unique(windows.cutoff, return_inverse=True)[1]
    factors, errors = np.ones((2, len(windows.spec.horizons), 2))
    estimated = np.zeros(len(windows.spec.horizons), dtype=bool)
    for h, horizon in enumerate(windows.spec.horizons):
        rows = np.flatnonzero(np.isfinite(actual[:, h]))
        if not len(rows):
            continue
        block = np.unique(day[rows] // max(horizon, SHORTEST_BLOCK), return_inverse=True)[1]
        if block.max() < 1:
            continue
        published, raw = changes[rows, h].T
        losses = published_losses(published, actual[rows, h], last[rows], block)
        products = raw_products(raw, actual[rows, h], block)
        if products[:, 1].any():
            factors[h], errors[h], estimated[h] = *_estimates(losses, products), True
    if estimated.any():
        shrunk = [shrink(factors[estimated, price], errors[estimated, price]) for price in (0, 1)]
        factors[estimated] = np.stack(shrunk, axis=1)
    return Factors(windows.spec.horizons, *(tuple(map(float, price)) for price in factors.T))


def published_losses(
    change: np.ndarray, actual: np.ndarray, last: np.ndarray, block: np.ndarray
) -> np.ndarray:
    """Sum absolute errors in percent of the last price by block and factor, shape (B, 27).

    Parameters
    ----------
    change, actual : shape (N,), the forecast and the actual log change
    last : shape (N,), KES
    block : shape (N,), 0 to B - 1
    """
    sums = []
    for factor in GRID:
        price = np.where(factor * change == 0, last, round_to_tick(last * np.exp(factor * change)))
        sums.append(np.bincount(block, weights=100 * np.abs(price / last - np.exp(actual))))
    return np.stack(sums, axis=1)


def raw_products(change: np.ndarray, actual: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Sum forecast x actual and forecast x forecast change, in percent, by block, shape (B, 2)."""
    forecast, outcome = 100 * np.expm1(change), 100 * np.expm1(actual)
    return np.stack([np.bincount(block, weights=forecast * other) for other in (outcome, forecast)], axis=1)


def _estimates(losses: np.ndarray, products: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the best factors (published, raw) and their standard errors."""
    count = len(losses)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    weights = np.concatenate([np.ones((1, count), dtype=weights.dtype), weights])
    nearest = np.argsort(np.abs(GRID - 1), kind="stable")  # of equal losses, the factor nearest to 1 counts
    totals = weights @ losses[:, nearest]
    lowest = totals <= totals.min(axis=1, keepdims=True) * (1 + 1e-12)  # sums may differ by rounding
    published = GRID[nearest[lowest.argmax(axis=1)]]
    cross, square = (weights @ products).T
    raw = np.clip(np.where(square > 0, cross / np.where(square > 0, square, 1), 1), 0, LARGEST)
    errors = max(published[1:].std(), STEP / 2), raw[1:].std()
    return (published[0], raw[0]), (float(errors[0]), float(errors[1]))


def shrink(factors: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Shrink the factors of H horizons towards 1, given their standard errors, both shape (H,)."""
    between = max(0.0, float(((factors - 1) ** 2 - errors**2).mean()))
    noise = np.maximum(errors**2, 1e-12)
    shrunk: np.ndarray = 1 + between / (between + noise) * (factors - 1)
    return shrunk
