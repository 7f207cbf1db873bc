"""The figures on a release's quality from which the report and the answers are built."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from common import storage
from common.exchange.universe import Universe
from common.forecast.factors import Factors
from common.prices.panel import Panel
from common.release.bundle import GENERAL, BundleFiles
from common.release.released_models import ReleasedModels
from train.evaluation.embedding_search import find_search, is_synthetic
from train.evaluation.forecasts import Forecasts, add_stock_columns, reliability
from train.evaluation.summary import summarise
from train.evaluation.worth import COST_PERCENT, Worth, worth_of_horizons

__all__ = ["Evidence", "add_stock_columns", "load_evidence", "reliability"]


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
    forecasts: Forecasts
    """Forecasts of the test part."""
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

    @property
    def table(self) -> pd.DataFrame:
        """All columns of all forecasts, with ``name``, ``sector`` and ``tier``: prefer ``forecasts.read``."""
        return add_stock_columns(self.forecasts.read(), self.universe)

    @property
    def horizons(self) -> list[int]:
        return self.forecasts.horizons

    @property
    def pooled(self) -> pd.DataFrame:
        """Figures over all moving stocks by horizon."""
        return self.forecasts.pooled

    @cached_property
    def by_symbol(self) -> pd.DataFrame:
        if self.figures is not None:
            return self.figures
        return summarise(self.forecasts.read(), ["horizon", "symbol"])

    @property
    def by_tier(self) -> pd.DataFrame:
        return self.forecasts.by_tier

    @property
    def by_sector(self) -> pd.DataFrame:
        return self.forecasts.by_sector

    @cached_property
    def worth(self) -> Worth:
        tables = (self.forecasts.of_horizon(horizon) for horizon in self.horizons)
        return worth_of_horizons(tables, self.panel, self.cost_percent)

    @property
    def calibration_of_moves(self) -> pd.DataFrame:
        """Reliability of p_move by horizon and tenth, see `Forecasts`."""
        return self.forecasts.calibration_of_moves

    @property
    def calibration_of_directions(self) -> pd.DataFrame:
        """Reliability of the served probabilities by horizon, outcome and tier, see `Forecasts`."""
        return self.forecasts.calibration_of_directions

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

    shared = "general_test_forecasts.parquet"
    return Evidence(
        release=release.id,
        info=release.info,
        folder=release.path,
        universe=universe,
        panel=models.panel,
        forecasts=Forecasts(release.file("test_forecasts.parquet"), universe),
        shared=pd.read_parquet(release.file(shared)) if shared in release.files else None,
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
