"""Turn the accepted rows of a block of symbols into rows in panel form."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.archive import market_repairs, repairs
from common.archive.action_table import CorporateAction, Placed, mark_listed
from common.archive.actions import list_actions, list_suspects, mark_actions, symbol_spans
from common.archive.flags import Flag
from common.archive.mixed_dates import count_steps
from common.archive.price_lines import LEDGER_COLUMNS

PANEL_COLUMNS = ("symbol", "date", "close", "low", "high", "volume", "flags", "known")


@dataclass(frozen=True)
class BlockDates:
    """Dates of a block's accepted rows, and the rows rejected as duplicates or conflicts."""

    dates: np.ndarray
    rejected: pd.DataFrame
    """``LEDGER_COLUMNS``; ``file`` is a number."""


@dataclass(frozen=True)
class Block:
    """Summary of a finished block for the driver; tables as in `Archive`, with ``file`` as a number."""

    rows: dict[str, int]
    """Number of rows by symbol."""
    repaired: pd.DataFrame
    """``LEDGER_COLUMNS``."""
    files: pd.DataFrame
    """``first`` and ``last`` date by file."""
    placed: list[Placed]
    actions: pd.DataFrame
    suspects: pd.DataFrame
    stocks: pd.Series
    """Number of rows of stocks by date."""
    steps: pd.DataFrame
    """See `common.archive.mixed_dates.count_steps`."""


def gather(files: list[str], *parts: pd.DataFrame) -> tuple[BlockDates, pd.DataFrame]:
    """Join a block's rows of all parts, in reading order, and sort them by symbol and date."""
    table = pd.concat(parts, ignore_index=True)
    rejected = repairs.reject_duplicates(table, files)
    rows = table.drop(rejected.index).sort_values(["symbol", "date"], ignore_index=True)
    rows = rows.assign(
        order=0, known=rows["date"], flags=np.where(rows["redated"], Flag.REDATED, 0).astype(np.int32)
    )
    return BlockDates(rows["date"].unique(), rejected[list(LEDGER_COLUMNS)].reset_index(drop=True)), rows


def count(sessions: pd.DatetimeIndex, rows: pd.DataFrame) -> np.ndarray:
    """Call `market_repairs.count_copies`."""
    return market_repairs.count_copies(repairs.Neighbours.of(rows, sessions))


def repair(
    sessions: pd.DatetimeIndex,
    stale: np.ndarray,
    fake: np.ndarray,
    rows: pd.DataFrame,
) -> tuple[tuple[np.ndarray, np.ndarray], pd.DataFrame]:
    """Repair the rows; returns the counts of `mend_copies` and `count_gaps`, and the rows."""
    rows, counts = market_repairs.repair_copies(repairs.Neighbours.of(rows, sessions), stale, fake)
    rows = repairs.blank_ranges(rows)
    return (counts, market_repairs.count_gaps(rows, sessions)), rows


def finish(
    sessions: pd.DatetimeIndex,
    rebuilt: dict[int, pd.Timestamp],
    listed: tuple[CorporateAction, ...],
    rows: pd.DataFrame,
) -> tuple[Block, bytes]:
    """Rebuild missing sessions and mark corporate actions; returns ``PANEL_COLUMNS`` as Parquet."""
    rows = market_repairs.rebuild(rows, sessions, rebuilt)
    rows, placed = mark_listed(rows, listed)
    rows = mark_actions(rows)
    stocks = rows[~rows["symbol"].str.startswith("^")]
    read = rows[rows["order"] >= 0]
    repaired = read[read["repair"] != ""]
    repaired = repaired.assign(outcome="repaired", reason=repaired["repair"].str.removesuffix("; "))
    dates = read.groupby("file")["date"]
    block = Block(
        rows={symbol: stop - start for symbol, (start, stop) in symbol_spans(rows["symbol"]).items()},
        repaired=repaired[list(LEDGER_COLUMNS)].reset_index(drop=True),
        files=pd.DataFrame({"first": dates.min(), "last": dates.max()}),
        placed=placed,
        actions=list_actions(rows),
        suspects=list_suspects(rows),
        stocks=stocks["date"].value_counts(sort=False),
        steps=count_steps(stocks),
    )
    return block, rows[list(PANEL_COLUMNS)].to_parquet(compression="zstd", index=False)


def join_blocks(blocks: list[Block], rows: Iterable[bytes]) -> pd.DataFrame:
    """Join the rows of all blocks, sorted by symbol; only one block's rows are loaded at a time."""
    if len(blocks) == 1:
        return pd.read_parquet(io.BytesIO(next(iter(rows))))
    lengths = {symbol: length for block in blocks for symbol, length in block.rows.items()}
    symbols = sorted(lengths)
    counts = np.array([lengths[symbol] for symbol in symbols], dtype=np.int64)
    starts = dict(zip(symbols, np.cumsum(counts) - counts, strict=True))
    columns: dict[str, np.ndarray] = {}
    for block, file in zip(blocks, rows, strict=True):
        part = pd.read_parquet(io.BytesIO(file))
        own = np.array(list(block.rows.values()), dtype=np.int64)
        shift = np.array([starts[symbol] for symbol in block.rows], np.int64) - (np.cumsum(own) - own)
        place = np.arange(len(part)) + np.repeat(shift, own)
        for name in PANEL_COLUMNS[1:]:
            values = part[name].to_numpy()
            columns.setdefault(name, np.empty(counts.sum(), values.dtype))[place] = values
    names = pd.Series(np.repeat(np.array(symbols, dtype=object), counts), dtype="str")
    return pd.DataFrame({"symbol": names, **columns}, copy=False)
