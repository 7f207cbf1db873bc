"""The files of an archive as they are read: lines go on to be parsed, what is known of each file stays."""

import itertools
from collections import Counter
from typing import Any

import pandas as pd

from common.archive.price_lines import (
    LEDGER_COLUMNS,
    LONG_LINE,
    SYMBOL,
    Part,
    PartSummary,
    Sorted,
    parse,
    redatings,
    sort_out,
)
from common.archive.repairs import Redating, file_year
from common.archive.text_files import TextFile, is_cut, split
from common.engine import Engine

PART_LINES = 50_000
"""Lines that are parsed at a time."""
BLOCK_ROWS = 250_000
"""Rows of a block of symbols, about."""


class ArchiveFiles:
    """The files of a folder: their lines are passed on for parsing, what is known of them is kept."""

    def __init__(self, engine: Engine) -> None:
        self.names: list[str] = []
        self.notes: list[tuple[str, pd.Timestamp, int, str]] = []
        self.any_prices = False
        """Whether any of them holds prices."""
        self._engine = engine
        self._lines: list[int] = []
        self._parts: list[tuple[Part, Any, Any]] = []
        self._sectors: list[pd.DataFrame] = []

    def read(self, file: TextFile) -> None:
        """Read all lines of the next file."""
        if file.layout is None and file.holds != "sectors":
            self.notes.append(("file ignored", pd.NaT, sum(1 for _ in file.lines), file.holds))
            return
        number, lines = len(self.names), 0
        self.names.append(file.name)
        if file.layout is None:
            self._sectors.append(_sector_table(number, list(file.lines)))
            lines = len(self._sectors[-1])
        while file.layout and ((text := list(itertools.islice(file.lines, PART_LINES))) or not lines):
            part = Part(number, file.first + lines, file.layout)
            self._parts.append((part, *self._engine.submit(parse, part, text, returns=2)))
            self.any_prices, lines = True, lines + len(text)
            if not text:
                break
        self._lines.append(lines)

    def sorted_out(self) -> tuple[list[Sorted], list[list[Any]]]:
        """What is known of each part, and for each block of symbols the parts' rows of it."""
        summaries: list[PartSummary] = list(self._engine.values(summary for _, summary, _ in self._parts))
        redatings = self._redatings(summaries)
        blocks = max(1, -(-sum(summary.accepted for summary in summaries) // BLOCK_ROWS))
        found = []
        for redating in redatings:
            part, _, table = self._parts.pop(0)
            found.append(self._engine.submit(sort_out, part, table, redating, blocks, returns=blocks + 1))
        firsts, *rows = (list(handles) for handles in zip(*found, strict=True))
        return list(self._engine.values(firsts)), rows

    def _redatings(self, summaries: list[PartSummary]) -> list[Redating | None]:
        """How dates of another year are put right in each part."""
        found: list[Redating | None] = []
        numbered = zip([part.file for part, _, _ in self._parts], summaries, strict=True)
        for number, group in itertools.groupby(numbered, lambda pair: pair[0]):
            years = [summary.years for _, summary in group]
            rows: Counter[int] = Counter()
            for each in years:
                rows.update({year: dates.rows for year, dates in each.items()})
            year = file_year(self.names[number], rows)
            found += [None] * len(years) if year is None else redatings(year, years)
        return found

    @property
    def listed(self) -> pd.DataFrame:
        """``symbol, name, sector`` of the sector files, each symbol once."""
        rows = self._rows_of_sectors
        listed = rows.loc[rows["outcome"] == "accepted", ["symbol", "name", "sector"]]
        return listed.drop_duplicates("symbol").reset_index(drop=True)

    @property
    def unusual_sectors(self) -> pd.DataFrame:
        """The rejected rows of the sector files, ``LEDGER_COLUMNS``."""
        rows = self._rows_of_sectors
        return rows.loc[rows["outcome"] != "accepted", list(LEDGER_COLUMNS)]

    @property
    def _rows_of_sectors(self) -> pd.DataFrame:
        return pd.concat(self._sectors or [_sector_table(0, [])], ignore_index=True)

    def named(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table with files' names for their numbers."""
        names = [self.names[number] for number in table["file"]]
        return table.assign(file=pd.Series(names, index=table.index, dtype="str")).reset_index(drop=True)

    def counts(self, ledger: pd.DataFrame, dates: list[pd.DataFrame]) -> pd.DataFrame:
        """Rows read and what became of them, by file."""
        numbers = range(len(self.names))
        counts = pd.crosstab(ledger["file"], ledger["outcome"])
        counts = counts.reindex(index=numbers, columns=["accepted", "repaired", "rejected"], fill_value=0)
        counts.insert(0, "read", self._lines)
        counts["accepted"] = counts["read"] - counts["repaired"] - counts["rejected"]
        ends = pd.concat(dates).groupby(level=0).agg({"first": "min", "last": "max"})
        counts = counts.join(ends).rename_axis(index="file", columns=None).reset_index()
        return self.named(counts)


def _sector_table(file: int, lines: list[str]) -> pd.DataFrame:
    """One row per data line of the sector file; a title holds until the listed sector changes."""
    entries, title, under = [], "", ""
    for number, line in enumerate(lines, start=2):
        fields = [field.strip() for field in split(line)]
        sector, symbol, company = fields if len(fields) == 3 else ("", "", "")
        reason = ""
        if is_cut(line):
            reason = LONG_LINE
        elif not line.strip(", \t"):
            reason = "empty row"
        elif len(fields) != 3:
            reason = f"{len(fields)} fields, need 3"
        elif not SYMBOL.fullmatch(symbol) and not company:
            reason, title, under = f"section title: {symbol!r}", symbol, sector
        elif not SYMBOL.fullmatch(symbol):
            reason = f"not a symbol: {symbol!r}"
        outcome = "rejected" if reason else "accepted"
        entries.append(
            (file, number, line, outcome, reason, symbol, company, title if sector == under else sector)
        )
    columns = ["file", "line", "raw", "outcome", "reason", "symbol", "name", "sector"]
    table = pd.DataFrame(entries, columns=columns).astype(
        dict.fromkeys(columns, "str") | {"file": "int64", "line": "int64"}
    )
    return table.assign(date=pd.Series(pd.NaT, index=table.index, dtype="datetime64[us]"))
