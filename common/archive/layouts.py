"""Layouts of price files; `NAIROBI_LAYOUT` is that of the exchange's own."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from common.archive.forms import nairobi_date, number_pattern, parse_number
from common.config import Config
from common.exchange.symbols import renamed_symbols

SYNTHETIC_FILE = "synthetic.json"
"""Marks a folder with a synthetic market."""
MARKET_INDEX = "^NASI"
"""Symbol of the index of all shares in every market; symbols with ``^`` are indices, not stocks."""
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEK: tuple[Weekday, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Name = Annotated[str, Field(min_length=1)]


class Renamed(Config):
    """A new symbol of a share."""

    to: Name
    since: dt.date | None = None
    """First day of the new symbol; from then on the former one belongs to another share. None: to none."""


@dataclass(frozen=True)
class Layout:
    """How to read the lines below one file's header."""

    positions: dict[str, int]
    """Positions of the file's fields among ``date, symbol, low, high, close, previous, volume``."""
    count: int
    """Number of fields in a line."""
    number: Callable[[str], float]
    """Parses a number; NaN if it is invalid."""
    date: Callable[[str], dt.datetime | None]
    """Parses a date; None if it is invalid."""
    delimiter: str = ","
    symbol: str | None = None
    """Symbol of every row, if it is in the file's name."""
    ticker: Callable[[str], str] = str
    """Converts a symbol in the file to the public one."""
    weekdays: tuple[str, ...] = WEEK[:5]
    """Trading days of the exchange."""
    typed: bool = False
    """Whether dates are typed by hand, so that a different year may be a mistake."""
    swappable: bool = False
    """Whether dates may be written as numbers with the year last, so that day and month can be swapped."""
    renamed: Mapping[str, "Renamed"] = field(default_factory=dict)
    """New symbols by former symbol."""

    def texts(self, field: str, rows: list[list[str]]) -> list[str]:
        """Return one field of every row, empty if the file does not have it."""
        if field == "symbol" and self.symbol is not None:
            return [self.ticker(self.symbol)] * len(rows)
        position = self.positions.get(field)
        texts = [""] * len(rows) if position is None else [row[position].strip() for row in rows]
        return [self.ticker(text) for text in texts] if field == "symbol" else texts


NAIROBI_LAYOUT = Layout(
    positions={"date": 0, "symbol": 1, "low": 5, "high": 6, "close": 7, "previous": 8, "volume": 11},
    count=13,
    number=partial(parse_number, pattern=number_pattern(".", ","), decimal="."),
    date=nairobi_date,
    typed=True,
    swappable=True,
    renamed={old: Renamed(to=new) for old, new in renamed_symbols().items()},
)
"""The 12-month range and ``Adjust`` are not read, since they were written after their row's date."""
