"""All that is known of a release's quality, in one place: what the report and the questions are made of."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.exchange.universe import Universe
from common.prices.panel import Panel
from common.release.bundle import GENERAL, BundleFiles
from common.release.forecasts import ReleasedModels
from train.evaluation.searched import find_search
from train.evaluation.summary import summarise


@dataclass(frozen=True)
class Evidence:
    """Figures of one release; made before it is published as well as from one that is."""

    release: str
    info: dict[str, Any]
    """As in the manifest: ``preset``, ``source``, ``quick``, ``train_end``, ``valid_end``, ``test_end``."""
    folder: Path
    """Where its bundles lie."""
    universe: Universe
    panel: Panel
    table: pd.DataFrame
    """Forecasts of the test part, see `train.evaluation.backtest.forecast_table`, with ``name``, ``sector``
    and ``tier``."""
    shared: pd.DataFrame | None
    """The same of the general model, for the stocks that have a model of their own."""
    matrix: pd.DataFrame
    """See `train.evaluation.matrix.performance_matrix`."""
    rivals: pd.DataFrame | None = None
    """Figures by ``model`` and ``horizon`` of the simple rivals on the same windows, where they were run."""
    figures: pd.DataFrame | None = None
    """The table summed up by horizon and symbol, if it is already."""
    tuning: dict[str, Any] | None = None
    """What a search found of the embedding, see `train.evaluation.searched.find_search`."""

    @property
    def synthetic(self) -> bool:
        return "synthetic" in str(self.info["source"]).lower()

    @cached_property
    def horizons(self) -> list[int]:
        return sorted(int(horizon) for horizon in self.table["horizon"].unique())

    @cached_property
    def pooled(self) -> pd.DataFrame:
        """Figures by horizon over all moving stocks."""
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
    def calibration_of_moves(self) -> pd.DataFrame:
        """Reliability of p_move by horizon and tenth: ``horizon``, ``bin``, ``n``, ``forecast``, ``seen``."""
        known = self.table["p_move"].notna() & self.table["actual"].notna()
        return reliability(self.table[known & ~self.table["frozen"].astype(bool)])

    @cached_property
    def embedding(self) -> dict[str, list[float]]:
        """The general model's embedding by symbol."""
        return self._general("embedding.json")

    @cached_property
    def training(self) -> dict[str, list[dict[str, float]]]:
        """By network of the general model, its epochs: ``epoch``, ``loss``, ``val_loss``, ``rel_mae``."""
        training: dict[str, list[dict[str, float]]] = self._general("metadata.json").get("training", {})
        return training

    def _general(self, name: str) -> dict[str, Any]:
        path = self.folder / BundleFiles.of(self.info["preset"], GENERAL).folder / name
        return json.loads(path.read_bytes()) if path.exists() else {}


def load_evidence(models: ReleasedModels, home: Path) -> Evidence:
    """Evidence of a published release, with what lies below ``home`` on it.

    A backtest may have found its rivals' figures there, and a search whether its embedding is wide enough:
    `train.evaluation.searched.find_search` says which search answers for a release.
    """
    release, universe = models.release, models.universe
    config = json.loads(release.file("config.json").read_bytes())

    def table(name: str) -> pd.DataFrame:
        return described(pd.read_parquet(release.file(name)), universe)

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
    )


def _rivals(folder: Path, info: dict[str, Any]) -> pd.DataFrame | None:
    """Figures of the backtest of the test part that ran the most models; None before the first."""
    records = [json.loads(path.read_bytes()) for path in storage.found(folder, "*/backtest.json")]
    same = {"from": info["valid_end"], "to": info["test_end"], "weights": "fixed"}
    same["data_sha256"] = info["data_sha256"]
    found = [pd.DataFrame(record["figures"]) for record in records if same.items() <= record.items()]
    return max(found, key=lambda figures: figures["model"].nunique(), default=None)


def described(table: pd.DataFrame, universe: Universe) -> pd.DataFrame:
    """A forecast table with each stock's ``name``, ``sector`` and ``tier``."""
    stocks = pd.DataFrame(
        [(stock.symbol, stock.name, stock.sector, stock.tier) for stock in universe.stocks],
        columns=["symbol", "name", "sector", "tier"],
    )
    codes, symbols = pd.factorize(table["symbol"])
    known = stocks.set_index("symbol").reindex(symbols)
    return table.assign(**{name: known[name].array.take(codes) for name in known})


def reliability(rows: pd.DataFrame) -> pd.DataFrame:
    """How often prices moved, by the probability forecast: a row per horizon and tenth that has any."""
    tenth = np.clip(np.floor(rows["p_move"].to_numpy(float) * 10), 0, 9).astype(int)
    moved = (rows["actual"] != rows["last_price"]).astype(float)
    grouped = rows.assign(bin=tenth, moved=moved).groupby(["horizon", "bin"], as_index=False)
    return grouped.agg(n=("moved", "size"), forecast=("p_move", "mean"), seen=("moved", "mean"))
