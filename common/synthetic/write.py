"""The archive's own CSV format: headers, dates, numbers and rows as the publisher wrote them each year.

Source of the format: Wanjawa, *Nairobi Securities Exchange All Stocks Prices*, Mendeley Data, 2013-2024.
Prices are whole KES cents here, so that nothing is lost between a price and its text; 0 means missing.
"""

import datetime as dt
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
"""Sectors filed under the one above them, and the titles that stand in the code column before them."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def year_file(year: int) -> str:
    return f"NSE_data_all_stocks_{year}.csv"


def header(year: int) -> str:
    return HEADER_TO_2021 if year <= 2021 else HEADER_FROM_2022


def encoding(year: int) -> str:
    """UTF-8 in every year; 2021 came with a byte order mark."""
    return "utf-8-sig" if year == 2021 else "utf-8"


def date_text(day: dt.date, year: int) -> str:
    """``day`` the way the file of ``year`` writes dates: 2-Jan-13, 02-Jan-14, 03-Jan-2023, 2-Jan-2024."""
    if year <= 2022:
        number = str(day.day) if year in (2013, 2015, 2022) else f"{day.day:02d}"
        return f"{number}-{MONTHS[day.month - 1]}-{day.year % 100:02d}"
    number = f"{day.day:02d}" if year % 2 else str(day.day)
    return f"{number}-{MONTHS[day.month - 1]}-{day.year}"


class PriceText(dict[int, str]):
    """Cents to text: 2400 is ``24`` (``24.00`` from 2023), 190000 is ``"1,900.00"``, 0 is ``-``.

    Parameters
    ----------
    decimals : bool
        Always write two decimals; else drop trailing zeros below 1,000 as the files to 2022 do.
    """

    def __init__(self, decimals: bool) -> None:
        super().__init__({0: "-"})
        self.decimals = decimals

    def __missing__(self, cents: int) -> str:
        text = f"{cents / 100:,.2f}"
        if "," in text:
            text = f'"{text}"'
        elif not self.decimals:
            text = text.rstrip("0").rstrip(".")
        self[cents] = text
        return text


class YearText:
    """Writes the rows of one year's file.

    Parameters
    ----------
    year : int
        Chooses header, date and number forms.
    codes, names : sequences of str, length N
        Tickers and company names, indices (``^NASI``) included.
    lows, highs : sequences of int, length N, KES cents
        The ``12m Low`` and ``12m High`` snapshot, the same on every row of the year: a look-ahead trap
        the real files have too.
    """

    def __init__(
        self,
        year: int,
        codes: Sequence[str],
        names: Sequence[str],
        lows: Iterable[int],
        highs: Iterable[int],
    ) -> None:
        self.year = year
        self.price = PriceText(decimals=year >= 2023)
        self.plain = PriceText(decimals=False)
        self.heads = [
            f"{code},{name},{self.price[low]},{self.price[high]}"
            for code, name, low, high in zip(codes, map(quoted, names), lows, highs, strict=True)
        ]

    def rows(
        self,
        members: Iterable[int],
        low: Sequence[int],
        high: Sequence[int],
        close: Sequence[int],
        previous: Sequence[int],
        volume: Sequence[int],
        adjusted: dict[int, int],
    ) -> list[str]:
        """One day's rows without their date, in the order of ``members``.

        Parameters
        ----------
        members : indices into the year's codes that are listed on this day
        low, high, close, previous : sequences of int, length N, KES cents; 0 is written ``-``
        volume : sequence of int, length N, shares; 0 is written ``-``
        adjusted : cents by index, for the ``Adjust`` column; absent is written ``-``
        """
        price, heads = self.price, self.heads
        return [
            f"{heads[i]},{price[low[i]]},{price[high[i]]},{price[close[i]]},{price[previous[i]]},"
            f"{self.change(close[i], previous[i])},{self.volume(volume[i])},"
            f"{price[adjusted[i]] if i in adjusted else '-'}"
            for i in members
        ]

    def change(self, close: int, previous: int) -> str:
        """``Change,Change%``: the change is signed, its percentage is not; both ``-`` without one."""
        change = close - previous
        if not change:
            return "-,-"
        if not close or not previous:
            return f"{self.plain[abs(change)]},-"
        text = self.plain[change] if change > 0 else _negative(self.plain[-change])
        return f"{text},{100 * abs(change) / previous:.2f}%"

    def volume(self, shares: int) -> str:
        if not shares:
            return "-"
        text = f"{shares:,}.00" if self.year >= 2023 else f"{shares:,}"
        return f'"{text}"' if "," in text else text


def _negative(text: str) -> str:
    return f'"-{text[1:]}' if text.startswith('"') else f"-{text}"


def quoted(text: str) -> str:
    """``text`` as one CSV field."""
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text


def sector_order(sector: str) -> tuple[bool, str]:
    """Sort key of a sector in the publisher's files: by name, the funds last."""
    return sector == FUNDS, sector


def sector_lines(stocks: Iterable[tuple[str, str, str]], indices: dict[str, str]) -> list[str]:
    """Lines of the sector file from (sector, code, name) in `sector_order`.

    As in the real file some section titles stand in the code column, and the counters below them carry
    the sector above: readers must neither take a title for a counter nor miss what it says.
    """
    lines, titled = ["Sector,Stock_code,Stock_name"], set()
    for sector, code, name in stocks:
        listed, titles = STRAY_TITLES.get(sector, (sector, ()))
        if sector not in titled:
            titled.add(sector)
            lines += [f"{quoted(listed)},{title}," for title in titles]
        lines.append(f"{quoted(listed)},{code},{quoted(name)}")
    return lines + [f"Indices,{code},{quoted(name)}" for code, name in indices.items()]
