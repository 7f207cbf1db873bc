"""Forecasts whose worth is known."""

import numpy as np
import pandas as pd

STOCKS = [f"S{number:02d}" for number in range(14)]
DAYS = pd.bdate_range("2023-01-02", periods=45).astype("datetime64[s]")


def made_table(
    signal: str, horizons: tuple[int, ...] = (1, 5), days: pd.DatetimeIndex = DAYS
) -> pd.DataFrame:
    """Forecasts of a random market.

    ``perfect`` and ``executable`` foresee the return after the same close and after the next one; ``random``
    foresees nothing.
    """
    rng = np.random.default_rng(3)
    far = max(horizons)
    steps = rng.normal(0.001, 0.02, (len(days) + far + 1, len(STOCKS)))
    prices = pd.DataFrame(10 * np.exp(steps.cumsum(axis=0)), columns=STOCKS)
    parts = []
    for horizon in horizons:
        returns = prices.shift(-horizon) / prices - 1
        known = {
            "perfect": returns,
            "executable": returns.shift(-1),
            "random": pd.DataFrame(rng.normal(size=prices.shape), columns=STOCKS),
        }[signal]
        for stock in STOCKS:
            last = prices[stock].to_numpy()[: len(days)]
            part = pd.DataFrame({"symbol": stock, "cutoff": days, "horizon": horizon, "last_price": last})
            part["raw"] = last * (1 + known[stock].to_numpy()[: len(days)])
            part["actual"] = prices[stock].shift(-horizon).to_numpy()[: len(days)]
            parts.append(part.assign(published=part["raw"], frozen=False, p_move=0.5))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(**{f"{side}{level}": np.nan for side in ("lo", "hi") for level in (80, 90, 95)})
