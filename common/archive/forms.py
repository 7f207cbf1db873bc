"""Read dates and numbers as they are written in price files."""

import datetime as dt
import re
from zoneinfo import ZoneInfo

import numpy as np

SMALLEST_NUMBER, LARGEST_NUMBER = 1e-9, 1e15
"""Range of the absolute value of prices and volumes other than 0; numbers outside it are invalid."""
POWERS = {"K": 3, "M": 6, "B": 9}
"""Powers of ten of the letters behind abbreviated numbers, such as 3.29M."""
_NAIROBI_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4}|\d{2})", re.ASCII)
_EARLY_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{4}", re.ASCII)


def number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    """Return a pattern of numbers with or without separated groups of three digits.

    Group 1 is the number without its letter, group 2 the letter of ``POWERS``. A space stands for any
    Unicode space, such as the no-break space. The first group does not begin with 0: 0,500 is no number with
    separated thousands.
    """
    point, group = re.escape(decimal), r"\s" if thousands == " " else re.escape(thousands)
    integer = rf"[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+|[0-9]+"
    return re.compile(rf"(-?(?:(?:{integer})(?:{point}[0-9]*)?|{point}[0-9]+))\s?([KMB]?)", re.IGNORECASE)


def parse_number(text: str, pattern: re.Pattern[str], decimal: str) -> float:
    """Parse a number, in parentheses if negative; NaN if it does not match or is out of range."""
    if text.startswith("(") and text.endswith(")"):
        text = f"-{text[1:-1].strip()}"
    match = pattern.fullmatch(text)
    if match is None:
        return np.nan
    digits = re.sub(rf"[^0-9{decimal}-]", "", match[1]).replace(decimal, ".")
    value = float(f"{digits}e{POWERS[match[2].upper()]}" if match[2] else digits)
    return value if value == 0 or SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER else np.nan


def parse_date(
    text: str, date_format: str | tuple[str, ...], timezone: str | None = None
) -> dt.datetime | None:
    """Parse a date, as midnight; None if it has none of the formats.

    A date with a zone is the day in ``timezone`` at that moment; without ``timezone``, the day as written.
    """
    for form in (date_format,) if isinstance(date_format, str) else date_format:
        try:
            moment = dt.datetime.strptime(text, form)
            if timezone is not None and moment.tzinfo is not None:
                moment = moment.astimezone(ZoneInfo(timezone))
        except (ValueError, OverflowError):
            continue
        return dt.datetime.combine(moment.date(), dt.time())
    return None


def swappable(form: str) -> bool:
    """Return whether day and month are numbers before the year, so that they can be mistaken."""
    numbers = form.replace("%-d", "%d").replace("%-m", "%m")
    return "%d" in numbers and "%m" in numbers and numbers.lower().find("%y") > numbers.find("%m")


def nairobi_date(text: str) -> dt.datetime | None:
    """Parse a date such as 2-Jan-13 or 02-Jan-2013, or the month/day/year of the files to 2012."""
    match = _NAIROBI_DATE.fullmatch(text)
    if match is None:
        return parse_date(text, "%m/%d/%Y") if _EARLY_DATE.fullmatch(text) else None
    day, month, year = match.groups()
    return parse_date(f"{day}-{month}-{year if len(year) == 4 else f'20{year}'}", "%d-%b-%Y")
