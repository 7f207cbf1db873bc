"""How price files are read: which column is what, and how dates and numbers are written.

`NAIROBI` says it for the exchange's own files; ``columns.toml`` in an archive's folder says it for another's.
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
"""Marks a folder whose prices are invented; no such file is in the real archive."""
IN_NAME = "{symbol}"
"""Where the symbol stands in the names of files that hold one stock each."""
MARKET_INDEX = "^NASI"
"""The index of all shares, whatever a market calls it; a symbol with ``^`` is an index and no stock."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAIROBI_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4}|\d{2})", re.ASCII)
SMALLEST_NUMBER, LARGEST_NUMBER = 1e-9, 1e15
"""Between them in size, or 0, is every price and volume; anything else was never one."""
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEK: tuple[Weekday, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Layout:
    """How the lines below one file's header are read."""

    places: dict[str, int]
    """Position of each field that the file has, of ``date, symbol, low, high, close, previous, volume``."""
    count: int
    """Fields of a whole line."""
    number: Callable[[str], float]
    """NaN for what is no number."""
    date: Callable[[str], dt.datetime | None]
    delimiter: str = ","
    symbol: str | None = None
    """Of every row, where the file's name says it."""
    ticker: Callable[[str], str] = str
    """The public symbol of what stands there."""
    weekdays: tuple[str, ...] = WEEK[:5]
    """On which the exchange trades."""
    typed: bool = False
    """Dates are typed by hand: one in another year than the rest of the file may be a slip."""

    def texts(self, field: str, rows: list[list[str]]) -> list[str]:
        """One field of every row, empty where the file has none."""
        if field == "symbol" and self.symbol is not None:
            return [self.ticker(self.symbol)] * len(rows)
        at = self.places.get(field)
        found = [""] * len(rows) if at is None else [row[at].strip() for row in rows]
        return [self.ticker(text) for text in found] if field == "symbol" else found


class Named(Config):
    """Names of columns, as in the header; case does not matter."""

    date: Name
    close: Name
    symbol: Name | None = None
    """Left out where every file holds one stock, see `Columns.files`."""
    low: Name | None = None
    """Lowest and ``high`` highest price of the day; without them ranges are unknown."""
    high: Name | None = None
    previous: Name | None = None
    """The close before; without it a day that was copied or left out cannot be noticed."""
    volume: Name | None = None
    """Shares traded; ``-`` is none, empty is unknown."""


class Columns(Config):
    """What ``columns.toml`` says of the files beside it."""

    files: Name = "*.csv"
    """Their names, ``*`` for any text, in any case; with ``{symbol}`` each holds the stock of that name."""
    columns: Named
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    header_line: PositiveInt = 1
    """The line with the names of the columns; lines before it are left alone."""
    date_format: str = "%Y-%m-%d"
    """As Python's ``strptime`` takes it, such as ``%d/%m/%Y``."""
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    """Between groups of three digits; default: the other one of point and comma."""
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEK[:5]
    """On which the exchange trades; a row of another day is rejected."""
    index: Name | None = None
    """Symbol of the index of all shares, if the files have it; it is kept as ``^NASI``."""

    @pydantic.model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.files.count(IN_NAME) != (self.columns.symbol is None):
            raise ValueError(f"need the column of the symbol, or {IN_NAME} once in files: one of them")
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding: {self.encoding!r} is none that Python knows") from None
        day = dt.datetime(2011, 2, 3)
        if parse_date(day.strftime(self.date_format), self.date_format) != day:
            raise ValueError(f"date_format: {self.date_format!r} does not tell day, month and year")
        return self

    def matching(self, paths: Iterable[Path]) -> list[Path]:
        """The paths whose names are as ``files`` says."""
        return [path for path in paths if self._form.fullmatch(path.name)]

    def layout(self, name: str, header: list[str]) -> Layout | str:
        """The layout of the file ``name``, or why it has none."""
        places = {title.strip().casefold(): at for at, title in reversed(list(enumerate(header)))}
        wanted = {field: title for field, title in self.columns.model_dump().items() if title}
        missing = [title for title in wanted.values() if title.strip().casefold() not in places]
        if missing:
            have = self.delimiter.join(header)
            return f"{name}: no column {', '.join(missing)} in its header, {have:.80}"
        named = self._form.fullmatch(name)
        group = self.thousands or {".": ",", ",": "."}[self.decimal]
        return Layout(
            places={field: places[title.strip().casefold()] for field, title in wanted.items()},
            count=len(header),
            number=partial(parse_number, written=number_form(self.decimal, group), decimal=self.decimal),
            date=partial(parse_date, form=self.date_format),
            delimiter=self.delimiter,
            symbol=named["symbol"] if named and IN_NAME in self.files else None,
            ticker=self._ticker,
            weekdays=self.weekdays,
        )

    @property
    def _form(self) -> re.Pattern[str]:
        """A file's name, the symbol in it as a group if it has one."""
        form = re.escape(self.files).replace(r"\*", ".*")
        return re.compile(form.replace(re.escape(IN_NAME), "(?P<symbol>.+?)"), re.DOTALL | re.IGNORECASE)

    def _ticker(self, text: str) -> str:
        symbol = text.upper()
        return MARKET_INDEX if self.index and symbol == self.index.upper() else symbol


def read_columns(folder: Path) -> Columns | None:
    """What the folder's ``columns.toml`` says; None without one: the exchange's own files.

    Raises
    ------
    ConfigError
        If it is not valid TOML, or a setting is unknown or makes no sense.
    """
    path = Path(folder) / FILE_NAME
    return Columns.parse(read_toml(path), where=str(path)) if path.is_file() else None


def number_form(decimal: str, thousands: str) -> re.Pattern[str]:
    """Digits, in groups of three or in one piece; a point in the wrong place is no number."""
    point, group = re.escape(decimal), re.escape(thousands)
    whole = rf"\d{{1,3}}(?:{group}\d{{3}})+|\d+"
    return re.compile(rf"-?(?:(?:{whole})(?:{point}\d*)?|{point}\d+)", re.ASCII)


def parse_number(text: str, written: re.Pattern[str], decimal: str) -> float:
    """The number, NaN if it is not ``written`` as one or its size is beyond any price or volume."""
    if not written.fullmatch(text):
        return np.nan
    value = float(re.sub(rf"[^\d{decimal}-]", "", text).replace(decimal, "."))
    return value if value == 0 or SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER else np.nan


def parse_date(text: str, form: str) -> dt.datetime | None:
    """Midnight of the day, None if it is not written in that form."""
    try:
        return dt.datetime.combine(dt.datetime.strptime(text, form).date(), dt.time())
    except ValueError:
        return None


def _nairobi_date(text: str) -> dt.datetime | None:
    match = NAIROBI_DATE.fullmatch(text)
    if match is None:
        return None
    day, month, year = match.groups()
    try:
        return dt.datetime(
            int(year) + (2000 if len(year) == 2 else 0), MONTHS.index(month.lower()) + 1, int(day)
        )
    except ValueError:
        return None


NAIROBI = Layout(
    places={"date": 0, "symbol": 1, "low": 5, "high": 6, "close": 7, "previous": 8, "volume": 11},
    count=13,
    number=partial(parse_number, written=number_form(".", ","), decimal="."),
    date=_nairobi_date,
    typed=True,
)
"""The 12-month range and ``Adjust`` were written later than their row's date: they are never read."""
