"""Find dates whose day and month were swapped in part of a file, as spreadsheets do it."""

import numpy as np
import pandas as pd

SORTED_SHARE = 0.9
"""A file is in order of date, by symbol, if at least this share of its certain dates is."""
MARGIN = np.timedelta64(15, "D")
"""How far dates of a file in no order may lie outside its certain dates."""
_FIRST, _LAST = np.datetime64("1677-09-22"), np.datetime64("2262-04-10")


def has_month_as_number(text: str) -> bool:
    """Return whether a date is written without the name of its month."""
    return text != "" and not any(char.isalpha() for char in text[:10])


def swapped_dates(rows: pd.DataFrame, numeric: pd.Series) -> pd.Series:
    """Mark the dates that are out of order but in order with day and month swapped.

    A date is certain if its day is above 12 or equals its month, or its month is written as a name. Any other
    date must lie between the certain dates of its symbol before and after it, or in a file in no order within
    ``MARGIN`` of all certain dates. A date that does not is marked if it would with day and month swapped.

    Parameters
    ----------
    rows : DataFrame
        ``symbol, date``, in the order of the file; NaT where there is no date.
    numeric : bool, shape (N,)
        Whether the month is written as a number.

    Returns
    -------
    bool, shape (N,)
    """
    dates, marked = rows["date"], pd.Series(False, index=rows.index)
    if not numeric.any():
        return marked
    day, month = dates.dt.day, dates.dt.month
    certain = dates.notna() & (~numeric | (day > 12) | (day == month))
    open_ = dates.notna() & ~certain
    if not open_.any() or not certain.any():
        return marked
    other = pd.to_datetime(
        pd.DataFrame({"year": dates.dt.year, "month": day, "day": month})[open_].astype("int64")
    ).to_numpy()
    anchors, symbols = dates.where(certain), rows["symbol"]
    steps = anchors[certain].groupby(symbols[certain], sort=False).diff().dropna()
    rising, falling = (steps >= pd.Timedelta(0)).mean(), (steps <= pd.Timedelta(0)).mean()
    if len(steps) and max(rising, falling) >= SORTED_SHARE:
        groups = anchors.groupby(symbols, sort=False)
        ends = (groups.ffill(), groups.bfill()) if rising >= falling else (groups.bfill(), groups.ffill())
        low = ends[0][open_].fillna(pd.Timestamp(_FIRST)).to_numpy()
        high = ends[1][open_].fillna(pd.Timestamp(_LAST)).to_numpy()
    else:
        low, high = anchors.min().to_datetime64() - MARGIN, anchors.max().to_datetime64() + MARGIN
    written = dates[open_].to_numpy()
    marked[open_] = ((written < low) | (written > high)) & (other >= low) & (other <= high)
    return marked
