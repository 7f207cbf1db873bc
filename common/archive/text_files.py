"""The files of an archive as lines of text, each with the layout that its header calls for."""

import csv
import itertools
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.archive.action_table import FILE_NAME as ACTIONS_FILE
from common.archive.layouts import FILE_NAME, NAIROBI, Columns, Layout
from common.errors import ArchiveError

HEADER = "date,code,name,12m low,12m high,day low,day high,day price,previous,change,change%,volume,"
PRICE_HEADERS = (HEADER + "adjust", HEADER + "adjusted price")
SECTOR_HEADER = "sector,stock_code,stock_name"
SETTINGS = (FILE_NAME, ACTIONS_FILE)
"""Files that say how the others are read."""
LONGEST_LINE = 10_000
"""Characters; a longer line is cut there, and is no row. The exchange's own have 150."""
_PIECE = 1 << 16


@dataclass(frozen=True)
class TextFile:
    """One file below its header."""

    name: str
    lines: Iterator[str]
    """To be taken once; a line of more than ``LONGEST_LINE`` characters is there with one more than that, see
    `is_cut`."""
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
        lines = _lines(path, columns)
        header = next(itertools.islice(lines, start - 1, None), "")
        name = _sayable(path.name)
        layout, holds = _layout(name, header, columns)
        yield TextFile(name, lines, start + 1, layout, holds)


def is_cut(line: str) -> bool:
    """Whether the line goes on in the file."""
    return len(line) > LONGEST_LINE


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
        such = f" ({ignored[0]})" if ignored else ""
        problem = (
            f"no daily price file among its CSV files; a header must start {HEADER[:22]!r}{such}. Fetch the "
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
    paths = [path for path in paths if not path.name.startswith(".") and path.name not in SETTINGS]
    return columns.matching(paths) if columns else [path for path in paths if path.suffix.lower() == ".csv"]


def _lines(path: Path, columns: Columns | None) -> Iterator[str]:
    """In memory is never more of a line than ``LONGEST_LINE``, however long it is."""
    encoding = columns.encoding if columns else "utf-8-sig"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end, nor a device
            raise OSError(0, "it is a folder, a pipe or a device")
        with path.open(encoding=encoding, errors="replace", newline="\n") as file:
            while line := file.readline(LONGEST_LINE + 1):
                yield _sayable(line).removesuffix("\n").rstrip("\r")
                while not line.endswith("\n") and (line := file.readline(_PIECE)):
                    pass
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArchiveError(
            f"{path}: cannot be read: {reason}. Check that it is a file you may read, and its encoding.",
            path=str(path),
        ) from None


def _sayable(text: str) -> str:
    """Without the halves of characters that some encodings, and names of files, bring."""
    return text.encode(errors="replace").decode()


def _layout(name: str, header: str, columns: Columns | None) -> tuple[Layout | None, str]:
    if columns:
        found = columns.layout(name, split(header, columns.delimiter))
        return (found, "prices") if isinstance(found, Layout) else (None, found)
    form = ",".join(field.strip().casefold() for field in split(header))
    if form in PRICE_HEADERS:
        return NAIROBI, "prices"
    return None, "sectors" if form == SECTOR_HEADER else f"{name}: not a price or sector header"
