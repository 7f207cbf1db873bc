"""The share of stocks whose intervals hold, beside the share under perfect calibration."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from common.forecast.conformal import LEVELS

LEVEL = LEVELS[1]
"""Nominal level of the intervals that are judged by stock."""
BAND = (0.85, 0.95)
"""A stock's intervals hold if their coverage lies in this range."""
FEWEST = 20
"""Least number of scored forecasts of a stock that is judged."""
PATHS = 2_000
"""Number of simulated stocks per expected share."""
COLUMNS = ("horizon", "stocks", "within", "perfect")


def stock_coverage(by_symbol: pd.DataFrame) -> pd.DataFrame:
    """Compare the share of stocks whose 90 % intervals cover 85 to 95 % with that of perfect calibration.

    Parameters
    ----------
    by_symbol : DataFrame
        One row per horizon and symbol with ``horizon``, ``n`` and ``cover90``, see `summarise`.

    Returns
    -------
    DataFrame
        One row per horizon that has stocks to judge: ``stocks`` judged, share ``within``, and the share that
        is expected if every interval were perfect (``perfect``, see `expected_share`).
    """
    rows: list[dict[str, Any]] = []
    for horizon, own in by_symbol.groupby("horizon"):
        own = own[(own["n"].astype(float) >= FEWEST) & own["cover90"].notna()]
        if len(own):
            cover = own["cover90"].to_numpy(float)
            within = float(((cover >= BAND[0]) & (cover <= BAND[1])).mean())
            perfect = expected_share(own["n"].to_numpy(int), int(horizon))
            rows.append(dict(zip(COLUMNS, (int(horizon), len(own), within, perfect), strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def expected_share(counts: np.ndarray, horizon: int) -> float:
    """Return the expected share of stocks within `BAND` if every interval were perfectly calibrated.

    Forecasts on consecutive days overlap, so a stock has about n / horizon independent outcomes, and its own
    coverage scatters around the nominal level although nothing is wrong. Simulated: returns are independent
    and normal, and the interval is their exact central one. Numbers of forecasts are rounded to tens, and
    the seed is fixed.

    Parameters
    ----------
    counts : shape (S,), scored forecasts of each stock
    horizon : trading days ahead
    """
    sizes, stocks = np.unique(np.maximum(np.round(counts / 10).astype(int) * 10, 1), return_counts=True)
    return float(np.average([_share(int(size), horizon) for size in sizes], weights=stocks))


def _share(size: int, horizon: int) -> float:
    returns = np.random.default_rng(0).standard_normal((PATHS, size + horizon - 1))
    path = np.concatenate([np.zeros((PATHS, 1)), np.cumsum(returns, axis=1)], axis=1)
    change = (path[:, horizon:] - path[:, :-horizon]) / np.sqrt(horizon)
    cover = (np.abs(change) <= ndtri(0.5 + LEVEL / 2)).mean(axis=1)
    return float(((cover >= BAND[0]) & (cover <= BAND[1])).mean())
