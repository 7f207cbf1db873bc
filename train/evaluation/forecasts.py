"""The forecasts of a test part, read by columns and horizons, and the figures over all of its stocks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.exchange.universe import Universe
from train.evaluation.summary import BOUNDS, PRICES, ROW, summarise

FIGURE_COLUMNS = [*ROW, "frozen", *PRICES, *BOUNDS]
MOVE_COLUMNS = ["horizon", "p_move", "last_price", "actual", "frozen"]
GROUPS: tuple[tuple[str, ...], ...] = ((), ("tier",), ("sector",))


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts as returned by `train.evaluation.backtest.forecast_table`, in memory or in a Parquet file.

    Of a file, only the columns and rows of one figure are in memory at a time.
    """

    source: pd.DataFrame | Path
    universe: Universe

    def read(
        self,
        columns: Sequence[str] | None = None,
        *,
        horizon: int | None = None,
        symbols: Collection[str] | None = None,
    ) -> pd.DataFrame:
        """Return columns (default: all) of all rows, or of one horizon's or some symbols' rows, in order.

        Only one of ``horizon`` and ``symbols`` may be given.
        """
        if isinstance(self.source, Path):
            return self._read_file(self.source, columns, horizon, symbols)
        table = self.source
        if horizon is not None:
            table = table[table["horizon"] == horizon]
        if symbols is not None:
            table = table[table["symbol"].isin(set(symbols))]
        return table if columns is None else table[list(columns)]

    def _read_file(
        self,
        path: Path,
        columns: Sequence[str] | None,
        horizon: int | None,
        symbols: Collection[str] | None,
    ) -> pd.DataFrame:
        """Read one row group after the other, so that the rows left out are in memory only for a moment."""
        names = None if columns is None else list(columns)
        if horizon is None:
            filters = None if symbols is None else [("symbol", "in", set(symbols))]
            return pd.read_parquet(path, columns=names, filters=filters)
        assert symbols is None, "rows of a horizon are read for all symbols"
        with pq.ParquetFile(path) as file:
            needed = names and list(dict.fromkeys([*names, "horizon"]))
            parts = [
                file.read_row_group(group, needed).filter(pc.field("horizon") == horizon)
                for group in range(file.num_row_groups)
            ]
        table = pa.concat_tables(parts)
        return (table if names is None else table.select(names)).to_pandas()

    @cached_property
    def horizons(self) -> list[int]:
        return sorted(int(horizon) for horizon in self.read(["horizon"])["horizon"].unique())

    @property
    def _one_by_one(self) -> list[int | None]:
        """The horizons, one of which is read at a time; None, for all rows, if there are no rows."""
        return [*self.horizons] or [None]

    @property
    def pooled(self) -> pd.DataFrame:
        """Figures over all moving stocks by horizon, see `train.evaluation.summary.summarise`."""
        return self._figures[()]

    @property
    def by_tier(self) -> pd.DataFrame:
        return self._figures["tier",]

    @property
    def by_sector(self) -> pd.DataFrame:
        return self._figures["sector",]

    @cached_property
    def _figures(self) -> dict[tuple[str, ...], pd.DataFrame]:
        parts: dict[tuple[str, ...], list[pd.DataFrame]] = {by: [] for by in GROUPS}
        for horizon in self._one_by_one:
            rows = self.read(FIGURE_COLUMNS, horizon=horizon)
            parts[()].append(summarise(rows))
            rows = add_stock_columns(rows, self.universe)
            for by in GROUPS[1:]:
                parts[by].append(summarise(rows, by))
        return {by: pd.concat(tables, ignore_index=True) for by, tables in parts.items()}

    @cached_property
    def calibration_of_moves(self) -> pd.DataFrame:
        """Reliability of p_move by horizon and tenth: ``horizon``, ``bin``, ``n``, ``forecast``, ``seen``."""
        parts = []
        for horizon in self._one_by_one:
            rows = self.read(MOVE_COLUMNS, horizon=horizon)
            scored = rows["p_move"].notna() & rows["actual"].notna() & ~rows["frozen"].astype(bool)
            parts.append(reliability(rows[scored]))
        return pd.concat(parts, ignore_index=True)


class ForecastWriter:
    """Writes forecast tables one after the other to a Parquet file; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pd.DataFrame) -> None:
        """Append a table with the columns and types of the first one."""
        schema = None if self._writer is None else self._writer.schema
        rows = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, rows.schema)
        self._writer.write_table(rows)


def add_stock_columns(table: pd.DataFrame, universe: Universe) -> pd.DataFrame:
    """Add each stock's ``name``, ``sector`` and ``tier`` to a forecast table."""
    stocks = pd.DataFrame(
        [(stock.symbol, stock.name, stock.sector, stock.tier) for stock in universe.stocks],
        columns=["symbol", "name", "sector", "tier"],
    )
    codes, symbols = pd.factorize(table["symbol"])
    stocks = stocks.set_index("symbol").reindex(symbols)
    return table.assign(**{name: stocks[name].array.take(codes) for name in stocks})


def reliability(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how often prices moved by forecast probability: a row per horizon and non-empty tenth."""
    tenth = np.clip(np.floor(rows["p_move"].to_numpy(float) * 10), 0, 9).astype(int)
    moved = (rows["actual"] != rows["last_price"]).astype(float)
    grouped = rows.assign(bin=tenth, moved=moved).groupby(["horizon", "bin"], as_index=False)
    return grouped.agg(n=("moved", "size"), forecast=("p_move", "mean"), seen=("moved", "mean"))
