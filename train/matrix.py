"""The performance matrix: every stock, every horizon, next to naive."""

from pathlib import Path
from typing import Any

import pandas as pd

from common.metrics import Errors, errors
from common.model.bundle import GENERAL
from train.workbench import RunSpec


def served_forecasts(run_dir: Path, specific: tuple[str, ...]) -> pd.DataFrame:
    """Test forecasts as they would be served: a stock's own model where there is one, else the general.

    Adds the column ``model_type``: ``stock_specific`` or ``general``.
    """
    general = pd.read_parquet(run_dir / "forecasts" / f"{GENERAL}.parquet")
    parts = [general[~general["symbol"].isin(specific)].assign(model_type=GENERAL)]
    parts += [
        pd.read_parquet(run_dir / "forecasts" / f"{symbol}.parquet").assign(model_type="stock_specific")
        for symbol in specific
    ]
    return pd.concat([part for part in parts if len(part)] or [general], ignore_index=True)


def performance_matrix(forecasts: pd.DataFrame, spec: RunSpec, choices: dict[str, str]) -> pd.DataFrame:
    """One row per counter, in the universe's order; errors in KES, ``_1d`` and so on by horizon.

    A stock that did not move in the test part has no ratio to naive; its cells are empty, so that it
    cannot flatter a mean.
    """
    groups = dict(list(forecasts.groupby(["symbol", "horizon"], sort=False)))
    rows = []
    for stock in spec.universe.stocks:
        row: dict[str, Any] = {
            "symbol": stock.symbol,
            "name": stock.name,
            "sector": stock.sector,
            "tier": stock.tier,
            "model": choices.get(stock.symbol, GENERAL),
            "source": spec.source,
        }
        for horizon in spec.config.window.horizons:
            group = groups.get((stock.symbol, horizon), forecasts.iloc[:0])
            row |= {f"{name}_{horizon}d": value for name, value in table_errors(group).as_dict().items()}
        rows.append(row)
    return pd.DataFrame(rows)


def table_errors(forecasts: pd.DataFrame) -> Errors:
    """Errors of the rows of a forecast table."""
    columns = {
        name: forecasts[column].to_numpy(float)
        for name, column in (
            ("last", "last_price"),
            ("raw", "raw"),
            ("published", "published"),
            ("actual", "actual"),
        )
    }
    return errors(**columns)


def moving(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Without the windows in which the price stood still all along."""
    return forecasts[~forecasts["frozen"].astype(bool)]
