"""Climatology: how often each stock's price rose, stayed and fell before the test part."""

import numpy as np
import pandas as pd

from common.forecast.probabilities import DIRECTIONS
from common.network.channels import frozen
from common.prices.panel import Panel
from common.release.learning import window_blocks
from common.release.models import ModelFolder

BASE_RATES = [f"base_{direction}" for direction in DIRECTIONS]
PRIOR = 50
"""Weight of the rates of all stocks in those of one stock, as a number of outcomes."""


def base_rates(models: ModelFolder, panel: Panel, until: np.datetime64) -> pd.DataFrame:
    """Return the base rates of the outcomes known by ``until``, the end of the validation part.

    Frozen windows are left out, as in every figure. A stock's rates are those of its own outcomes and of
    ``PRIOR`` further ones at the rates of all stocks.

    Returns
    -------
    DataFrame
        ``symbol``, ``horizon`` and ``BASE_RATES``, which sum to 1; NaN without any outcome.
    """
    blocks, first = window_blocks(panel, models, until), 0
    symbols, horizons = blocks.symbols, blocks.spec.horizons
    counts = np.zeros((len(symbols), len(horizons), len(DIRECTIONS)))
    for windows in blocks:
        part = windows.take(~frozen(windows))
        rows = first + part.symbol
        first += len(windows.series.symbols)
        change = np.where(part.target_date <= until, part.change, np.nan)
        for direction, happened in enumerate((change > 0, change == 0, change < 0)):
            np.add.at(counts[..., direction], rows, happened)
    with np.errstate(invalid="ignore"):
        pooled = counts.sum(axis=0) / counts.sum(axis=(0, 2))[:, None]
    rates = (counts + PRIOR * pooled) / (counts.sum(axis=-1, keepdims=True) + PRIOR)
    table = pd.DataFrame(rates.reshape(-1, len(DIRECTIONS)), columns=BASE_RATES)
    table.insert(0, "horizon", np.tile(horizons, len(symbols)))
    table.insert(0, "symbol", pd.array(np.repeat(symbols, len(horizons)), dtype="str"))
    return table


def with_base_rates(table: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Add each row's base rates to a forecast table."""
    return table.merge(rates, on=["symbol", "horizon"], how="left", validate="many_to_one")
