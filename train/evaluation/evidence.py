"""The figures on a release's quality from which the report and the answers are built."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.exchange.universe import Universe
from common.forecast.factors import Factors
from common.forecast.probabilities import DIRECTIONS
from common.prices.panel import Panel
from common.release.bundle import GENERAL, BundleFiles
from common.release.forecasts import ReleasedModels
from common.scoring.direction_scores import outcomes
from train.evaluation.embedding_search import find_search, is_synthetic
from train.evaluation.summary import summarise
from train.evaluation.worth import COST_PERCENT, Worth, measure_worth


@dataclass(frozen=True)
class Evidence:
    """Figures of one release, before or after its publication."""

    release: str
    info: dict[str, Any]
    """As in the manifest: ``preset``, ``source``, ``quick``, ``train_end``, ``valid_end``, ``test_end``."""
    folder: Path
    """The folder that contains the bundles."""
    universe: Universe
    panel: Panel
    table: pd.DataFrame
    """Forecasts of the test part, see `train.evaluation.backtest.forecast_table`, with ``name``, ``sector``
    and ``tier``."""
    shared: pd.DataFrame | None
    """The general model's forecasts for the stocks that have a specific model."""
    matrix: pd.DataFrame
    """See `train.evaluation.matrix.performance_matrix`."""
    rivals: pd.DataFrame | None = None
    """Figures of the simple rivals on the same windows by ``model`` and ``horizon``; None if not run."""
    figures: pd.DataFrame | None = None
    """The summary by horizon and symbol, if already computed."""
    tuning: dict[str, Any] | None = None
    """A search's result for the embedding size, see `train.evaluation.embedding_search.find_search`."""
    cost_percent: float = COST_PERCENT
    """Cost of a purchase, and of a sale, see `train.evaluation.worth`."""

    @property
    def synthetic(self) -> bool:
        return is_synthetic(self.info["source"])

    @cached_property
    def horizons(self) -> list[int]:
        return sorted(int(horizon) for horizon in self.table["horizon"].unique())

    @cached_property
    def pooled(self) -> pd.DataFrame:
        """Figures over all moving stocks by horizon."""
        return summarise(self.table)

    @cached_property
    def by_symbol(self) -> pd.DataFrame:
        return summarise(self.table, ["horizon", "symbol"]) if self.figures is None else self.figures

    @cached_property
    def by_tier(self) -> pd.DataFrame:
        return summarise(self.table, ["horizon", "tier"])

    @cached_property
    def by_sector(self) -> pd.DataFrame:
        return summarise(self.table, ["horizon", "sector"])

    @cached_property
    def worth(self) -> Worth:
        return measure_worth(self.table, self.panel, self.cost_percent)

    @cached_property
    def calibration_of_moves(self) -> pd.DataFrame:
        """Reliability of p_move by horizon and tenth: ``horizon``, ``bin``, ``n``, ``forecast``, ``seen``."""
        scored = self.table["p_move"].notna() & self.table["actual"].notna()
        rows = self.table[scored & ~self.table["frozen"].astype(bool)]
        return reliability(rows, "p_move", (rows["actual"] != rows["last_price"]).to_numpy(float))

    @cached_property
    def calibration_of_directions(self) -> pd.DataFrame:
        """Reliability of the served probabilities: ``horizon``, ``outcome``, ``tier``, ``bin``, ``n``,
        ``forecast``, ``seen``, as in `reliability`.

        ``outcome`` is ``up``, ``unchanged`` or ``down``; ``tier`` is ``all``, ``specific`` or ``general``. It
        has no rows for releases and presets without these probabilities.
        """
        names = [f"probability_{direction}" for direction in DIRECTIONS]
        if not set(names) <= set(self.table):
            return pd.DataFrame(columns=["horizon", "outcome", "tier", "bin", "n", "forecast", "seen"])
        known = self.table[names].notna().all(axis=1) & self.table["actual"].notna()
        rows = self.table[known & ~self.table["frozen"].astype(bool)]
        happened = outcomes(rows["last_price"].to_numpy(float), rows["actual"].to_numpy(float))
        tiers = {"all": np.ones(len(rows), bool)}
        tiers |= {str(tier): (rows["tier"] == tier).to_numpy() for tier in sorted(rows["tier"].unique())}
        found = [
            reliability(rows[chosen], name, happened[chosen, place]).assign(outcome=outcome, tier=tier)
            for place, (name, outcome) in enumerate(zip(names, DIRECTIONS, strict=True))
            for tier, chosen in tiers.items()
        ]
        order = ["horizon", "outcome", "tier", "bin", "n", "forecast", "seen"]
        return pd.concat(found, ignore_index=True)[order].sort_values(
            ["horizon"], kind="stable", ignore_index=True
        )

    @cached_property
    def embedding(self) -> dict[str, list[float]]:
        """The general model's embedding vectors by symbol."""
        return self._general("embedding.json")

    @cached_property
    def training(self) -> dict[str, list[dict[str, float]]]:
        """The epochs of each network of the general model: ``epoch``, ``loss``, ``val_loss``, ``rel_mae``."""
        training: dict[str, list[dict[str, float]]] = self._general("metadata.json").get("training", {})
        return training

    @property
    def factors(self) -> Factors | None:
        """The factors of the forecast changes; None for a release published before they existed."""
        stored = self._general("metadata.json").get("factors")
        return None if stored is None else Factors.from_dict(stored)

    def _general(self, name: str) -> dict[str, Any]:
        path = self.folder / BundleFiles.of(self.info["preset"], GENERAL).folder / name
        return json.loads(path.read_bytes()) if path.exists() else {}


def load_evidence(models: ReleasedModels, home: Path, *, cost_percent: float = COST_PERCENT) -> Evidence:
    """Load the evidence of a published release.

    The figures of rivals come from its backtests below ``home``, and the verdict on the embedding size from
    the searches there, see `train.evaluation.embedding_search.find_search`.
    """
    release, universe = models.release, models.universe
    config = json.loads(release.file("config.json").read_bytes())

    def table(name: str) -> pd.DataFrame:
        return add_stock_columns(pd.read_parquet(release.file(name)), universe)

    shared = "general_test_forecasts.parquet"
    return Evidence(
        release=release.id,
        info=release.info,
        folder=release.path,
        universe=universe,
        panel=models.panel,
        table=table("test_forecasts.parquet"),
        shared=table(shared) if shared in release.files else None,
        matrix=pd.read_csv(release.file("performance_matrix.csv")),
        rivals=_rivals(home / "backtests" / release.id, release.info),
        tuning=find_search(home, release.info, config["network"]["embedding_dim"]),
        cost_percent=cost_percent,
    )


def _rivals(folder: Path, info: dict[str, Any]) -> pd.DataFrame | None:
    """Return the figures of the backtest of the test part with the most models; None if there is none."""
    records = [json.loads(path.read_bytes()) for path in storage.fetch_matching(folder, "*/backtest.json")]
    wanted = {"from": info["valid_end"], "to": info["test_end"], "weights": "fixed"}
    wanted["data_sha256"] = info["data_sha256"]
    backtests = [pd.DataFrame(record["figures"]) for record in records if wanted.items() <= record.items()]
    return max(backtests, key=lambda figures: figures["model"].nunique(), default=None)


def add_stock_columns(table: pd.DataFrame, universe: Universe) -> pd.DataFrame:
    """Add each stock's ``name``, ``sector`` and ``tier`` to a forecast table."""
    stocks = pd.DataFrame(
        [(stock.symbol, stock.name, stock.sector, stock.tier) for stock in universe.stocks],
        columns=["symbol", "name", "sector", "tier"],
    )
    codes, symbols = pd.factorize(table["symbol"])
    stocks = stocks.set_index("symbol").reindex(symbols)
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
