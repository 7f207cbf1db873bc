"""Detect archives whose dates were misread or whose files are mixed up."""

import pandas as pd

from common.archive.flags import Flag
from common.archive.layouts import WEEK
from common.archive.market_repairs import NOTE_COLUMNS, Note
from common.errors import ArchiveError

FALL, RISE = 0.78, 1.28
"""Ratios of a close to the close before; a step is a ratio outside them."""
STEPPING_SHARE = 0.10
"""A day has many steps if more than this share of its stocks step."""
FEWEST_STOCKS = 3
"""Fewest stocks with a step. From 2013 to 2024 Nairobi's worst day has 2 of 66 (3 %). With day and month
swapped in one of its files, 32 days have more than 10 %, the worst 58 %; with one day in ten swapped, 4 days.
In its files of 2007 to 2012 one day has 6 of 57: 4 February 2009 is written there as 2 April."""
LONGEST_GAP = pd.Timedelta(days=14)
"""Steps over longer gaps, such as a missing file, are not compared."""
CLOSED_DAYS = 5
"""Fewest days of one year that have rows although the exchange is closed. In Nairobi's files there is none;
with day and month swapped in one of them there are 26 to 32."""
TWICE_SHARE = 0.5
"""A day occurs twice if more than this share of its stocks have two rows with different closes. In Nairobi's
files from 2013 there is none; in earlier ones there are 3."""


def mixed_dates(
    steps: pd.DataFrame, read: pd.Series, stocks: pd.Series, rejected: pd.DataFrame, weekdays: tuple[str, ...]
) -> pd.DataFrame:
    """List the days on which dates or files look mixed up.

    Parameters
    ----------
    steps : DataFrame
        `count_steps` of all stocks.
    read : Series
        Number of rows read by date, including rejected ones.
    stocks : Series
        Number of rows of stocks in the panel by date.
    rejected : DataFrame
        ``date, symbol, reason`` of the duplicates and conflicts.
    weekdays : tuple of str
        Trading days.

    Returns
    -------
    DataFrame
        ``kind, date, rows, detail``, by kind and date. ``kind`` is "many steps" (``rows``: stocks with a
        step), "closed day" (``rows``: rows of that day) or "day twice" (``rows``: rows with another close).
    """
    days = [*_many_steps(steps), *_closed_days(read, weekdays), *_days_twice(stocks, rejected)]
    dtypes = {"kind": "str", "date": "datetime64[us]", "rows": "int64", "detail": "str"}
    return pd.DataFrame(days, columns=NOTE_COLUMNS).astype(dtypes)


def refuse_mixed(folder: object, mixed: pd.DataFrame) -> None:
    """Raise ArchiveError if there are any mixed-up days."""
    if mixed.empty:
        return
    words = {
        "many steps": "many stocks step at once",
        "closed day": "there are rows although the exchange is closed",
        "day twice": "most stocks have two rows with different closes",
    }
    parts = [
        f"on {len(part)} days {words[str(kind)]} (first {part['date'].iloc[0]:%Y-%m-%d}: "
        f"{part['detail'].iloc[0]})"
        for kind, part in mixed.groupby("kind", sort=False)
    ]
    raise ArchiveError(
        f"{folder}: dates or files look mixed up: {'; '.join(parts)}. Check that day and month are not "
        "swapped, and `date_format` and `weekdays` in a columns.toml (`nsecast data check` lists the days). "
        "If the data is correct, accept it with --accept-mixed-dates.",
        folder=str(folder),
        days=len(mixed),
    )


def count_steps(stocks: pd.DataFrame) -> pd.DataFrame:
    """Count by date the ``steps`` and the rows ``compared``; ``stocks`` is sorted by symbol and date.

    Steps in the table of corporate actions are not compared.
    """
    before = stocks.groupby("symbol")[["date", "close"]].shift()
    ratio = stocks["close"] / before["close"]
    compared = ratio.notna() & (stocks["date"] - before["date"] <= LONGEST_GAP)
    compared &= (stocks["flags"] & int(Flag.LISTED | Flag.RETURN)) == 0
    steps = compared & ((ratio < FALL) | (ratio > RISE))
    return pd.DataFrame({"steps": steps, "compared": compared}).groupby(stocks["date"]).sum()


def _many_steps(days: pd.DataFrame) -> list[Note]:
    days = days[(days["steps"] >= FEWEST_STOCKS) & (days["steps"] > STEPPING_SHARE * days["compared"])]
    detail = f"stocks close below {FALL} or above {RISE} times the close before"
    return [
        ("many steps", day, steps, f"{steps} of {compared} {detail}")
        for day, steps, compared in days[["steps", "compared"]].itertuples()
    ]


def _closed_days(read: pd.Series, weekdays: tuple[str, ...]) -> list[Note]:
    counts = read[~read.index.day_of_week.isin([WEEK.index(day) for day in weekdays])]
    counts = counts[counts.groupby(counts.index.year).transform("size") >= CLOSED_DAYS]
    return [("closed day", day, count, f"a {day:%A}") for day, count in counts.items()]


def _days_twice(stocks: pd.Series, rejected: pd.DataFrame) -> list[Note]:
    reason = rejected["reason"]
    conflicts = reason.str.startswith("conflicts") & reason.str.contains(": close ", regex=False)
    conflicts &= ~rejected["symbol"].str.startswith("^")
    counts = rejected.loc[conflicts, "date"].value_counts().sort_index()
    in_panel = stocks.reindex(counts.index)
    counts = counts[(counts >= FEWEST_STOCKS) & (counts > TWICE_SHARE * in_panel)]
    return [
        ("day twice", day, count, f"{count} of {in_panel[day]} stocks have another row with another close")
        for day, count in counts.items()
    ]
