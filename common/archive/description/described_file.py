"""Look at one price file: how its lines are divided, and the dates and numbers that they hold."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from common.archive.columns import NAIROBI, SYMBOL_PLACEHOLDER
from common.archive.description.guess import (
    DELIMITERS,
    cells_of,
    encoding_of,
    first_row,
    has_date,
    score,
    shape,
)
from common.archive.text_files import PRICE_HEADERS, file_lines, opened, split
from common.archive.workbook import is_workbook, workbook_lines
from common.errors import ArchiveError
from common.exchange.symbols import delisted_symbols, renamed
from common.exchange.universe import load_universe

SAMPLE = 5_000
"""First lines, which show the delimiter and the columns; dates and numbers are those of all lines."""
MOST_DATES = 50_000
"""Distinct dates of a file that are kept; moments of trades could be more."""
NAMED = 5
"""File names that a message lists."""
APART = "Move each group into a folder of its own, and describe it there."
PRICES = ("low", "high", "close", "previous")
TITLES = {
    "date": ("date", "day", "session", "trading date", "trade date", "time", "datetime", "timestamp"),
    "symbol": ("symbol", "code", "ticker", "stock", "counter", "security"),
    "close": ("close", "closing price", "close price", "day price", "price", "closing", "last", "last price"),
    "low": ("low", "day low", "day's low", "low price"),
    "high": ("high", "day high", "day's high", "high price"),
    "previous": ("previous", "previous close", "prev", "prev close"),
    "volume": ("volume", "vol.", "vol", "shares", "shares traded", "quantity"),
}
"""Titles of the columns, in any case, the surest first."""
_KNOWN = frozenset(title for titles in TITLES.values() for title in titles)
_NUMERIC = re.compile("chan?ge?|%|open|low|high|price|average|vwap|value|turnover", re.IGNORECASE)
"""Titles of further columns whose numbers are evidence; times such as 09.30 are none."""
_FIRST = frozenset("0123456789.,-(")
"""Characters with which a number begins."""
_COMPRESSED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zX", b"7z\xbc\xaf", b"\xd0\xcf\x11\xe0")
_NAME = re.compile(r"(NSE(?:KE)?[ _:-]+)?([^ _,]+?)((?:\.(?:NR|KE))?(?:[ _,].*)?)", re.IGNORECASE | re.DOTALL)
"""The exchange, as vendors write it, the symbol, and the rest of a file's name."""


@dataclass
class Description:
    """How files are written."""

    settings: dict[str, Any]
    """Content of a ``columns.toml``, or some of it."""
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The first three rows as read."""


class Undecided(ArchiveError):
    """The files can be read in two ways, and do not show in which."""

    http_status = 422


@dataclass
class PriceFile:
    """How one file is written, and what its columns hold."""

    path: Path
    settings: dict[str, Any]
    """Settings of a ``columns.toml``, without those of dates and numbers."""
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    symbol: str = ""
    """The symbol in the file's name, where no column has it."""
    dates: list[str] = field(default_factory=list)
    """The texts in the column of dates, each once."""
    numbers: Counter[str] = field(default_factory=Counter)
    """How numbers of all columns are written (`shape`), and how many."""
    prices: Counter[str] = field(default_factory=Counter)
    """The same for the columns of prices alone."""
    volumes: Counter[str] = field(default_factory=Counter)
    rows: Callable[[], Iterator[dict[str, str]]] = lambda: iter(())
    """Reads the rows again, each as its texts by column."""


def look(path: Path, header: Sequence[str] = ()) -> PriceFile:
    """Look at a price file; ``header`` names the columns of one without names. Raises as `describe_files`."""
    workbook = is_workbook(path)
    encoding = "" if workbook else _encoding(path)
    kept = workbook_lines(path) if workbook else []
    lines = partial(iter, kept) if workbook else partial(file_lines, path, encoding)
    sample = list(islice(lines(), SAMPLE))
    first_line = ",".join(cell.strip().casefold() for cell in split(sample[0])) if sample else ""
    if first_line in PRICE_HEADERS and not workbook:
        return PriceFile(path, {"layout": NAIROBI}, ["header: that of the exchange's own files"])
    delimiter = "," if workbook else max(DELIMITERS, key=lambda mark: score(sample, mark))
    table = [[cell.strip() for cell in split(line, delimiter)] for line in sample]
    first = first_row(table)
    if first is None:
        raise problem(path, "no line has a date and a number", "Give a file with one row a day and stock")
    width = len(table[first])
    file = PriceFile(path, {} if workbook else {"delimiter": delimiter, "encoding": encoding})
    file.reasons.append("Excel workbook: its first sheet" if workbook else f"delimiter {delimiter!r}")
    if encoding == "cp1252":
        file.doubts.append("encoding: not UTF-8, read as cp1252")
    titles = _titles(file, table[:first], width, header)
    _name_columns(file, titles)
    columns = {name: titles.index(title) for name, title in file.settings["columns"].items()}

    def rows() -> Iterator[dict[str, str]]:
        for cells in cells_of(islice(lines(), first, None), delimiter, width):
            yield {name: cells[at] for name, at in columns.items()}

    file.rows = rows
    others = [at for at, title in enumerate(titles) if _NUMERIC.search(title)]
    _gather(file, cells_of(islice(lines(), first, None), delimiter, width), columns, others)
    return file


def _encoding(path: Path) -> str:
    with opened(path) as stream:
        if stream.read(4).startswith(_COMPRESSED):
            raise problem(path, "a compressed file or a workbook", "Unpack it, or save it as .csv or .xlsx")
    return encoding_of(path)


def _titles(file: PriceFile, above: list[list[str]], width: int, header: Sequence[str]) -> list[str]:
    """Return the titles of the columns, and add to the settings where they are."""
    known = [sum(cell.casefold() in _KNOWN for cell in cells) for cells in above]
    fits = [len(cells) == len(set(cells)) == width for cells in above]
    best = max(range(len(above)), key=lambda at: (known[at], fits[at]), default=None)
    if not header and (best is None or not (known[best] or fits[best])):
        raise problem(file.path, f"no line names its {width} columns", "Name them: --header Date,Close,...")
    found = list(header) or above[best or 0]
    titles = found + [""] * (width - len(found))
    while len(titles) > width and not titles[-1]:
        titles.pop()
    if len(titles) != width or (header and len(header) != width):
        raise problem(
            file.path, f"{len(found)} names for {width} columns", "Give one name for each column: --header"
        )
    if header or len(found) != width:
        file.settings |= {"header_line": 0, "header": titles, "skip": len(above)}
    else:
        file.settings |= {"header_line": (best or 0) + 1, "skip": len(above) - (best or 0) - 1}
    return titles


def _name_columns(file: PriceFile, titles: list[str]) -> None:
    words = {title.casefold(): title for title in reversed(titles)}
    chosen = {
        name: next((words[title] for title in known if title in words), None)
        for name, known in TITLES.items()
    }
    if titles[0].casefold() == "price" and "close" in words:  # yfinance writes its dates below this title
        chosen |= {"date": titles[0], "close": words["close"]}
    if missing := [name for name in ("date", "close") if chosen[name] is None]:
        known = f"no column of {' and '.join(missing)} among {', '.join(titles)}"
        step = f"Name its {len(titles)} columns in their order, such as --header Date,Symbol,Close,Low,High"
        raise problem(file.path, known, step)
    named = {name: title for name, title in chosen.items() if title is not None}
    file.settings["columns"] = named
    file.reasons.append("columns: " + ", ".join(f"{name} = {title}" for name, title in named.items()))
    folded = Counter(title.casefold() for title in titles)
    file.doubts += [
        f"columns: {folded[title.casefold()]} are named {title}, the first is read"
        for title in named.values()
        if folded[title.casefold()] > 1
    ]
    if chosen["symbol"] is None:
        before, file.symbol, after = symbol_in(file.path)
        file.settings["files"] = f"{before}{SYMBOL_PLACEHOLDER}{after}"
    else:
        file.settings["files"] = f"*{file.path.suffix}"


def symbol_in(path: Path) -> tuple[str, str, str]:
    """Return the symbol in a file's name, with what is before and after it.

    Names may be as data vendors write them: ``SCOM.NR.csv``, ``NSE_SCOM.csv``, ``SCOM Historical Data.csv``.
    The exchange is only left out where a symbol of Nairobi follows, since its own symbol is ``NSE``.
    """
    match = _NAME.fullmatch(path.stem)
    before, symbol, after = match.groups("") if match else ("", path.stem, "")
    known = {*load_universe().symbols, *delisted_symbols()}
    if before and not (symbol.upper() in known or renamed(symbol)):
        symbol = re.split("[ _,]", path.stem)[0]
        before, after = "", path.stem[len(symbol) :]
    return before, symbol, after + path.suffix


def _gather(
    file: PriceFile, rows: Iterator[list[str]], columns: dict[str, int], others: Sequence[int]
) -> None:
    """Gather the dates of all rows, and the numbers in their columns and in ``others``."""
    dates = dict[str, None]()
    prices = [columns[name] for name in PRICES if name in columns]
    volume = columns.get("volume", -1)
    numeric = sorted({*prices, *others, *([volume] if volume >= 0 else [])} - {columns["date"]})
    folded = {title.casefold() for title in file.settings["columns"].values()}
    for cells in rows:
        date = cells[columns["date"]]
        if date not in dates:
            if {cell.casefold() for cell in cells} & folded and not has_date(date):
                _check_titles(file, cells, columns)
            if len(dates) < MOST_DATES:
                dates[date] = None
        for at in numeric:
            cell = cells[at]
            if cell[:1] not in _FIRST or cell == "-":
                continue
            written = shape(cell)
            file.numbers[written] += 1
            if at in prices:
                file.prices[written] += 1
            elif at == volume:
                file.volumes[written] += 1
    dates.pop("", None)
    file.dates = list(dates)


def _check_titles(file: PriceFile, cells: list[str], columns: dict[str, int]) -> None:
    """Refuse a second table whose columns are in another order."""
    named = file.settings["columns"]
    moved = [title for name, title in named.items() if title in cells and cells[columns[name]] != title]
    if moved:
        raise problem(
            file.path,
            f"a second table has {', '.join(moved)} in other columns",
            "Give each table its own file",
        )


def listed(files: Sequence[PriceFile]) -> str:
    """Return the names of files, of many only the first."""
    names = ", ".join(file.path.name for file in files[:NAMED])
    return f"{names} and {len(files) - NAMED} more" if len(files) > NAMED else names


def problem(path: Path, what: str, step: str) -> ArchiveError:
    return ArchiveError(f"{path}: {what}. {step}.", path=str(path))
