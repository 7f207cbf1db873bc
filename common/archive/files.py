"""Submit the lines of an archive's files for parsing, and collect the facts about each file."""

import itertools
from collections import Counter
from typing import Any

import pandas as pd

from common.archive.price_lines import (
    Part,
    PartSummary,
    Sorted,
    compressed,
    parse,
    redatings,
    sort_out,
)
from common.archive.repairs import Redating, file_year
from common.archive.text_files import TextFile
from common.engine import Engine

PART_LINES = 50_000
"""Lines parsed at a time."""
BLOCK_ROWS = 250_000
"""Approximate number of rows in a block of symbols."""


class ArchiveFiles:
    """The files of a folder, read in order; their lines are parsed on the engine."""

    def __init__(self, engine: Engine) -> None:
        self.names: list[str] = []
        self.notes: list[tuple[str, pd.Timestamp, int, str]] = []
        self._engine = engine
        self._lines: list[int] = []
        self._parts: list[tuple[Part, Any, Any]] = []

    def read(self, file: TextFile) -> None:
        """Read the next file."""
        if file.layout is None:
            rows = sum(1 for _ in file.lines)
            self.notes += [("file ignored", pd.NaT, rows, file.ignored)] if file.ignored else []
            return
        number, lines = len(self.names), 0
        self.names.append(file.name)
        while (text := list(itertools.islice(file.lines, PART_LINES))) or not lines:
            part = Part(number, file.first + lines, file.layout)
            self._parts.append((part, *self._engine.submit(parse, part, compressed(text), returns=2)))
            lines += len(text)
            if not text:
                break
        self._lines.append(lines)

    def sort_parts(self) -> tuple[list[Sorted], list[list[Any]]]:
        """Return the summary of each part, and for each block of symbols its rows in each part."""
        summaries: list[PartSummary] = list(self._engine.values(summary for _, summary, _ in self._parts))
        redatings = self._redatings(summaries)
        blocks = max(1, -(-sum(summary.accepted for summary in summaries) // BLOCK_ROWS))
        results = []
        for redating in redatings:
            part, _, table = self._parts.pop(0)
            results.append(self._engine.submit(sort_out, part, table, redating, blocks, returns=blocks + 1))
        sorted_parts, *rows = (list(handles) for handles in zip(*results, strict=True))
        return list(self._engine.values(sorted_parts)), rows

    def _redatings(self, summaries: list[PartSummary]) -> list[Redating | None]:
        """Decide for each part how dates in a wrong year are corrected."""
        result: list[Redating | None] = []
        numbered = zip([part.file for part, _, _ in self._parts], summaries, strict=True)
        for number, group in itertools.groupby(numbered, lambda pair: pair[0]):
            parts = [summary.years for _, summary in group]
            rows: Counter[int] = Counter()
            for years in parts:
                rows.update({year: dates.rows for year, dates in years.items()})
            year = file_year(self.names[number], rows)
            result += [None] * len(parts) if year is None else redatings(year, parts)
        return result

    def named(self, table: pd.DataFrame) -> pd.DataFrame:
        """Replace the file numbers of a table by file names."""
        names = [self.names[number] for number in table["file"]]
        return table.assign(file=pd.Series(names, index=table.index, dtype="str")).reset_index(drop=True)

    def counts(self, ledger: pd.DataFrame, dates: list[pd.DataFrame]) -> pd.DataFrame:
        """Count the rows read, accepted, repaired and rejected of each file."""
        numbers = range(len(self.names))
        counts = pd.crosstab(ledger["file"], ledger["outcome"])
        counts = counts.reindex(index=numbers, columns=["accepted", "repaired", "rejected"], fill_value=0)
        counts.insert(0, "read", self._lines)
        counts["accepted"] = counts["read"] - counts["repaired"] - counts["rejected"]
        ends = pd.concat(dates).groupby(level=0).agg({"first": "min", "last": "max"})
        counts = counts.join(ends).rename_axis(index="file", columns=None).reset_index()
        return self.named(counts)
