"""The market on each date of a panel: index, breadth and activity, inputs of the networks."""

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.archive.layouts import MARKET_INDEX
from common.prices.panel import Panel

MARKET = ("market", "breadth", "active")
UNKNOWN_MARKET = pd.DataFrame(columns=list(MARKET), index=pd.DatetimeIndex([]), dtype=float)
MAX_STEP = 0.1
"""Bound on one stock's log return in the market's breadth: the exchange's daily band."""


def market_days(panel: Panel) -> pd.DataFrame:
    """Compute the columns ``MARKET`` for each date, NaN where unknown.

    A session whose index was not known on its own evening has no market return, nor has the session after
    it: the windows of stocks that were quoted that day must not see later values. Breadth and activity
    include the stocks whose close was known that evening; steps are clipped at ``MAX_STEP``.
    """
    rows = panel.frame
    steps = np.diff(np.log(rows["close"].to_numpy()))
    counted = known_rows(rows) & ((rows["flags"].to_numpy() & int(Flag.ACTION)) == 0)
    for symbol, (start, stop) in panel.spans.items():
        counted[start : stop if symbol.startswith("^") else start + 1] = False
    step, date = pd.Series(steps[counted[1:]]), rows["date"].array[counted]  # no step into the first row
    del steps
    days = pd.DataFrame(
        {
            "breadth": step.clip(-MAX_STEP, MAX_STEP).groupby(date).mean(),
            "active": (step != 0).astype(float).groupby(date).mean(),
        }
    )
    if MARKET_INDEX in panel.symbols:
        index = panel.history(MARKET_INDEX)
        level = np.where(known_rows(index), np.log(index["close"]), np.nan)
        returns = pd.Series(np.diff(level, prepend=np.nan), index=index["date"])
        days = days.join(returns.rename("market"), how="outer")
    return days.reindex(columns=list(MARKET))


def known_rows(history: pd.DataFrame) -> np.ndarray:
    """Mark the rows whose true close was known on the evening of their date; bool, shape (R,)."""
    return np.asarray((history["known"] == history["date"]).to_numpy() & true_rows(history))


def true_rows(history: pd.DataFrame) -> np.ndarray:
    """Mark the rows whose close is a real one; bool, shape (R,)."""
    return np.asarray((history["flags"].to_numpy() & int(Flag.STALE)) == 0)
