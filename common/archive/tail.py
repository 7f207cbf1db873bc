"""Find the lines of a price file that are too old to become rows of a given day or later."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable

from common.archive.layouts import Layout
from common.archive.repairs import file_year
from common.archive.text_files import split

CONTEXT_LINES = 500
"""Older lines that are read anyway, since mistyped dates are corrected by their neighbours."""
CONTEXT = dt.timedelta(days=45)
"""Older days that are read anyway where swapped days and months are found by their neighbours."""


def older_lines(name: str, lines: Iterable[str], layout: Layout, since: dt.date) -> int:
    """Count the first lines of a price file that cannot become rows of ``since`` or later.

    The reader moves mistyped dates to the year of their file (`common.archive.repairs.redate`). A line whose
    date is in another year therefore ends the count, unless the whole file is of an earlier year.

    Parameters
    ----------
    name : name of the file
    lines : all its lines below the header
    layout : its layout
    since : the first day that matters
    """
    days = _days(lines, layout)
    year = _year(name, days) if layout.typed else None
    if year is not None and year < since.year:
        return len(days)
    start = dt.datetime.combine(since, dt.time()) - layout.swappable * CONTEXT
    older = len(days)
    for number, day in enumerate(days):
        if day is not None and (day >= start or (year is not None and day.year != year)):
            older = number
            break
    older = older if older == len(days) else max(0, older - CONTEXT_LINES)
    return older if not layout.typed or _year(name, days[older:]) in (None, year) else 0


def _days(lines: Iterable[str], layout: Layout) -> list[dt.datetime | None]:
    """Parse the date of each line; None if it has none."""
    position, parsed = layout.positions["date"], dict[str, dt.datetime | None]()
    days = []
    for line in lines:
        fields = split(line, layout.delimiter)
        text = fields[position].strip() if len(fields) > position else ""
        if text not in parsed:
            parsed[text] = layout.date(text) if text else None
        days.append(parsed[text])
    return days


def _year(name: str, days: list[dt.datetime | None]) -> int | None:
    return file_year(name, Counter(day.year for day in days if day is not None))
