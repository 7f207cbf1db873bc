"""Read the exchange's daily price files; every row is accepted, repaired or rejected with a reason."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.archive import blocks as archive_blocks
from common.archive import market_repairs
from common.archive.action_table import CorporateAction, load_actions, not_placed, with_terms
from common.archive.blocks import PANEL_COLUMNS, Block
from common.archive.columns import read_columns
from common.archive.files import ArchiveFiles
from common.archive.layouts import NAIROBI_LAYOUT, SYNTHETIC_FILE
from common.archive.mixed_dates import mixed_dates
from common.archive.price_lines import LONG_LINE
from common.archive.text_files import no_prices, text_files
from common.engine import IN_PROCESS, Engine

__all__ = ["LONG_LINE", "PANEL_COLUMNS", "Archive", "read_archive"]


@dataclass(frozen=True, eq=False)
class Archive:
    """The content of one folder of daily files, with all repairs and rejections."""

    rows: pd.DataFrame
    """Panel form, sorted by symbol and date: ``symbol``, ``date``, ``close``, ``low``, ``high`` (KES, NaN
    unknown), ``volume`` (shares, 0 no trade, NaN unknown), ``flags`` (`Flag` bits), ``known`` (the date on
    whose evening the close became known)."""
    ledger: pd.DataFrame
    """One row per repaired or rejected row: ``file, line, outcome, reason, symbol, date, raw``."""
    counts: pd.DataFrame
    """Per file: ``file, read, accepted, repaired, rejected, first, last``; read is the sum of the three."""
    actions: pd.DataFrame
    """Corporate actions, see `list_actions` and `with_terms`."""
    suspects: pd.DataFrame
    """Returns that may be bonus issues, see `list_suspects`."""
    notes: pd.DataFrame
    """Notes on days and ignored files: ``kind, date, rows, detail``."""
    mixed: pd.DataFrame
    """Days on which dates or files look mixed up, see `mixed_dates`."""


def read_archive(folder: Path, engine: Engine = IN_PROCESS, *, since: dt.date | None = None) -> Archive:
    """Read every daily price file in a folder.

    A ``columns.toml`` in it describes the files of another exchange, see `Columns`. A
    ``corporate_actions.toml`` in it lists splits and bonus issues, see `load_actions`. Other CSV files are
    ignored and noted. Repairs use at most the next session, and column ``known`` has the date on which a
    value became known, see `common.archive.repairs`.

    Parameters
    ----------
    folder : Path
        The files as published; sub-folders are not searched.
    engine : Engine
        Runs the parsing of lines and the repair of blocks of symbols; the result does not depend on it.
    since : date, optional
        Leave out the exchange's files of earlier years, by their names. Rows from the second session after it
        on are as without it, for symbols that have one before them.

    Raises
    ------
    ArchiveError
        If the folder is missing, has no daily price file, or a file cannot be read.
    ConfigError
        If its ``columns.toml`` or ``corporate_actions.toml`` is invalid.
    """
    columns = read_columns(folder)
    nairobi = not columns and not (Path(folder) / SYNTHETIC_FILE).exists()
    listed = load_actions(folder, shipped=nairobi)
    weekdays = columns.weekdays if columns else NAIROBI_LAYOUT.weekdays
    files = ArchiveFiles(engine)
    for file in text_files(folder, columns, since):
        files.read(file)
    if not files.names:
        raise no_prices(folder, columns, [note[-1] for note in files.notes])
    parts, tables = files.sort_parts()
    firsts, rows = _passed_on(engine, archive_blocks.gather, (files.names,), tables, returns=2)
    doubled = list(engine.values(firsts))
    sessions = pd.DatetimeIndex(np.unique(np.concatenate([block.dates for block in doubled])))
    blocks, rows, day_notes = _repaired(engine, rows, sessions, listed, weekdays)

    placed = [action for block in blocks for action in block.placed]
    stocks, steps = (_added([getattr(block, name) for block in blocks]) for name in ("stocks", "steps"))
    day_notes += [_no_step(action) for action in not_placed(listed, placed)]
    again = [block.rejected for block in doubled]
    ledger = _stacked([*(part.rejected for part in parts), *again, *(block.repaired for block in blocks)])
    ledger = ledger.sort_values(["file", "line"], ignore_index=True)
    return Archive(
        rows=archive_blocks.join_blocks(blocks, engine.values(rows)),
        ledger=files.named(ledger),
        counts=files.counts(ledger, [block.files for block in blocks]),
        actions=with_terms(files.named(_by_date([block.actions for block in blocks])), placed),
        suspects=files.named(_by_date([block.suspects for block in blocks])),
        notes=pd.DataFrame(files.notes + day_notes, columns=market_repairs.NOTE_COLUMNS).sort_values(
            "date", kind="stable", ignore_index=True
        ),
        mixed=mixed_dates(steps, _added([part.dates for part in parts]), stocks, _stacked(again), weekdays),
    )


def _repaired(
    engine: Engine,
    rows: list[Any],
    sessions: pd.DatetimeIndex,
    listed: tuple[CorporateAction, ...],
    weekdays: tuple[str, ...],
) -> tuple[list[Block], list[Any], list[market_repairs.Note]]:
    """Repair the blocks' rows; decisions that concern all symbols are based on the blocks' counts."""
    counts = engine.values([engine.submit(archive_blocks.count, sessions, block) for block in rows])
    stale, fake = market_repairs.copied_sessions(sum(counts))
    tables = [(block,) for block in rows]
    rows.clear()
    counted, rows = _passed_on(engine, archive_blocks.repair, (sessions, stale, fake), tables, returns=2)
    copies, gaps = (sum(counts) for counts in zip(*engine.values(counted), strict=True))
    rebuilt, notes = market_repairs.missing_sessions(sessions, gaps, weekdays)
    tables = [(block,) for block in rows]
    rows.clear()
    blocks, rows = _passed_on(engine, archive_blocks.finish, (sessions, rebuilt, listed), tables, returns=2)
    notes = market_repairs.copy_notes(sessions, stale, fake, copies) + notes
    return list(engine.values(blocks)), rows, notes


def _passed_on(
    engine: Engine,
    function: Callable[..., Any],
    shared: tuple[Any, ...],
    tables: list[Any],
    *,
    returns: int,
) -> Iterator[list[Any]]:
    """Call a function with each block's tables, which are then released; returns a list of each result."""
    calls = []
    while tables:
        calls.append(engine.submit(function, *shared, *tables.pop(0), returns=returns))
    return map(list, zip(*calls, strict=True))


def _added(parts: Sequence[Any]) -> Any:
    """Add up counts by date; the result is sorted by date."""
    return pd.concat(parts).groupby(level=0).sum()


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def _by_date(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return _stacked(parts).sort_values(["date", "symbol"], ignore_index=True)


def _no_step(action: CorporateAction) -> market_repairs.Note:
    detail = f"{action.symbol}: no step into {action.ex_date} or a later row"
    return "corporate action without a step", pd.Timestamp(action.ex_date), 0, detail
