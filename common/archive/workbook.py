"""Read the first sheet of an Excel workbook as lines of text, one for each row."""

import datetime as dt
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import ArchiveError

SUFFIXES = (".xlsx", ".xlsm")
MAX_BYTES = 256 * 2**20
"""Largest unpacked size, and largest size of the text; 1.6 MB of CSV are about 12 MB unpacked."""
MAX_ROWS = 2**20
"""Excel's own limit."""
_ENCRYPTED_OR_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def is_workbook(path: Path) -> bool:
    """Return whether a file is an Excel workbook, by its name."""
    return path.suffix.lower() in SUFFIXES


def workbook_lines(path: Path, delimiter: str = ",", decimal: str = ".") -> list[str]:
    """Return the rows of a workbook's first sheet as lines with equal numbers of fields.

    Line numbers are the sheet's row numbers. Dates are written as ``2023-01-31`` without their time,
    numbers in full with ``decimal`` as mark, formulas as the values that Excel stored. Empty rows and columns
    at the end are left out.

    Raises
    ------
    ArchiveError
        If openpyxl is not installed, or the file is not a workbook, is damaged, has a password, unpacks to
        more than ``MAX_BYTES``, or its first sheet is empty.
    """
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise _problem(
            path, "Excel files need openpyxl", "Install it: pip install 'nsecast[excel]'"
        ) from None
    try:
        if not path.is_file():  # pipes and devices may never end
            raise _problem(path, "no such file, or a folder, a pipe or a device", "Name a workbook")
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and rules, which are not read
            if file.read(8) == _ENCRYPTED_OR_OLD:
                raise _problem(
                    path, "has a password, or is of Excel 97 to 2003", "Save it as .xlsx without a password"
                )
            with zipfile.ZipFile(file) as bundle:
                if sum(member.file_size for member in bundle.infolist()) > MAX_BYTES:
                    raise _too_large(path)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            rows = _rows(path, book.worksheets[0], decimal) if book.worksheets else []
    except ArchiveError:
        raise
    except Exception as error:  # a damaged file can make openpyxl raise anything
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise _problem(
            path,
            f"not an Excel workbook, or damaged: {reason}",
            "Open it in Excel and save it again as .xlsx",
        ) from None
    width = max(map(len, rows), default=0)
    if not width:
        raise _problem(path, "its first sheet is empty", "Move the sheet with the prices to the front")
    return [
        delimiter.join(_quoted(cell, delimiter) for cell in row + [""] * (width - len(row))) for row in rows
    ]


def _rows(path: Path, sheet: Any, decimal: str) -> list[list[str]]:
    """Return the cells of each row up to the last one that is not empty."""
    rows, size = list[list[str]](), 0
    sheet.reset_dimensions()  # they may be wrong, and then cut the rows off
    for row in sheet.iter_rows(values_only=True):
        cells = list[str]()
        for value in row:
            cells.append(_text(value, decimal))
            size += 1 + len(cells[-1])
            if size > MAX_BYTES:
                raise _too_large(path)
        while cells and not cells[-1]:
            cells.pop()
        rows.append(cells)
        if len(rows) > MAX_ROWS:
            raise _too_large(path)
    while rows and not rows[-1]:
        rows.pop()
    return rows


def _text(value: Any, decimal: str) -> str:
    """Return the text of a cell on one line."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    if isinstance(value, float):
        return np.format_float_positional(value, trim="-").replace(".", decimal)
    return " ".join(str(value).splitlines())


def _quoted(cell: str, delimiter: str) -> str:
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if delimiter in cell or '"' in cell else cell


def _too_large(path: Path) -> ArchiveError:
    sizes = f"unpacks to more than {MAX_BYTES // 2**20} MiB or {MAX_ROWS} rows"
    return _problem(path, sizes, "Split it, or save its sheet as CSV")


def _problem(path: Path, what: str, step: str) -> ArchiveError:
    return ArchiveError(f"{path}: {what}. {step}.", path=str(path))
