"""Format headers, dates, numbers and rows as in the publisher's CSV files, whose format differs by year.

Source of the format: Wanjawa, *Nairobi Securities Exchange All Stocks Prices*, Mendeley Data, 2013-2024.
Prices are integers in KES cents, so that they are formatted exactly; 0 means missing.
"""

import datetime as dt
import functools
from collections.abc import Iterable, Sequence

HEADER_TO_2021 = (
    "DATE,CODE,NAME,12m Low,12m High,Day Low,Day High,Day Price,Previous,Change,Change%,Volume,Adjust"
)
HEADER_FROM_2022 = (
    "Date,Code,Name,12m Low,12m High,Day Low,Day High,Day Price,Previous,Change,Change%,Volume,Adjusted Price"
)
COMMA_ROW = "," * 12
SECTORS_FILE = "NSE_data_stock_market_sectors.csv"
FUNDS = "Exchange Traded Funds"
STRAY_TITLES = {
    "Energy and Petroleum": ("Construction and Allied", ("Energy and Petroleum",)),
    FUNDS: ("Telecommunication", ("Real Estate Investment Trusts", FUNDS)),
}
"""Sectors that are listed under the one above, and the titles in the code column before them."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def year_file(year: int) -> str:
    return f"NSE_data_all_stocks_{year}.csv"


def header(year: int) -> str:
    return HEADER_TO_2021 if year <= 2021 else HEADER_FROM_2022


def encoding(year: int) -> str:
    """Return UTF-8 for every year; the file of 2021 has a byte order mark."""
    return "utf-8-sig" if year == 2021 else "utf-8"


def date_text(day: dt.date, year: int) -> str:
    """Format a date as in the file of ``year``: 2-Jan-13, 02-Jan-14, 03-Jan-2023, 2-Jan-2024."""
    short = year in (2013, 2015, 2022) or (year > 2022 and year % 2 == 0)
    number = f"{day.day}" if short else f"{day.day:02d}"
    return f"{number}-{MONTHS[day.month - 1]}-{day.year if year > 2022 else f'{day.year % 100:02d}'}"


@functools.cache
def price_text(cents: int, decimals: bool) -> str:
    """Format cents: 2400 is ``24`` (``24.00`` from 2023), 190000 is ``"1,900.00"``, 0 is ``-``.

    Without ``decimals``, trailing zeros below 1,000 are dropped, as in the files up to 2022.
    """
    text = f"{cents / 100:,.2f}" if cents else "-"
    if "," in text:
        return f'"{text}"'
    return text if decimals or not cents else text.rstrip("0").rstrip(".")


def day_rows(
    year: int,
    heads: Sequence[str],
    members: Iterable[int],
    fields: Sequence[Sequence[int]],
    adjusted: dict[int, int],
) -> list[str]:
    """Format one day's rows without their date, as in the file of ``year``; the 12-month range is ``-``.

    Parameters
    ----------
    heads : ``CODE,NAME`` of the N stocks and indices
    members : positions of the rows to write
    fields : low, high, close, previous (KES cents) and volume (shares), each of length N
    adjusted : cents for the ``Adjust`` column by position; ``-`` for the others
    """
    low, high, close, previous, volume = fields
    decimals = year >= 2023
    return [
        f"{heads[i]},-,-,{price_text(low[i], decimals)},{price_text(high[i], decimals)},"
        f"{price_text(close[i], decimals)},{price_text(previous[i], decimals)},"
        f"{_change(close[i], previous[i])},{_volume(volume[i], decimals)},"
        f"{price_text(adjusted.get(i, 0), decimals)}"
        for i in members
    ]


def _volume(shares: int, decimals: bool) -> str:
    return quoted(f"{shares:,}{'.00' * decimals}") if shares else "-"


def _change(close: int, previous: int) -> str:
    """Format ``Change,Change%``: the change is signed, its percentage is not; both are ``-`` for none."""
    change = close - previous
    if not change:
        return "-,-"
    text = price_text(abs(change), False)
    if not close or not previous:
        return f"{text},-"
    if change < 0:
        text = f'"-{text[1:]}' if text.startswith('"') else f"-{text}"
    return f"{text},{100 * abs(change) / previous:.2f}%"


def quoted(text: str) -> str:
    """Quote ``text`` as one CSV field, if necessary."""
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text


def sector_order(sector: str) -> tuple[bool, str]:
    """Return the sort key of a sector in the publisher's files: by name, funds last."""
    return sector == FUNDS, sector


def sector_lines(stocks: Iterable[tuple[str, str, str]], indices: dict[str, str]) -> list[str]:
    """Format the sector file from (sector, code, name) in `sector_order`.

    As in the real file, some section titles are in the code column, and the stocks below them have the sector
    above: readers must not take a title for a stock, but apply it to the stocks.
    """
    lines, titled = ["Sector,Stock_code,Stock_name"], set()
    for sector, code, name in stocks:
        listed, titles = STRAY_TITLES.get(sector, (sector, ()))
        if sector not in titled:
            titled.add(sector)
            lines += [f"{quoted(listed)},{title}," for title in titles]
        lines.append(f"{quoted(listed)},{code},{quoted(name)}")
    return lines + [f"Indices,{code},{quoted(name)}" for code, name in indices.items()]
