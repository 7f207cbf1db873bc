"""Parse lines of a price file into a table; each row is accepted or rejected with a reason."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import pyarrow as pa

from common.archive import repairs
from common.archive.layouts import NAIROBI_LAYOUT, WEEK, Layout
from common.archive.swapped_dates import has_month_as_number, swapped_dates
from common.archive.text_files import LONGEST_LINE, is_cut, split

NUMBERS = ("low", "high", "close", "previous", "volume")
LEDGER_COLUMNS = ("file", "line", "outcome", "reason", "symbol", "date", "raw")
LONG_LINE = f"line of more than {LONGEST_LINE} characters"
SYMBOL = re.compile(r"\^?[A-Z0-9][A-Z0-9.&-]{0,14}")
KEPT = ("file", "line", "raw", "symbol", *NUMBERS, "date", "redated", "repair")


@dataclass(frozen=True)
class Part:
    """Consecutive lines of one file."""

    file: int
    """Number of the file, in reading order."""
    first: int
    """Line number of the first line."""
    layout: Layout


@dataclass(frozen=True)
class PartSummary:
    """Summary of a parsed part."""

    accepted: int
    years: dict[int, "YearDates"]


@dataclass(frozen=True)
class YearDates:
    """Number of rows of one year in a part, and the first and last plausible date among them."""

    rows: int
    first: pd.Timestamp
    last: pd.Timestamp


@dataclass(frozen=True)
class Sorted:
    """The rejected rows and the dates of a part."""

    rejected: pd.DataFrame
    """``LEDGER_COLUMNS``; ``file`` is a number."""
    dates: pd.Series
    """Number of rows by date, including rejected ones."""


def compressed(lines: list[str]) -> tuple[int, bytes]:
    """Return lines as compressed JSON, and its size uncompressed, so that queued calls need little memory."""
    text = json.dumps(lines).encode()
    return len(text), pa.compress(text, codec="zstd", asbytes=True)


def parse(part: Part, lines: tuple[int, bytes]) -> tuple[PartSummary, pd.DataFrame]:
    """Parse the fields of each line, and find the reasons for rejection that do not depend on other parts.

    ``lines`` is the result of `compressed`.

    Reasons in ``early`` take precedence over those about the date's year and weekday, which take precedence
    over those in ``late``.
    """
    layout = part.layout
    text: list[str] = json.loads(pa.decompress(lines[1], lines[0], codec="zstd", asbytes=True))
    fields = [split(line, layout.delimiter) for line in text]
    shaped = pd.Series([len(row) == layout.count for row in fields], dtype=bool)
    blank = [""] * layout.count
    complete = [row if fits else blank for row, fits in zip(fields, shaped, strict=True)]
    texts = {field: layout.texts(field, complete) for field in ("date", "symbol", *NUMBERS)}
    table = pd.DataFrame({"line": np.arange(part.first, part.first + len(text)), "raw": text})
    table = table.astype({"raw": "str"}).assign(file=np.int32(part.file))
    table["symbol"] = pd.Series(texts["symbol"], dtype="str")
    for column in NUMBERS:
        table[column] = _each(texts[column], layout.number, "float64")
    named = _each(texts["symbol"], lambda code: SYMBOL.fullmatch(code) is not None, "bool")
    table["date"] = _each(texts["date"], layout.date, "datetime64[us]").where(shaped & named)
    table["symbol"] = _renamed(table, layout)
    numeric = _each(texts["date"] if layout.swappable else [""] * len(text), has_month_as_number, "bool")
    swapped = swapped_dates(table, numeric)
    empty = pd.Series([not line.strip(f"{layout.delimiter} \t") for line in text], dtype=bool)
    early = {
        LONG_LINE: pd.Series([is_cut(line) for line in text], dtype=bool),
        "empty row": empty,
        f"{{count}} fields, need {layout.count}": ~shaped,
        "not a symbol: {symbol!r}": ~named,
        "not a date: {date!r}": table["date"].isna(),
        "date {date} is out of order, and in order with day and month swapped": swapped,
    }
    late = {
        "no price": pd.Series([close in ("", "-") for close in texts["close"]], dtype=bool),
        "price is not a number: {close!r}": table["close"].isna(),
        "price is not positive: {close}": table["close"] <= 0,
    }
    for name, checks in (("early", early), ("late", late)):
        table[name] = pd.Series(np.select(list(checks.values()), list(checks), ""), dtype="str")
        rejected = (table[name] != "").to_numpy()
        table.loc[rejected, name] = [
            table.at[at, name].format(count=len(fields[at]), **{field: texts[field][at] for field in texts})
            for at in np.flatnonzero(rejected)
        ]
    table["repair"] = pd.Series([""] * len(text), dtype="str")
    for column in ("low", "high", "volume"):
        given = pd.Series([value not in ("", "-") for value in texts[column]], dtype=bool)
        sound = table[column] >= 0 if column == "volume" else table[column] > 0
        table[column] = table[column].where(sound)
        table.loc[given & ~sound, "repair"] += f"{column} is not a positive number: blanked; "
    untraded = np.array([volume == "-" for volume in texts["volume"]], dtype=bool)
    table["volume"] = table["volume"].mask(untraded, 0.0)
    accepted = int(((table["early"] == "") & (table["late"] == "")).sum())
    return PartSummary(accepted, _years(table["date"]) if layout.typed else {}), table


def sort_out(
    part: Part, table: pd.DataFrame, redating: repairs.Redating | None, blocks: int
) -> tuple[Any, ...]:
    """Return a part's `Sorted`, then for each block of symbols its accepted rows (columns ``KEPT``)."""
    layout, contradicts = part.layout, pd.Series(False, index=table.index)
    table = table.assign(redated=False)
    if redating:
        table["date"], table["redated"], contradicts = repairs.redate(table["date"], redating)
    closed = ~table["date"].dt.day_of_week.isin([WEEK.index(day) for day in layout.weekdays])
    reason = table["early"]
    for where, text in (
        (contradicts, "date {date} contradicts the file's year"),
        (closed, f"date {{date}} is not {_days(layout.weekdays)}"),
    ):
        rejected = where & (reason == "")
        written = layout.texts("date", [split(line, layout.delimiter) for line in table.loc[rejected, "raw"]])
        reason = reason.copy()
        reason[rejected] = [text.format(date=date) for date in written]
    table["reason"] = reason.mask(reason == "", table["late"])
    table.loc[table["redated"], "repair"] = (
        "date redated to stand between its neighbours; " + table.loc[table["redated"], "repair"]
    )
    rejected = table["reason"] != ""
    ledger = table[rejected].assign(outcome="rejected")[list(LEDGER_COLUMNS)]
    accepted = table.loc[~rejected, list(KEPT)]
    summary = Sorted(ledger.reset_index(drop=True), table["date"].value_counts(sort=False))
    if blocks == 1:
        return summary, accepted.reset_index(drop=True)
    codes, symbols = pd.factorize(accepted["symbol"])
    owner = np.array([crc32(symbol.encode()) % blocks for symbol in symbols], dtype=np.int64)[codes]
    return summary, *(accepted[owner == block].reset_index(drop=True) for block in range(blocks))


def redatings(year: int, parts: list[dict[int, YearDates]]) -> list[repairs.Redating]:
    """Decide how each part of a file of that year is redated, given the dates of all parts."""
    good = [(part[year].first, part[year].last) if year in part else (pd.NaT, pd.NaT) for part in parts]
    before = pd.Series([pd.NaT, *(last for _, last in good[:-1])], dtype="datetime64[us]").ffill()
    after = pd.Series([*(first for first, _ in good[1:]), pd.NaT], dtype="datetime64[us]").bfill()
    return [repairs.Redating(year, *ends) for ends in zip(before, after, strict=True)]


def _years(dates: pd.Series) -> dict[int, YearDates]:
    dates = dates.dropna()
    years: dict[int, YearDates] = {}
    for year, group in dates.groupby(dates.dt.year):
        good = group[group.dt.day_of_week < 5]
        ends = (good.iloc[0], good.iloc[-1]) if len(good) else (pd.NaT, pd.NaT)
        years[int(year)] = YearDates(len(group), *ends)
    return years


def _each(texts: list[str], parse: Callable[[str], Any], dtype: str) -> pd.Series:
    codes, distinct = pd.factorize(np.array(texts, dtype=object))
    parsed = pd.Series([parse(text) for text in distinct], dtype=dtype)
    return parsed.take(codes).reset_index(drop=True)


def _renamed(table: pd.DataFrame, layout: Layout) -> pd.Series:
    """Return the symbols of the rows, with the new ones of renamed shares."""
    symbols = table["symbol"]
    for old, new in layout.renamed.items():
        rows = symbols == old
        if new.since is not None:
            rows &= table["date"] < pd.Timestamp(new.since)
        symbols = symbols.mask(rows, new.to.upper()) if rows.any() else symbols
    return symbols


def _days(weekdays: tuple[str, ...]) -> str:
    return "a weekday" if weekdays == NAIROBI_LAYOUT.weekdays else f"one of {', '.join(weekdays)}"
