"""Signs that dates were misread, or that files are mixed up: nobody can tell from them what happened when."""

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.archive.layouts import WEEK
from common.errors import ArchiveError

FALL, RISE = 0.78, 1.28
"""A close over the one before; beyond them a step counts."""
STEPPING_SHARE = 0.10
"""More than this share of a day's stocks must step."""
FEWEST_STOCKS = 3
"""So many must at least. From 2013 to 2024 Nairobi's worst day has 2 of 66 stocks (3 %). With day and month
swapped in one of its files, 32 days have more than 10 %, the worst 58 %; with one day in ten swapped, 4.
In its files of 2007 to 2012 one day has 6 of 57: 4 February 2009 is written there as 2 April."""
LONGEST_GAP = pd.Timedelta(days=14)
"""A step over a longer gap is not compared: a file that is missing is another matter."""
CLOSED_DAYS = 5
"""So many days of one year with rows on which the exchange is closed. In Nairobi's files there is none; with
day and month swapped in one of them there are 26 to 32."""
TWICE_SHARE = 0.5
"""A day stands twice if more than this share of its stocks have two rows with different closes. In Nairobi's
files from 2013 there is none; in those before, 3 days."""
COLUMNS = ("kind", "date", "rows", "detail")


def mixed_dates(
    steps: pd.DataFrame, read: pd.Series, stocks: pd.Series, rejected: pd.DataFrame, weekdays: tuple[str, ...]
) -> pd.DataFrame:
    """The days that make dates or files look mixed up; empty if none do.

    Parameters
    ----------
    steps : DataFrame
        `count_steps` of all stocks. Steps that the table of corporate actions lists do not count.
    read : Series
        Rows read by date, rejected ones too.
    stocks : Series
        Rows of stocks in the panel by date.
    rejected : DataFrame
        ``date, symbol, reason`` of the rows rejected for an earlier one of the same symbol and date.
    weekdays : tuple of str
        On which the exchange trades.

    Returns
    -------
    DataFrame
        ``kind, date, rows, detail``, by kind and date. ``kind`` is "many steps" (``rows``: the stocks that
        step), "closed day" (``rows``: those dated so) or "day twice" (``rows``: those with another close).
    """
    found = pd.concat(
        [_many_steps(steps), _closed_days(read, weekdays), _days_twice(stocks, rejected)], ignore_index=True
    )
    return found.astype({"kind": "str", "date": "datetime64[us]", "rows": "int64", "detail": "str"})


def refuse_mixed(folder: object, mixed: pd.DataFrame) -> None:
    """Raise ArchiveError if there are such days: says how many, the first of them, and what to do."""
    if mixed.empty:
        return
    words = {
        "many steps": "many stocks step at once",
        "closed day": "the exchange is closed and there are rows",
        "day twice": "most stocks have two rows with different closes",
    }
    parts = [
        f"on {len(part)} days {words[str(kind)]} ({part['date'].iloc[0]:%Y-%m-%d} the first: "
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


def holiday_notes(counts: pd.Series, country: str) -> list[tuple[str, pd.Timestamp, int, str]]:
    """A note for each public holiday with rows (``counts`` by date, sorted).

    It is a hint only, since sessions are held on some although they are announced.

    Nairobi's files have two such days from 2013 to 2024.
    """
    import holidays  # a tenth of a second that commands without an archive do without

    closed = holidays.country_holidays(country, years=sorted(set(counts.index.year)))
    return [
        ("rows on a public holiday", day, int(count), closed[day.date()])
        for day, count in counts.items()
        if day.date() in closed
    ]


def count_steps(stocks: pd.DataFrame) -> pd.DataFrame:
    """By date: ``steps``, and ``compared`` with the row before; stocks' rows sorted by symbol and date."""
    before = stocks.groupby("symbol")[["date", "close"]].shift()
    ratio = stocks["close"] / before["close"]
    compared = ratio.notna() & (stocks["date"] - before["date"] <= LONGEST_GAP)
    compared &= (stocks["flags"] & int(Flag.LISTED | Flag.RETURN)) == 0
    steps = compared & ((ratio < FALL) | (ratio > RISE))
    return pd.DataFrame({"steps": steps, "compared": compared}).groupby(stocks["date"]).sum()


def _many_steps(days: pd.DataFrame) -> pd.DataFrame:
    days = days[(days["steps"] >= FEWEST_STOCKS) & (days["steps"] > STEPPING_SHARE * days["compared"])]
    details = [
        f"{steps} of {compared} stocks close below {FALL} or above {RISE} times the close before"
        for steps, compared in days.itertuples(index=False)
    ]
    return _frame("many steps", days.index, days["steps"].to_numpy(), details)


def _closed_days(read: pd.Series, weekdays: tuple[str, ...]) -> pd.DataFrame:
    counts = read[~read.index.day_of_week.isin([WEEK.index(day) for day in weekdays])]
    years = counts.index.year
    counts = counts[np.isin(years, [year for year in set(years) if (years == year).sum() >= CLOSED_DAYS])]
    return _frame("closed day", counts.index, counts.to_numpy(), [f"a {day:%A}" for day in counts.index])


def _days_twice(stocks: pd.Series, rejected: pd.DataFrame) -> pd.DataFrame:
    reason = rejected["reason"]
    other = reason.str.startswith("conflicts") & reason.str.contains(": close ", regex=False)
    of_stocks = other & ~rejected["symbol"].str.startswith("^")
    counts = rejected.loc[of_stocks, "date"].value_counts().sort_index()
    listed = stocks.reindex(counts.index)
    counts = counts[(counts >= FEWEST_STOCKS) & (counts > TWICE_SHARE * listed)]
    details = [
        f"{count} of {listed[day]} stocks have another row with another close"
        for day, count in counts.items()
    ]
    return _frame("day twice", counts.index, counts.to_numpy(), details)


def _frame(kind: str, dates: pd.Index, counts: np.ndarray, details: list[str]) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(COLUMNS, ([kind] * len(dates), list(dates), counts, details), strict=True)))
