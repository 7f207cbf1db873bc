"""The forecasts of a test part, read by columns and horizons, and the figures over all of its stocks."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.exchange.universe import Universe
from common.forecast.probabilities import DIRECTIONS
from common.scoring.direction_scores import outcomes
from train.evaluation.summary import BOUNDS, PRICES, PROBABILITY_COLUMNS, ROW, summarise

FIGURE_COLUMNS = [*ROW, "frozen", *PRICES, *BOUNDS]
PROBABILITIES = PROBABILITY_COLUMNS[: len(DIRECTIONS)]
DIRECTION_COLUMNS = ["horizon", "outcome", "tier", "bin", "n", "forecast", "seen"]
MOVE_COLUMNS = ["horizon", "p_move", "last_price", "actual", "frozen"]
GROUPS: tuple[tuple[str, ...], ...] = ((), ("tier",), ("sector",))


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts as returned by `train.evaluation.backtest.forecast_table`, in memory or in a Parquet file.

    Of a file, only the columns and rows that one figure needs are in memory at a time.
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

    def of_horizon(self, horizon: int | None) -> pd.DataFrame:
        """Return the columns that figures need of one horizon's rows, with ``sector`` and ``tier``."""
        probabilities = [name for name in PROBABILITY_COLUMNS if name in self.columns]
        rows = self.read([*FIGURE_COLUMNS, *probabilities], horizon=horizon)
        return add_stock_columns(rows, self.universe, ("sector", "tier"))

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
            rows = self.of_horizon(horizon)
            for by in GROUPS:
                parts[by].append(summarise(rows, by))
        return {by: pd.concat(tables, ignore_index=True) for by, tables in parts.items()}

    @cached_property
    def calibration_of_moves(self) -> pd.DataFrame:
        """Reliability of p_move by horizon and tenth: ``horizon``, ``bin``, ``n``, ``forecast``, ``seen``."""
        parts = []
        for horizon in self._one_by_one:
            rows = self.read(MOVE_COLUMNS, horizon=horizon)
            rows = rows[rows["p_move"].notna() & rows["actual"].notna() & ~rows["frozen"].astype(bool)]
            moved = (rows["actual"] != rows["last_price"]).to_numpy(float)
            parts.append(reliability(rows, "p_move", moved))
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def calibration_of_directions(self) -> pd.DataFrame:
        """Reliability of the served probabilities, with the columns ``DIRECTION_COLUMNS``.

        ``outcome`` is ``up``, ``unchanged`` or ``down``; ``tier`` is ``all``, ``specific`` or ``general``. It
        has no rows for releases and presets without these probabilities.
        """
        if not set(PROBABILITIES) <= set(self.columns):
            return pd.DataFrame(columns=DIRECTION_COLUMNS)
        parts = []
        for horizon in self._one_by_one:
            columns = ["symbol", "horizon", "last_price", "actual", "frozen", *PROBABILITIES]
            rows = add_stock_columns(self.read(columns, horizon=horizon), self.universe, ["tier"])
            known = rows[list(PROBABILITIES)].notna().all(axis=1) & rows["actual"].notna()
            rows = rows[known & ~rows["frozen"].astype(bool)]
            happened = outcomes(rows["last_price"].to_numpy(float), rows["actual"].to_numpy(float))
            tiers = {"all": np.ones(len(rows), bool)}
            tiers |= {str(tier): (rows["tier"] == tier).to_numpy() for tier in sorted(rows["tier"].unique())}
            for column, (name, outcome) in enumerate(zip(PROBABILITIES, DIRECTIONS, strict=True)):
                for tier, chosen in tiers.items():
                    part = reliability(rows[chosen], name, happened[chosen, column])
                    parts.append(part.assign(outcome=outcome, tier=tier))
        return pd.concat(parts, ignore_index=True)[DIRECTION_COLUMNS]

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns."""
        if isinstance(self.source, Path):
            return list(pq.read_schema(self.source).names)
        return list(self.source)


def write_forecasts(path: Path, tables: Iterator[pa.Table]) -> None:
    """Write forecast tables one after the other to a Parquet file, with the types of the first one."""
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as file:
        for table in itertools.chain([first], tables):
            file.write_table(table.cast(first.schema))


def add_stock_columns(
    table: pd.DataFrame, universe: Universe, names: Sequence[str] = ("name", "sector", "tier")
) -> pd.DataFrame:
    """Add each stock's ``name``, ``sector`` and ``tier``, or some of them, to a forecast table."""
    rows = {stock.symbol: [getattr(stock, name) for name in names] for stock in universe.stocks}
    stocks = pd.DataFrame.from_dict(rows, orient="index", columns=list(names))
    codes, symbols = pd.factorize(table["symbol"])
    stocks = stocks.reindex(symbols)
    return table.assign(**{name: stocks[name].array.take(codes) for name in stocks})


def reliability(rows: pd.DataFrame, name: str, happened: np.ndarray) -> pd.DataFrame:
    """Return how often something happened by its forecast probability.

    Parameters
    ----------
    name : the column of the probability
    happened : 0 or 1, shape (N,)

    Returns
    -------
    DataFrame
        A row per horizon and non-empty tenth: ``horizon``, ``bin``, ``n``, ``forecast`` (mean) and ``seen``
        (share).
    """
    tenth = np.clip(np.floor(rows[name].to_numpy(float) * 10), 0, 9).astype(int)
    grouped = rows.assign(bin=tenth, happened=happened).groupby(["horizon", "bin"], as_index=False)
    return grouped.agg(n=("happened", "size"), forecast=(name, "mean"), seen=("happened", "mean"))
