"""Reading the exchange's daily price files: every row accepted, repaired or rejected by name."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data import archive_blocks, market_repairs
from common.data.action_table import CorporateAction, load_actions, not_placed, with_terms
from common.data.archive_blocks import PANEL_COLUMNS, Block
from common.data.columns import NAIROBI, SYNTHETIC_FILE, read_columns
from common.data.mixed_dates import holiday_notes, mixed_dates
from common.data.price_lines import (
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
from common.data.repairs import Redating, file_year
from common.data.text_files import TextFile, is_cut, no_prices, split, text_files
from common.data.universe import KENYA
from common.engine import IN_PROCESS, Engine

__all__ = ["LONG_LINE", "PANEL_COLUMNS", "Archive", "read_archive"]

PART_LINES = 50_000
"""Lines that are parsed at a time."""
BLOCK_ROWS = 250_000
"""Rows of a block of symbols, about."""


@dataclass(frozen=True, eq=False)
class Archive:
    """All that one folder of daily files says, and what was done to it."""

    rows: pd.DataFrame
    """Panel form, sorted by symbol and date: ``symbol``, ``date``, ``close``, ``low``, ``high`` (KES, NaN
    unknown), ``volume`` (shares, 0 no trade, NaN unknown), ``flags`` (`Flag` bits), ``known`` (the date
    on whose evening the close was known)."""
    ledger: pd.DataFrame
    """One row per repaired or rejected row: ``file, line, outcome, reason, symbol, date, raw``."""
    counts: pd.DataFrame
    """Per file: ``file, read, accepted, repaired, rejected, first, last``; read is the sum of the three."""
    actions: pd.DataFrame
    """Steps taken for splits and the like: see `list_actions` and `with_terms`."""
    suspects: pd.DataFrame
    """Steps left as returns that may be bonus issues: see `list_suspects`."""
    notes: pd.DataFrame
    """Facts about whole days and ignored files: ``kind, date, rows, detail``."""
    mixed: pd.DataFrame
    """Days that make dates or files look mixed up, see `mixed_dates`; empty where they do not."""
    sectors: pd.DataFrame
    """``symbol, name, sector`` from the sector file, its section titles applied; empty without one."""


def read_archive(folder: Path, engine: Engine = IN_PROCESS) -> Archive:
    """Read every daily price file and the sector file in a folder.

    A ``columns.toml`` in it says how another exchange's files are read, see `Columns`; the rest is the same.
    A ``corporate_actions.toml`` in it lists splits and bonus issues, see `load_actions`.
    A CSV file whose header is neither is left alone and noted. Repairs use at most the next session, and
    the rows say when they became known; see `common.data.repairs`.

    Parameters
    ----------
    folder : Path
        Holds the files as published; sub-folders are not entered.
    engine : Engine
        Where lines are parsed and blocks of symbols are repaired; the result is the same on any.

    Raises
    ------
    ArchiveError
        If the folder is missing, holds no daily price file, or a file cannot be read.
    ConfigError
        If its ``columns.toml`` or ``corporate_actions.toml`` is not right.
    """
    columns = read_columns(folder)
    nairobi = not columns and not (Path(folder) / SYNTHETIC_FILE).exists()
    listed = load_actions(folder, shipped=nairobi)
    weekdays = columns.weekdays if columns else NAIROBI.weekdays
    files = _Files(engine)
    for file in text_files(folder, columns):
        files.read(file)
    if not files.any_prices:
        raise no_prices(folder, columns, [note[-1] for note in files.notes])
    parts, tables = files.sorted_out()
    gathered = [engine.submit(archive_blocks.gather, files.names, *rows, returns=2) for rows in tables]
    del tables
    firsts, rows = (list(handles) for handles in zip(*gathered, strict=True))
    doubled = list(engine.values(firsts))
    sessions = pd.DatetimeIndex(np.unique(np.concatenate([each.dates for each in doubled])))
    blocks, rows, day_notes = _repaired(engine, rows, sessions, listed, weekdays)

    placed = [each for block in blocks for each in block.placed]
    dates, stocks, steps = (
        _added([getattr(block, name) for block in blocks]) for name in ("dates", "stocks", "steps")
    )
    day_notes += [_no_step(action) for action in not_placed(listed, placed)]
    day_notes += holiday_notes(dates, KENYA) if nairobi else []
    again = [each.rejected for each in doubled]
    ledger = _stacked([*(part.rejected for part in parts), *again, *(block.repaired for block in blocks)])
    ledger = _stacked([ledger.sort_values(["file", "line"]), files.unusual_sectors])
    return Archive(
        rows=archive_blocks.in_order(blocks, engine.values(rows)),
        ledger=files.named(ledger),
        counts=files.counts(ledger, [block.files for block in blocks]),
        actions=with_terms(files.named(_by_date([block.actions for block in blocks])), placed),
        suspects=files.named(_by_date([block.suspects for block in blocks])),
        notes=pd.DataFrame(files.notes + day_notes, columns=market_repairs.NOTE_COLUMNS).sort_values(
            "date", kind="stable", ignore_index=True
        ),
        mixed=mixed_dates(steps, _added([part.dates for part in parts]), stocks, _stacked(again), weekdays),
        sectors=_listed(files.sectors),
    )


class _Files:
    """The files of a folder: their lines are passed on for parsing, what is known of them is kept."""

    def __init__(self, engine: Engine) -> None:
        self.names: list[str] = []
        self.notes: list[tuple[str, pd.Timestamp, int, str]] = []
        self.any_prices = False
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
    def sectors(self) -> pd.DataFrame:
        """All rows of the sector files."""
        return pd.concat(self._sectors, ignore_index=True) if self._sectors else _sector_table(0, [])

    @property
    def unusual_sectors(self) -> pd.DataFrame:
        """The rejected rows of the sector files."""
        return self.sectors[self.sectors["outcome"] != "accepted"][list(LEDGER_COLUMNS)]

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


def _repaired(
    engine: Engine,
    rows: list[Any],
    sessions: pd.DatetimeIndex,
    listed: tuple[CorporateAction, ...],
    weekdays: tuple[str, ...],
) -> tuple[list[Block], list[Any], list[market_repairs.Note]]:
    """Mend the blocks' rows; what is a matter of all symbols is decided on counts in between."""
    counts = engine.values([engine.submit(archive_blocks.count, sessions, each) for each in rows])
    stale, fake = market_repairs.copied_sessions(sum(counts))
    mended = [
        engine.submit(archive_blocks.mend, sessions, stale, fake, rows.pop(0), returns=2)
        for _ in range(len(rows))
    ]
    counted, rows = (list(handles) for handles in zip(*mended, strict=True))
    del mended
    copies, gaps = (sum(counts) for counts in zip(*engine.values(counted), strict=True))
    rebuilt, notes = market_repairs.missing_sessions(sessions, gaps, weekdays)
    done = [
        engine.submit(archive_blocks.finish, sessions, rebuilt, listed, rows.pop(0), returns=2)
        for _ in range(len(rows))
    ]
    blocks, rows = (list(handles) for handles in zip(*done, strict=True))
    notes = market_repairs.copy_notes(sessions, stale, fake, copies) + notes
    return list(engine.values(blocks)), rows, notes


def _added(parts: Sequence[Any]) -> Any:
    """Counts by date of several parts added up, sorted by date."""
    return pd.concat(parts).groupby(level=0).sum()


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def _by_date(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return _stacked(parts).sort_values(["date", "symbol"], ignore_index=True)


def _no_step(action: CorporateAction) -> market_repairs.Note:
    detail = f"{action.symbol}: no step into {action.ex_date} or a later row"
    return "corporate action without a step", pd.Timestamp(action.ex_date), 0, detail


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


def _listed(sectors: pd.DataFrame) -> pd.DataFrame:
    listed = sectors.loc[sectors["outcome"] == "accepted", ["symbol", "name", "sector"]]
    return listed.drop_duplicates("symbol").reset_index(drop=True)
