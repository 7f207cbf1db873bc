"""What simple rivals reach on the windows of a backtest, in the same table form."""

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
from common.forecast.representation import Residual
from common.network.channels import frozen
from common.prices.panel import Panel
from common.prices.windows import Boundaries, Windows, make_windows
from common.release.bundle import GENERAL
from common.release.forecasts import ReleasedModels
from common.release.registry import Registry
from train.evaluation.backtest import Backtest, backtest, forecast_table
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
"""Every rival, in the order of the table."""
Progress = Callable[[str, int, int], None]
"""(rival, done, total)"""


@dataclass(frozen=True)
class Rivals:
    """The rivals of one backtest, on the windows of ``ours``; what one forecast is kept in ``folder``.

    LightGBM and preset ``v4_log`` are trained on the release's own training part and stopped on its
    validation part; the classical ones see every close up to each cutoff.
    """

    ours: Backtest
    models: ReleasedModels
    panel: Panel
    folder: Path
    workers: int
    mode: Mode | None
    progress: Progress
    address: str | None = None
    """A Ray cluster for what is trained on the fleet."""

    def tables(self, names: Sequence[str]) -> dict[str, pd.DataFrame]:
        """Forecast tables by rival; one that is there already is read."""
        return {name: self._table(name) for name in names}

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        if not storage.exists(path):
            self.progress(name, 0, 1)
            made = self._v4() if name == V4 else self._simple(name)
            storage.write_with(path, lambda temporary: made.to_parquet(temporary, index=False))
        self.progress(name, 1, 1)
        return pd.read_parquet(path)

    def _simple(self, name: str) -> pd.DataFrame:
        windows, bounds = self.ours.windows, None
        if name in MODELS:
            found = statistical(
                windows,
                workers=self.workers,
                models=[name],
                progress=lambda done, total: self.progress(name, done, total),
            )[name]
        elif name == "lightgbm":
            train, valid, _ = _parts(self.models, windows)
            representation = self.models.bundle(GENERAL).forecaster.representation
            if not isinstance(representation, Residual):
                representation = Residual.fit(train)
            found = trees(
                train,
                valid,
                windows,
                representation,
                threads=self.workers,
                progress=lambda done, total: self.progress(name, done, total),
            )
        else:
            found = {"naive": naive, "drift": drift}[name](windows)
        if found.failures:
            log.warning("rival=%s failed on %d windows: the last price stands in there", name, found.failures)
        if name == "naive" and out_of_sample(self.models, windows):
            bounds = _naive_bounds(self.models, windows)
        return rival_table(windows, found, self.models, bounds)

    def _v4(self) -> pd.DataFrame:
        """Train the original design on the same split, on the fleet, and backtest it.

        Its own price is published even where it did not beat the last one on validation: a rival is shown
        as it is.
        """
        from common.presets import train_config
        from train.pipeline.training import execute, plan_run

        info, windows = self.models.release.info, self.ours.windows
        split = {"train_end": info["train_end"], "valid_end": info["valid_end"]}
        config = train_config(V4, {"split": split})
        run = plan_run(config, self.models.universe, self.models.panel, self.folder / V4)
        workers = None if self.address else self.workers
        outcome, _ = execute(run, workers=workers, mode=self.mode, hand_over=False, address=self.address)
        rival = ReleasedModels(Registry(run.home).open(outcome.release.id))
        start, end = windows.cutoff.min(), windows.cutoff.max()
        table = backtest(rival.models, self.panel, rival.calibration, start=start, end=end).table
        own = np.where(table["frozen"], table["raw"], round_to_tick(table["raw"].to_numpy()))
        return table.assign(published=own, source="model")


def out_of_sample(models: ReleasedModels, windows: Windows) -> bool:
    """Whether all windows lie after what a rival trained on the release's split has seen."""
    return bool(windows.cutoff.min() >= np.datetime64(models.release.info["valid_end"]))


def rival_table(
    windows: Windows,
    found: BaselineForecast,
    models: ReleasedModels,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
) -> pd.DataFrame:
    """A rival's forecasts in the form of ours; ``bounds``: low and high, each (N, H, 3)."""
    none = np.full(found.raw.shape, np.nan)
    nothing = np.full((*found.raw.shape, len(LEVELS)), np.nan)
    low, high = bounds or (nothing, nothing)
    prices = Prices(
        last=windows.last_price,
        frozen=frozen(windows),
        raw=found.raw,
        published=found.published,
        p_move=none,
        low=low,
        high=high,
        needed=none,
        by_model=np.ones(found.raw.shape, dtype=bool),
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
    every = make_windows(windows.series, windows.spec)
    start = np.datetime64(models.release.info["train_end"])
    every = every.take((every.cutoff >= start) & (every.cutoff <= windows.cutoff.max()) & ~frozen(every))
    outcomes = Outcomes.of(every, spread.needed_level(every))
    calibration = Calibration.nominal(windows.spec.horizons).extended(outcomes)
    asked = calibration.on(windows.cutoff)
    pairs = [spread.bounds(windows, asked[..., place]) for place in range(len(LEVELS))]
    low, high = (np.stack(side, axis=-1) for side in zip(*pairs, strict=True))
    return low, high
