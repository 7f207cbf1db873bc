"""The files of an archive as lines of text, each with the layout that its header calls for."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.data.columns import FILE_NAME, NAIROBI, Columns, Layout
from common.errors import ArchiveError

HEADER = "date,code,name,12m low,12m high,day low,day high,day price,previous,change,change%,volume,"
PRICE_HEADERS = (HEADER + "adjust", HEADER + "adjusted price")
SECTOR_HEADER = "sector,stock_code,stock_name"


@dataclass(frozen=True)
class TextFile:
    """One file below its header."""

    name: str
    lines: list[str]
    first: int
    """Number of the first of the lines in the file."""
    layout: Layout | None
    """How prices are read from it; None: it holds none."""
    holds: str
    """``prices``, ``sectors``, or why the file is ignored."""


def text_files(folder: Path, columns: Columns | None) -> Iterator[TextFile]:
    """Every file that ``columns`` speaks of, by default every CSV file; sub-folders are not entered.

    Raises
    ------
    ArchiveError
        If the folder is missing, or a file cannot be read.
    """
    start = columns.header_line if columns else 1
    for path in _paths(folder, columns):
        header, *lines = _lines(path, columns)[start - 1 :] or [""]
        layout, holds = _layout(path.name, header, columns)
        yield TextFile(path.name, lines, start + 1, layout, holds)


def split(line: str, delimiter: str = ",") -> list[str]:
    """The fields of one line; a stray quote or carriage return spoils that line only."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def no_prices(folder: Path, columns: Columns | None, ignored: list[str]) -> ArchiveError:
    """The error of a folder without prices; ``ignored``: why its files hold none."""
    if columns is None:
        problem = (
            f"no daily price file among its CSV files; a header must start {HEADER[:22]!r}. Fetch the "
            f"archive, name another folder, or write a {FILE_NAME} into it that names the columns."
        )
    elif ignored:
        problem = f"no file as its {FILE_NAME} says: {ignored[0]}. Correct the names of the columns."
    else:
        problem = f"no file as its {FILE_NAME} says: none is called {columns.files!r}. Correct `files`."
    return ArchiveError(f"{folder}: {problem}", folder=str(folder))


def _paths(folder: Path, columns: Columns | None) -> list[Path]:
    try:
        paths = sorted(Path(folder).iterdir())
    except OSError as error:
        raise ArchiveError(
            f"{folder}: cannot be read as a folder: {error.strerror}. Name the one with the daily CSV files.",
            folder=str(folder),
        ) from None
    paths = [path for path in paths if not path.name.startswith(".") and path.name != FILE_NAME]
    return columns.matching(paths) if columns else [path for path in paths if path.suffix.lower() == ".csv"]


def _lines(path: Path, columns: Columns | None) -> list[str]:
    try:
        text = path.read_bytes().decode(columns.encoding if columns else "utf-8-sig", errors="replace")
    except OSError as error:
        raise ArchiveError(
            f"{path}: cannot be read: {error.strerror}. Check that it is a file you may read.",
            path=str(path),
        ) from None
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]


def _layout(name: str, header: str, columns: Columns | None) -> tuple[Layout | None, str]:
    if columns:
        found = columns.layout(name, split(header, columns.delimiter))
        return (found, "prices") if isinstance(found, Layout) else (None, found)
    form = ",".join(field.strip().casefold() for field in split(header))
    if form in PRICE_HEADERS:
        return NAIROBI, "prices"
    return None, "sectors" if form == SECTOR_HEADER else f"{name}: not a price or sector header"
