"""Layouts of price files: the columns, and the formats of dates and numbers.

`NAIROBI_LAYOUT` describes the exchange's own files; ``columns.toml`` in a folder defines another layout.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import pydantic
from pydantic import Field, PositiveInt

from common.config import Config, read_toml

FILE_NAME = "columns.toml"
SYNTHETIC_FILE = "synthetic.json"
"""Marks a folder with a synthetic market."""
SYMBOL_PLACEHOLDER = "{symbol}"
"""Position of the symbol in the names of files with one stock each."""
MARKET_INDEX = "^NASI"
"""Symbol of the index of all shares in every market; symbols with ``^`` are indices, not stocks."""
NAIROBI_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4}|\d{2})", re.ASCII)
SMALLEST_NUMBER, LARGEST_NUMBER = 1e-9, 1e15
"""Range of the absolute value of prices and volumes other than 0; numbers outside it are invalid."""
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEK: tuple[Weekday, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Name = Annotated[str, Field(min_length=1)]


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

    def texts(self, field: str, rows: list[list[str]]) -> list[str]:
        """Return one field of every row, empty if the file does not have it."""
        if field == "symbol" and self.symbol is not None:
            return [self.ticker(self.symbol)] * len(rows)
        position = self.positions.get(field)
        texts = [""] * len(rows) if position is None else [row[position].strip() for row in rows]
        return [self.ticker(text) for text in texts] if field == "symbol" else texts


class ColumnNames(Config):
    """Names of columns in the header; case does not matter."""

    date: Name
    close: Name
    symbol: Name | None = None
    """Omitted if every file has one stock, see `Columns.files`."""
    low: Name | None = None
    """Lowest price of the day."""
    high: Name | None = None
    """Highest price of the day."""
    previous: Name | None = None
    """The close before; without it copied and missing sessions cannot be detected."""
    volume: Name | None = None
    """Shares traded; ``-`` is 0, empty is unknown."""


class Columns(Config):
    """Content of ``columns.toml``, which describes the files in its folder."""

    files: Name = "*.csv"
    """Pattern of their names, in any case: ``*`` matches any text, ``{symbol}`` the symbol of a file with one
    stock."""
    columns: ColumnNames
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    header_line: PositiveInt = 1
    """The line with the names of the columns; earlier lines are ignored."""
    date_format: str = "%Y-%m-%d"
    """Format for Python's ``strptime``, such as ``%d/%m/%Y``."""
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    """Separator of groups of three digits; default: comma or point, whichever is not ``decimal``."""
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEK[:5]
    """Trading days of the exchange; rows of other days are rejected."""
    index: Name | None = None
    """Symbol of the index of all shares in the files; it is read as ``^NASI``."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.files.count(SYMBOL_PLACEHOLDER) != (self.columns.symbol is None):
            raise ValueError(f"need either the column of the symbol, or {SYMBOL_PLACEHOLDER} once in files")
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding: {self.encoding!r} is not known to Python") from None
        day = dt.datetime(2011, 2, 3)
        if parse_date(day.strftime(self.date_format), self.date_format) != day:
            raise ValueError(f"date_format: {self.date_format!r} does not contain day, month and year")
        return self

    def matching(self, paths: Iterable[Path]) -> list[Path]:
        """Return the paths whose names match ``files``."""
        return [path for path in paths if self._pattern.fullmatch(path.name)]

    def layout(self, name: str, header: list[str]) -> Layout | str:
        """Return the layout of the file ``name``, or why it has none."""
        titles = [title.strip().casefold() for title in header]
        columns = {field: title for field, title in self.columns.model_dump().items() if title}
        missing = [title for title in columns.values() if title.strip().casefold() not in titles]
        if missing:
            line = self.delimiter.join(header)
            return f"{name}: no column {', '.join(missing)} in its header, {line:.80}"
        match = self._pattern.fullmatch(name)
        thousands = self.thousands or {".": ",", ",": "."}[self.decimal]
        return Layout(
            positions={field: titles.index(title.strip().casefold()) for field, title in columns.items()},
            count=len(header),
            number=partial(
                parse_number, pattern=number_pattern(self.decimal, thousands), decimal=self.decimal
            ),
            date=partial(parse_date, date_format=self.date_format),
            delimiter=self.delimiter,
            symbol=match["symbol"] if match and SYMBOL_PLACEHOLDER in self.files else None,
            ticker=self._ticker,
            weekdays=self.weekdays,
        )

    @property
    def _pattern(self) -> re.Pattern[str]:
        """``files`` as a regular expression, with a group for the symbol."""
        pattern = re.escape(self.files).replace(r"\*", ".*")
        pattern = pattern.replace(re.escape(SYMBOL_PLACEHOLDER), "(?P<symbol>.+?)")
        return re.compile(pattern, re.DOTALL | re.IGNORECASE)

    def _ticker(self, text: str) -> str:
        symbol = text.upper()
        return MARKET_INDEX if self.index and symbol == self.index.upper() else symbol


def read_columns(folder: Path) -> Columns | None:
    """Read the folder's ``columns.toml``; None if there is none; raises ConfigError if it is invalid."""
    path = Path(folder) / FILE_NAME
    return Columns.parse(read_toml(path), where=str(path)) if path.is_file() else None


def number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    """Return a pattern of numbers with or without separated groups of three digits."""
    point, group = re.escape(decimal), re.escape(thousands)
    integer = rf"\d{{1,3}}(?:{group}\d{{3}})+|\d+"
    return re.compile(rf"-?(?:(?:{integer})(?:{point}\d*)?|{point}\d+)", re.ASCII)


def parse_number(text: str, pattern: re.Pattern[str], decimal: str) -> float:
    """Parse a number; NaN if it does not match or is out of range."""
    if not pattern.fullmatch(text):
        return np.nan
    value = float(re.sub(rf"[^\d{decimal}-]", "", text).replace(decimal, "."))
    return value if value == 0 or SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER else np.nan


def parse_date(text: str, date_format: str) -> dt.datetime | None:
    """Parse a date, as midnight; None if it does not have that format."""
    try:
        return dt.datetime.combine(dt.datetime.strptime(text, date_format).date(), dt.time())
    except ValueError:
        return None


def _nairobi_date(text: str) -> dt.datetime | None:
    """Parse a date such as 2-Jan-13 or 02-Jan-2013."""
    match = NAIROBI_DATE.fullmatch(text)
    if match is None:
        return None
    day, month, year = match.groups()
    return parse_date(f"{day}-{month}-{year if len(year) == 4 else f'20{year}'}", "%d-%b-%Y")


NAIROBI_LAYOUT = Layout(
    positions={"date": 0, "symbol": 1, "low": 5, "high": 6, "close": 7, "previous": 8, "volume": 11},
    count=13,
    number=partial(parse_number, pattern=number_pattern(".", ","), decimal="."),
    date=_nairobi_date,
    typed=True,
)
"""The 12-month range and ``Adjust`` are not read, since they were written after their row's date."""
