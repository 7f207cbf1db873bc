"""Settings of a folder's ``columns.toml``: the columns, and the formats of dates and numbers."""

import datetime as dt
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import pydantic
from pydantic import Field, NonNegativeInt, PositiveInt

from common.archive.forms import number_pattern, parse_date, parse_number, swappable
from common.archive.layouts import MARKET_INDEX, WEEK, Layout, Name, Renamed, Weekday
from common.config import Config, read_toml
from common.errors import ConfigError

FILE_NAME = "columns.toml"
SYMBOL_PLACEHOLDER = "{symbol}"
"""Position of the symbol in the names of files with one stock each."""
Place = Name | PositiveInt
"""A column: its name in the header, or its number from 1."""
SHIPPED = Path(__file__).with_name("layouts.toml")
NAIROBI = "nse"
"""Name of the layout of the exchange's own files, which are also read without a ``columns.toml``."""


class ColumnNames(Config):
    """Names of columns in the header, in any case, or their numbers from 1."""

    date: Place
    close: Place
    symbol: Place | None = None
    """Omitted if every file has one stock, see `Columns.files`."""
    low: Place | None = None
    """Lowest price of the day."""
    high: Place | None = None
    """Highest price of the day."""
    previous: Place | None = None
    """The close before; without it copied and missing sessions cannot be detected."""
    volume: Place | None = None
    """Shares traded; ``-`` is 0, empty is unknown."""


class Columns(Config):
    """Content of ``columns.toml``, which describes the files in its folder."""

    layout: str | None = None
    """A shipped layout whose settings apply unless given here."""
    files: Name = "*.csv"
    """Pattern of their names, in any case: ``*`` matches any text, ``{symbol}`` the symbol of a file with one
    stock."""
    columns: ColumnNames
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    header_line: NonNegativeInt = 1
    """The line with the names of the columns; earlier lines are ignored. 0: there is none."""
    header: tuple[str, ...] | None = None
    """Names of the columns, in place of those in the files."""
    skip: NonNegativeInt = 0
    """Lines between the header and the first row."""
    date_format: str | tuple[str, ...] | dict[str, str] = "%Y-%m-%d"
    """Format for Python's ``strptime``, such as ``%d/%m/%Y``; several are tried in turn, and a table has one
    by pattern of file names."""
    timezone: str | None = None
    """Zone of the exchange, such as ``Africa/Nairobi``: the day of dates with a zone is the day there. None:
    the day as written."""
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    """Separator of groups of three digits, " " for any space; default: comma or point, whichever is not
    ``decimal``."""
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEK[:5]
    """Trading days of the exchange; rows of other days are rejected."""
    index: Name | None = None
    """Symbol of the index of all shares in the files; it is read as ``^NASI``."""
    renamed: dict[str, Name | Renamed] = Field(default_factory=dict)
    """New symbols of renamed shares by former symbol."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _with_layout(cls, values: Any) -> Any:
        name = values.get("layout") if isinstance(values, dict) else None
        if name is None:
            return values
        layouts = read_toml(SHIPPED)
        if name not in layouts:
            raise ValueError(f"layout: got {name!r}, need one of {', '.join(layouts)}, or {NAIROBI} alone")
        own = values.get("columns", {})
        columns = layouts[name]["columns"] | own if isinstance(own, dict) else own
        return layouts[name] | values | {"columns": columns}

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
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ValueError, KeyError, OSError):
                raise ValueError(f"timezone: {self.timezone!r} is not a time zone") from None
        named = any(isinstance(place, str) for place in self._places.values())
        if self.header_line == 0 and self.header is None and named:
            raise ValueError("header_line is 0: need `header` with the names, or numbers of columns")
        day = dt.datetime(2011, 2, 3, 12, tzinfo=dt.UTC)
        for form in self._forms:
            if parse_date(day.strftime(form), form) != dt.datetime(2011, 2, 3):
                raise ValueError(
                    f"date_format: {form!r} does not contain day, month and year, such as %d/%m/%Y"
                )
        if isinstance(self.date_format, tuple) and any(_swapped(form) in self._forms for form in self._forms):
            raise ValueError("date_format: day and month in both orders; need a table by file names")
        return self

    def matching(self, paths: Iterable[Path]) -> list[Path]:
        """Return the paths whose names match ``files``."""
        return [path for path in paths if self._pattern.fullmatch(path.name)]

    def layout_of(self, name: str, header: list[str]) -> Layout | str:
        """Return the layout of the file ``name``, or why it has none."""
        header = header if self.header is None else list(self.header)
        titles = [title.strip().casefold() for title in header]
        positions = {column: _position(place, titles) for column, place in self._places.items()}
        if missing := [str(place) for column, place in self._places.items() if positions[column] is None]:
            line = self.delimiter.join(header)
            return f"{name}: no column {', '.join(missing)} in its header, {line:.80}"
        forms = self.forms(name)
        if not forms:
            return f"{name}: no pattern in date_format matches its name"
        thousands = self.thousands or {".": ",", ",": "."}[self.decimal]
        return Layout(
            positions={column: at for column, at in positions.items() if at is not None},
            count=len(header),
            number=partial(
                parse_number, pattern=number_pattern(self.decimal, thousands), decimal=self.decimal
            ),
            date=partial(parse_date, date_format=forms, timezone=self.timezone),
            delimiter=self.delimiter,
            symbol=self.symbol_of(name),
            ticker=self._ticker,
            weekdays=self.weekdays,
            swappable=any(map(swappable, forms)),
            renamed={
                old.upper(): new if isinstance(new, Renamed) else Renamed(to=new)
                for old, new in self.renamed.items()
            },
        )

    def symbol_of(self, name: str) -> str | None:
        """Return the symbol in the name of a file with one stock; None for other files."""
        match = self._pattern.fullmatch(name)
        return match["symbol"] if match and SYMBOL_PLACEHOLDER in self.files else None

    def forms(self, name: str) -> tuple[str, ...]:
        """Return the forms of dates in the file ``name``; none if no pattern matches it."""
        if isinstance(self.date_format, dict):
            matching = (form for files, form in self.date_format.items() if _pattern(files).fullmatch(name))
            return tuple(matching)[:1]
        return (self.date_format,) if isinstance(self.date_format, str) else self.date_format

    @property
    def start(self) -> int:
        """Number of lines above the first row."""
        return self.header_line + self.skip

    @property
    def _forms(self) -> tuple[str, ...]:
        return tuple(self.date_format.values()) if isinstance(self.date_format, dict) else self.forms("")

    @property
    def _places(self) -> dict[str, str | int]:
        return {column: place for column, place in self.columns.model_dump().items() if place}

    @property
    def _pattern(self) -> re.Pattern[str]:
        """``files`` as a regular expression, with a group for the symbol."""
        return _pattern(self.files)

    def _ticker(self, text: str) -> str:
        symbol = text.upper()
        return MARKET_INDEX if self.index and symbol == self.index.upper() else symbol


def read_columns(folder: Path) -> Columns | None:
    """Read the folder's ``columns.toml``; None if there is none, or it only says ``layout = "nse"``.

    Raises
    ------
    ConfigError
        If it is invalid.
    """
    path = Path(folder) / FILE_NAME
    values = read_toml(path) if path.is_file() else {"layout": NAIROBI}
    if values.get("layout") != NAIROBI:
        return Columns.parse(values, where=str(path))
    if len(values) > 1:
        other = ", ".join(sorted(set(values) - {"layout"}))
        raise ConfigError(
            f'{path}: layout = "{NAIROBI}" takes no other settings, got {other}.', path=str(path)
        )
    return None


def _pattern(files: str) -> re.Pattern[str]:
    pattern = re.escape(files).replace(r"\*", ".*")
    pattern = pattern.replace(re.escape(SYMBOL_PLACEHOLDER), "(?P<symbol>.+?)")
    return re.compile(pattern, re.DOTALL | re.IGNORECASE)


def _position(place: str | int, titles: list[str]) -> int | None:
    if isinstance(place, int):
        return place - 1 if place <= len(titles) else None
    title = place.strip().casefold()
    return titles.index(title) if title in titles else None


def _swapped(form: str) -> str:
    return form.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")
