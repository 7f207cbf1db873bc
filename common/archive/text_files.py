"""Open the files of an archive as lines of text, and choose the layout by their header."""

import contextlib
import csv
import datetime as dt
import io
import itertools
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from common.archive.action_table import FILE_NAME as ACTIONS_FILE
from common.archive.columns import FILE_NAME, Columns
from common.archive.layouts import NAIROBI_LAYOUT, Layout
from common.archive.repairs import years_in
from common.archive.workbook import is_workbook, workbook_lines
from common.errors import ArchiveError

HEADER = "date,code,name,12m low,12m high,day low,day high,day price,previous,change,change%,volume,"
PRICE_HEADERS = tuple(HEADER + last for last in ("adjust", "adjusted", "adjusted price"))
SECTOR_HEADER = "sector,stock_code,stock_name"
HIDDEN = (".", "~$")
"""Beginnings of names that are not read; Excel writes ``~$prices.xlsx`` while a workbook is open."""
EXCHANGE = "NSE_data_all_stocks_"
"""How the names of the exchange's price files begin; a year, or several, follow."""
SETTINGS = (FILE_NAME, ACTIONS_FILE)
"""Files with settings for reading the others."""
LONGEST_LINE = 10_000
"""Characters; longer lines are truncated and rejected. Nairobi's have 150."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class TextFile:
    """The lines of one file below its header."""

    name: str
    lines: Iterator[str]
    """Can be read once; lines of more than ``LONGEST_LINE`` characters are truncated, see `is_cut`."""
    first: int
    """Line number of the first line."""
    layout: Layout | None
    """Layout of a price file; None for other files."""
    ignored: str
    """Why the file is ignored; empty for a price file, and for the exchange's list of sectors."""


def text_files(folder: Path, columns: Columns | None, since: dt.date | None = None) -> Iterator[TextFile]:
    """Open every file that matches ``columns``, by default every CSV file; sub-folders are not searched.

    Parameters
    ----------
    since : leave out the exchange's files whose name has an earlier year, except those of the newest year

    Raises
    ------
    ArchiveError
        If the folder is missing, or a file cannot be read; for Excel files see `workbook_lines`.
    """
    at, start = (columns.header_line, columns.start) if columns else (1, 1)
    paths = _paths(folder, columns)
    for path in paths if since is None or columns else _newer(paths, since.year):
        lines = _lines(path, columns)
        above = list(itertools.islice(lines, max(start, 1)))
        header = above[max(at, 1) - 1] if len(above) >= max(at, 1) else ""
        if start == 0:
            lines = itertools.chain(above, lines)
        name = _replace_surrogates(path.name)
        layout, ignored = _layout(name, header, columns)
        yield TextFile(name, lines, start + 1, layout, ignored)


def is_cut(line: str) -> bool:
    """Return whether a line was truncated."""
    return len(line) > LONGEST_LINE


def split(line: str, delimiter: str = ",") -> list[str]:
    """Split one line into fields; a stray quote or carriage return affects that line only."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def no_prices(folder: Path, columns: Columns | None, ignored: list[str]) -> ArchiveError:
    """Return the error for a folder without prices; ``ignored``: reasons why files were ignored."""
    if columns is None:
        example = f" ({ignored[0]})" if ignored else ""
        problem = (
            f"no daily price file among its CSV files; a header must start {HEADER[:22]!r}{example}. Name "
            "another folder, fetch the archive with `nsecast data fetch`, or write a columns.toml into it "
            "for your own files with `nsecast data describe FILE...`."
        )
    elif ignored:
        problem = f"no file matches its {FILE_NAME}: {ignored[0]}. Correct the names of the columns."
    else:
        problem = f"no file matches its {FILE_NAME}: no name matches {columns.files!r}. Correct `files`."
    return ArchiveError(f"{folder}: {problem}", folder=str(folder))


def _paths(folder: Path, columns: Columns | None) -> list[Path]:
    try:
        paths = sorted(Path(folder).iterdir())
    except OSError as error:
        raise ArchiveError(
            f"{folder}: cannot be read as a folder: {error.strerror}. Name the folder with the CSV files.",
            folder=str(folder),
        ) from None
    paths = [path for path in paths if not path.name.startswith(HIDDEN) and path.name not in SETTINGS]
    return columns.matching(paths) if columns else [path for path in paths if path.suffix.lower() == ".csv"]


def _newer(paths: list[Path], year: int) -> list[Path]:
    """Leave out the exchange's own files of years before both ``year`` and its newest file."""
    years = {path: years_in(path.name) if path.name.startswith(EXCHANGE) else set() for path in paths}
    first = min(year, max((max(named) for named in years.values() if named), default=year))
    return [path for path in paths if not years[path] or max(years[path]) >= first]


def _lines(path: Path, columns: Columns | None) -> Iterator[str]:
    if columns is None or not is_workbook(path):
        return file_lines(path, columns.encoding if columns else "utf-8-sig")
    lines = workbook_lines(path, columns.delimiter, columns.decimal)
    return (_replace_surrogates(line[: LONGEST_LINE + 1]) for line in lines)


def file_lines(path: Path, encoding: str) -> Iterator[str]:
    """Read a file line by line; never more than ``LONGEST_LINE`` characters of a line are in memory."""
    with (
        opened(path) as binary,
        io.TextIOWrapper(binary, encoding=encoding, errors="replace", newline="\n") as file,
    ):
        while line := file.readline(LONGEST_LINE + 1):
            yield _replace_surrogates(line).removesuffix("\n").rstrip("\r")
            while not line.endswith("\n") and (line := file.readline(_CHUNK)):
                pass


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it; raises ArchiveError if it cannot be read or decoded."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # pipes and devices may never end
            raise OSError(0, "it is a folder, a pipe or a device")
        with path.open("rb") as file:
            yield file
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArchiveError(
            f"{path}: cannot be read: {reason}. Check that it is a readable file, and its encoding.",
            path=str(path),
        ) from None


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which occur in some encodings and file names and cannot be printed."""
    return text.encode(errors="replace").decode()


def _layout(name: str, header: str, columns: Columns | None) -> tuple[Layout | None, str]:
    if columns:
        layout = columns.layout_of(name, split(header, columns.delimiter))
        return (layout, "") if isinstance(layout, Layout) else (None, layout)
    fields = ",".join(field.strip().casefold() for field in split(header))
    if fields in PRICE_HEADERS:
        return NAIROBI_LAYOUT, ""
    return None, "" if fields == SECTOR_HEADER else f"{name}: its header is not that of a price file"
