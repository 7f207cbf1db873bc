"""Find out how the fields of a file are written."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.archive.forms import number_pattern, parse_date, parse_number
from common.archive.text_files import split
from common.config import read_file

DELIMITERS = (",", ";", "\t", "|")
DAYS: tuple[str, ...] = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d/%m/%y",
    "%m/%d/%y",
)
DAYS += ("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%Y%m%d")
_DATE = re.compile(
    r"\d{1,4}[-/. ](\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{2,4}|[A-Za-z]{3,9} \d{1,2}, \d{4}|\d{8}$", re.ASCII
)
TIMES = ("", " %H:%M:%S%z", " %H:%M:%S", "T%H:%M:%S%z", "T%H:%M:%S", " %H:%M")
MARKS = ((".", ","), (",", "."), (".", " "), (",", " "), (".", "'"))


def decoded(path: Path) -> tuple[str, list[str]]:
    """Return the encoding of a file and its lines."""
    content = read_file(path)
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
        try:
            return encoding, content.decode(encoding).splitlines()
        except UnicodeDecodeError:
            continue
    return "latin-1", content.decode("latin-1").splitlines()


def common_end(names: list[str]) -> str:
    """Return what all names have in common at their end, from a space, underscore or point on."""
    pairs = itertools.takewhile(lambda signs: len(set(signs)) == 1, zip(*map(reversed, names), strict=False))
    common = "".join(signs[0] for signs in pairs)[::-1]
    return re.sub(r"^[^ _.]*", "", common)


def score(lines: list[str], delimiter: str) -> tuple[float, int]:
    """Return how well a delimiter divides lines into fields, as numbers to compare."""
    rows = [split(line, delimiter) for line in lines[:50] if line.strip()]
    rows = [[cell.strip() for cell in row] for row in rows if len(row) > 1]
    if not rows:
        return 0.0, 0
    width, count = Counter(map(len, rows)).most_common(1)[0]
    return count * sum(map(is_row, rows)), width


def is_row(cells: list[str]) -> bool:
    """Return whether fields have a date and a number."""
    numbers = (any(number(cell, marks) for marks in MARKS) for cell in cells if not forms([cell]))
    return any(forms([cell]) for cell in cells) and any(numbers)


def number(text: str, marks: tuple[str, str]) -> bool:
    """Return whether a text is a number with these marks of decimals and thousands."""
    return not math.isnan(parse_number(text, number_pattern(*marks), marks[0]))


def forms(texts: Sequence[str]) -> list[str]:
    """Return the forms that every text has."""
    distinct = list(dict.fromkeys(texts))
    if not all(map(_DATE.match, distinct)):
        return []
    times = [time for time in TIMES if not distinct or (":" in time) == (":" in distinct[0])]
    possible = (day + time for day in DAYS for time in times)
    return [form for form in possible if all(_has_form(text, form) for text in distinct)]


def dates_among(texts: Sequence[str]) -> list[str]:
    """Return the distinct texts that have any of the forms."""
    distinct = [text for text in dict.fromkeys(texts) if _DATE.match(text)]
    others = set(distinct)
    for form in (day + time for day in DAYS for time in TIMES):  # strptime keeps five forms compiled
        others = {text for text in others if not _has_form(text, form)}
    return [text for text in distinct if text not in others]


def _has_form(text: str, form: str) -> bool:
    day = parse_date(text, form)
    return day is not None and 1900 <= day.year <= 2100
