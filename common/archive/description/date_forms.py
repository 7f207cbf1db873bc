"""Decide in which forms the dates of price files are written, by the dates of all of them."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.archive.description.described_file import APART, Description, PriceFile, Undecided, listed
from common.archive.description.guess import best_forms, day_of, read_by_form, skeleton
from common.archive.forms import parse_date, swappable
from common.archive.layouts import WEEK
from common.errors import ArchiveError
from common.exchange.clock import NAIROBI_CLOCK

FEWEST_DAYS = 10
"""Dates from which weekends tell the order of day and month."""
MOST_FORMS = 3
"""Forms of dates in one file."""
Read = dict[str, frozenset[str]]


@dataclass
class _Dates:
    """The dates of one file, and the forms that they may have."""

    file: PriceFile
    read: Read
    forms: list[str]
    """Forms of most dates; if they are two, day and month can be read in both orders."""

    @property
    def orders(self) -> dict[bool, str]:
        """The forms by whether the day comes before the month."""
        return {form.find("%d") < form.find("%m"): form for form in self.forms if swappable(form)}


def describe_dates(files: Sequence[PriceFile], day_first: bool | None) -> Description:
    """Return ``date_format``, ``timezone`` and ``weekdays`` of files that share a ``columns.toml``.

    Raises
    ------
    Undecided
        If day and month can be read in both orders, and ``day_first`` is None.
    ArchiveError
        If files have several forms each, of which some dates have two.
    """
    result = Description({})
    dates = [_dates_of(file) for file in files]
    _set_orders(dates, day_first, result)
    groups: dict[tuple[str, ...], list[_Dates]] = {}
    for one in dates:
        groups.setdefault((one.forms[0], *_further(one)), []).append(one)
    forms = list(dict.fromkeys(form for group in groups for form in group))
    if len({*map(skeleton, forms)}) == len(forms):
        result.settings["date_format"] = forms[0] if len(forms) == 1 else forms
    elif all(len(group) == 1 for group in groups):
        result.settings["date_format"] = {one.file.path.name: one.forms[0] for one in dates}
    else:
        parts = [
            f"{listed([one.file for one in part])} ({', '.join(group)})" for group, part in groups.items()
        ]
        raise ArchiveError(f"The dates have different forms in {'; '.join(parts)}. {APART}")
    for group, part in groups.items():
        texts = [text for one in part for text in one.file.dates]
        good = sum(len(frozenset().union(*(one.read[form] for form in group))) for one in part)
        where = f" in {listed([one.file for one in part])}" if len(groups) > 1 else ""
        result.reasons.append(
            f"date_format {' or '.join(group)}{where}: {good} of {len(texts)} dates have it"
        )
        if good < len(texts):
            result.doubts.append(
                f"{len(texts) - good} dates{where} do not have the form {' or '.join(group)}"
            )
    _set_days(groups, result)
    return result


def _dates_of(file: PriceFile) -> _Dates:
    read = read_by_form(file.dates)
    return _Dates(file, read, best_forms(read, file.dates))


def _further(dates: _Dates) -> list[str]:
    """Return the forms of a file's other dates, as long as no date can have two."""
    forms = [dates.forms[0]]
    while len(forms) < MOST_FORMS:
        left = frozenset(dates.file.dates).difference(*(dates.read[form] for form in forms))
        best = best_forms(dates.read, left)
        if len(best) != 1 or skeleton(best[0]) in map(skeleton, forms):
            break
        forms += best
    return forms[1:]


def _set_orders(dates: list[_Dates], day_first: bool | None, result: Description) -> None:
    """Keep the forms with one order of day and month, by the dates of the file, else of all files."""
    open_ = [one for one in dates if len(one.orders) == 2]
    for one in open_:
        if (first := _by_weekends(one.file.dates, one.orders)) is not None:
            one.forms = [one.orders[first]]
            result.reasons.append(f"order of day and month in {one.file.path.name}: the other has weekends")
    by_skeleton: dict[str, list[_Dates]] = {}
    for one in open_:
        if len(one.orders) == 2:
            by_skeleton.setdefault(skeleton(one.forms[0]), []).append(one)
    for kind, part in by_skeleton.items():
        known = [one for one in dates if len(one.orders) == 1 and skeleton(one.forms[0]) == kind]
        shown = {first for one in known for first in one.orders}
        if len(shown) == 1:
            (first,) = shown
            why = f"{listed([one.file for one in known])} shows it"
        elif not shown and (found := _by_weekends(_all(part), part[0].orders)) is not None:
            first, why = found, "the other has weekends"
        elif day_first is not None:
            first, why = day_first, "as given"
        else:
            text, orders = part[0].file.dates[0], part[0].orders
            raise Undecided(
                f"{part[0].file.path}: {text!r} may be {orders[True]} or {orders[False]}, and "
                f"{'files have both' if shown else 'no date shows which'}. Use --day-first or --month-first.",
                path=str(part[0].file.path),
            )
        for one in part:
            one.forms = [one.orders[first]]
        result.reasons.append(f"order of day and month in {listed([one.file for one in part])}: {why}")


def _all(part: list[_Dates]) -> set[str]:
    return {text for one in part for text in one.file.dates}


def _by_weekends(texts: Iterable[str], orders: dict[bool, str]) -> bool | None:
    """Return whether the day is first, if only one order keeps the dates off weekends."""
    weekend = {}
    for first, form in orders.items():
        days = {day for text in texts if (day := day_of(text, form))}
        weekend[first] = sum(day.weekday() > 4 for day in days) / len(days) if len(days) >= FEWEST_DAYS else 1
    if min(weekend.values()) == 0 and max(weekend.values()) > 0.1:
        return weekend[True] == 0
    return None


def _set_days(groups: dict[tuple[str, ...], list[_Dates]], result: Description) -> None:
    """Set the zone of dates with a time and the trading days."""
    texts = {(text, group) for group, part in groups.items() for one in part for text in one.file.dates}
    forms = [form for group in groups for form in group]
    written = {(text, group): day for text, group in texts if (day := parse_date(text, group))}
    days = written
    moments = [
        dt.datetime.strptime(text, form)
        for text, group in written
        for form in group
        if "%z" in form and day_of(text, form)
    ]
    if any(moment.time() != dt.time() for moment in moments):
        zone = result.settings["timezone"] = NAIROBI_CLOCK.timezone
        days = {key: day for key in written if (day := parse_date(*key, zone))}
        moved = sum(days[key] != day for key, day in written.items())
        result.doubts.append(
            f"timezone: dates have a time with a zone and count for the day in {zone}, {moved} of them for "
            "another day than written; set the zone of the exchange if that is another"
        )
    elif moments:
        result.reasons.append("timezone: none, since every date is midnight in its own zone")
    if any("%y" in form for form in forms):
        first, last = min(days.values()), max(days.values())
        result.doubts.append(f"years have two digits: read as {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    shares = Counter(WEEK[day.weekday()] for day in {*days.values()})
    if shares["Sat"] + shares["Sun"] > 0.1 * shares.total():
        result.settings["weekdays"] = [day for day in WEEK if shares[day] > 0.05 * shares.total()]
        doubt = "weekdays: the rows' own, since many are on Saturday or Sunday"
        other = "; or day and month are in the other order" * any(map(swappable, forms))
        result.doubts.append(doubt + other)
