"""Forecasts of simple rivals on the windows of a backtest, as the same kind of table."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common import storage
from common.exchange.ticks import round_to_tick
from common.forecast.conformal import LEVELS, Calibration, Outcomes
from common.forecast.prices import Prices
from common.forecast.probabilities import DIRECTIONS
from common.forecast.representation import Residual
from common.network.channels import frozen
from common.prices.panel import Panel
from common.prices.windows import Boundaries, Windows, make_windows
from common.release.bundle import GENERAL
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.evaluation.backtest import backtest, forecast_table
from train.progress.console import Mode
from train.rivals.baselines import BaselineForecast, drift, naive
from train.rivals.spread import NaiveSpread
from train.rivals.statistical import MODELS, statistical
from train.rivals.trees import trees

log = logging.getLogger(__name__)

V4 = "v4_log"
QUICK = ("naive", "drift")
TRAINED = ("lightgbm", V4)
RIVALS = (*QUICK, *MODELS, *TRAINED)
"""All rivals, in the order of the table."""
Progress = Callable[[str, int, int], None]
"""(rival, done, total)"""


@dataclass(frozen=True)
class Rivals:
    """The rivals of one backtest, on its windows; their forecasts are stored in ``folder``.

    LightGBM and preset ``v4_log`` are trained on the release's training part and stopped on its validation
    part; the classical models use every close up to each cutoff.
    """

    windows: Windows
    models: ReleasedModels
    panel: Panel
    folder: Path
    workers: int
    mode: Mode | None
    progress: Progress
    address: str | None = None
    """A Ray cluster to train on."""

    def tables(self, names: Sequence[str]) -> dict[str, pd.DataFrame]:
        """Return the forecast table of each rival; stored ones are read."""
        return {name: self._table(name) for name in names}

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        if not storage.exists(path):
            self.progress(name, 0, 1)
            table = self._v4() if name == V4 else self._simple(name)
            storage.write_with(path, lambda temporary: table.to_parquet(temporary, index=False))
        self.progress(name, 1, 1)
        return pd.read_parquet(path)

    def _simple(self, name: str) -> pd.DataFrame:
        windows, bounds = self.windows, None
        progress = functools.partial(self.progress, name)
        if name in MODELS:
            forecast = statistical(windows, workers=self.workers, models=[name], progress=progress)[name]
        elif name == "lightgbm":
            train, valid, _ = _parts(self.models, windows)
            representation = self.models.bundle(GENERAL).forecaster.representation
            if not isinstance(representation, Residual):
                representation = Residual.fit(train)
            forecast = trees(train, valid, windows, representation, threads=self.workers, progress=progress)
        else:
            forecast = {"naive": naive, "drift": drift}[name](windows)
        if forecast.failures:
            log.warning("rival=%s failed on %d windows: the last price is used", name, forecast.failures)
        if name == "naive" and out_of_sample(self.models, windows):
            bounds = _naive_bounds(self.models, windows)
        return rival_table(windows, forecast, self.models, bounds)

    def _v4(self) -> pd.DataFrame:
        """Train the original design on the same split, and backtest it.

        Its own price is shown even for stocks for which it did not beat the last price on validation.
        """
        from common.presets import train_config
        from train.pipeline.training import execute, plan_run

        info, windows = self.models.release.info, self.windows
        split = {"train_end": info["train_end"], "valid_end": info["valid_end"]}
        config = train_config(V4, {"split": split})
        run = plan_run(config, self.models.universe, self.models.panel, self.folder / V4)
        workers = None if self.address else self.workers
        result, _ = execute(
            run, workers=workers, mode=self.mode, hand_over=False, address=self.address, refit=False
        )
        rival = ReleasedModels(Registry(run.home).open(result.release.id))
        start, end = windows.cutoff.min(), windows.cutoff.max()
        table = backtest(rival.models, self.panel, rival.calibration, start=start, end=end).table
        own = np.where(table["frozen"], table["raw"], round_to_tick(table["raw"].to_numpy()))
        return table.assign(published=own, source="model")


def out_of_sample(models: ReleasedModels, windows: Windows) -> bool:
    """Whether all windows come after the validation part, which a rival on the release's split has seen."""
    return bool(windows.cutoff.min() >= np.datetime64(models.release.info["valid_end"]))


def rival_table(
    windows: Windows,
    forecast: BaselineForecast,
    models: ReleasedModels,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return a rival's forecasts as a forecast table; ``bounds``: low and high, each (N, H, 3)."""
    missing = np.full(forecast.raw.shape, np.nan)
    no_bounds = np.full((*forecast.raw.shape, len(LEVELS)), np.nan)
    low, high = bounds or (no_bounds, no_bounds)
    prices = Prices(
        last=windows.last_price,
        frozen=frozen(windows),
        raw=forecast.raw,
        published=forecast.published,
        p_move=missing,
        low=low,
        high=high,
        needed=missing,
        by_model=np.ones(forecast.raw.shape, dtype=bool),
        probabilities=np.full((*forecast.raw.shape, len(DIRECTIONS)), np.nan),
    )
    return forecast_table(windows, prices, models.models, general_only=True)


def _parts(models: ReleasedModels, windows: Windows) -> tuple[Windows, Windows, Windows]:
    """The release's training, validation and test windows in the series of a backtest."""
    info = models.release.info
    limits = Boundaries(*(np.datetime64(info[key]) for key in ("train_end", "valid_end", "test_end")))
    return limits.parts(make_windows(windows.series, windows.spec))


def _naive_bounds(models: ReleasedModels, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Conformal intervals around the last price, by the same rule and from the same day as ours."""
    train, *_ = _parts(models, windows)
    spread = NaiveSpread.fit(train)
    past = make_windows(windows.series, windows.spec)
    start = np.datetime64(models.release.info["train_end"])
    past = past.take((past.cutoff >= start) & (past.cutoff <= windows.cutoff.max()) & ~frozen(past))
    outcomes = Outcomes.of(past, spread.needed_level(past))
    levels = Calibration.nominal(windows.spec.horizons).extended(outcomes).on(windows.cutoff)
    pairs = [spread.bounds(windows, levels[..., position]) for position in range(len(LEVELS))]
    low, high = (np.stack(side, axis=-1) for side in zip(*pairs, strict=True))
    return low, high
