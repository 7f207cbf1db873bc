"""Find out how the fields of a file are written."""

import codecs
import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

from common.archive.forms import number_pattern, parse_date, parse_number
from common.archive.text_files import opened, split

DELIMITERS = (",", ";", "\t", "|")
DAYS: tuple[str, ...] = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%y/%m/%d", "%y-%m-%d"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%Y%m%d"),
)
_DATE = re.compile(
    r"\d{1,4}[-/. ](\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{2,4}|[A-Za-z]{3,9} \d{1,2}, \d{4}|\d{8}$", re.ASCII
)
TIMES = ("", " %H:%M:%S%z", " %H:%M:%S", "T%H:%M:%S%z", "T%H:%M:%S", " %H:%M")
FORMS = tuple(day + time for day in DAYS for time in TIMES)
MARKS = ((".", ","), (",", "."), (".", " "), (",", " "), (".", "'"))
"""Marks of decimals and of thousands."""
_NINES = str.maketrans("012345678", "999999999")
_WRITTEN = ("ascii", "utf-8-sig", "cp1252", "latin-1")


def encoding_of(path: Path) -> str:
    """Return the encoding of a file, ``ascii`` if it has no other characters; raises ArchiveError."""
    with opened(path) as file:
        start = file.read(2)
        if start in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        if len(start) == 2 and 0 in start and any(start):
            return "utf-16-le" if start[0] else "utf-16-be"
        for encoding in _WRITTEN:
            decoder = codecs.getincrementaldecoder(encoding)()
            file.seek(0)
            try:
                while decoder.decode(chunk := file.read(2**20), final=not chunk) or chunk:
                    pass
                return encoding
            except UnicodeDecodeError:
                continue
    raise AssertionError("latin-1 decodes every file")


def score(lines: list[str], delimiter: str) -> tuple[float, int]:
    """Return how well a delimiter divides lines into fields, as numbers to compare."""
    rows = [split(line, delimiter) for line in lines[:50] if line.strip()]
    rows = [[cell.strip() for cell in row] for row in rows if len(row) > 1]
    if not rows:
        return 0.0, 0
    width, count = Counter(map(len, rows)).most_common(1)[0]
    return count * sum(map(is_row, rows)), width


def first_row(table: Sequence[list[str]]) -> int | None:
    """Return the number of the first row of prices among lines of fields; None if there is none."""
    rows = (at for at, cells in enumerate(table) if len(cells) > 1 and is_row(cells))
    positions = list(islice(rows, 50))
    usual = Counter(len(table[at]) for at in positions).most_common(1)
    return next((at for at in positions if len(table[at]) == usual[0][0]), None)


def is_row(cells: list[str]) -> bool:
    """Return whether fields have a date and a number."""
    numbers = (any(number(cell, marks) for marks in MARKS) for cell in cells if not has_date(cell))
    return any(map(has_date, cells)) and any(numbers)


@functools.lru_cache(2**16)
def number(text: str, marks: tuple[str, str]) -> bool:
    """Return whether a text is a number with these marks of decimals and thousands."""
    return not math.isnan(parse_number(text, number_pattern(*marks), marks[0]))


def shape(text: str) -> str:
    """Return a number that is written like another one: the same marks, and digits that matter."""
    text = text.removesuffix("%").rstrip()
    return text[:2] + text[2:].translate(_NINES)


def grouping(shapes: Iterable[str], marks: tuple[str, str]) -> set[bool]:
    """Return whether thousands are separated, in each of the numbers from 1,000 that tell."""
    group = r"\s" if marks[1] == " " else re.escape(marks[1])
    integers = [text.split(marks[0])[0].strip("-()") for text in shapes if number(text, marks)]
    return {bool(re.search(group, text)) for text in integers if len(re.sub(r"\D", "", text)) > 3}


def has_date(text: str) -> bool:
    """Return whether a text is a date in any of the forms."""
    return _DATE.match(text) is not None and any(day_of(text, form) for form in FORMS)


@functools.lru_cache(2**17)
def day_of(text: str, form: str) -> datetime | None:
    """Return a date of the last or this century in a form."""
    day = parse_date(text, form)
    return day if day is not None and 1900 <= day.year <= 2100 else None


def read_by_form(texts: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the dates that each form reads; forms that read none are left out."""
    alike, read = defaultdict[str, list[str]](list), dict[str, frozenset[str]]()
    for text in texts:
        if _DATE.match(text):
            alike[re.sub("[A-Za-z]+", "A", re.sub(r"\d", "9", text))].append(text)
    for group in alike.values():
        seed = next((text for text in group[:50] if has_date(text)), None)
        skeletons = {skeleton(form) for form in FORMS if seed and day_of(seed, form)}
        for form in FORMS:
            if skeleton(form) in skeletons and (good := [text for text in group if day_of(text, form)]):
                read[form] = read.get(form, frozenset()).union(good)
    return {form: read[form] for form in FORMS if form in read}


@functools.cache
def skeleton(form: str) -> str:
    """Return a form without the order of day, month and year; of several such forms a date may have each."""
    return re.sub("%[dmyY]", "%_", form)


def best_forms(read: dict[str, frozenset[str]], texts: Iterable[str]) -> list[str]:
    """Return the forms that read most of the dates.

    Where the year has two digits and may come first or last, the dates are on the fewest days.
    """
    wanted = frozenset(texts)
    counts = {form: len(good & wanted) for form, good in read.items()}
    most = max(counts.values(), default=0)
    best = [form for form, count in counts.items() if count == most > 0]

    def days(form: str) -> int:
        moments = [day_of(text, form) for text in read[form] & wanted]
        ordinals = [day.toordinal() for day in moments if day]
        return max(ordinals) - min(ordinals)

    first = bool(best) and min(best, key=days).startswith("%y")
    return [form for form in best if form.startswith("%y") == first]


def cells_of(lines: Iterator[str], delimiter: str, width: int) -> Iterator[list[str]]:
    """Return the fields of the lines that have ``width`` of them."""
    for line in lines:
        cells = split(line, delimiter)
        if len(cells) == width:
            yield [cell.strip() for cell in cells]
