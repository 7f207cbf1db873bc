"""A run's settings and data, as its tasks use them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common import storage
from common.exchange.universe import Universe
from common.forecast.log_price import LogPrice
from common.forecast.representation import Representation, Residual
from common.network.channels import frozen
from common.presets import FitConfig, NetworkConfig, NetworkShape, TrainConfig
from common.prices.panel import Panel
from common.prices.series import Series, series_of_universe
from common.prices.window_blocks import WindowBlocks
from common.prices.windows import Boundaries, Windows, boundaries, make_windows
from common.release.bundle import GENERAL
from train.run.feed import FitData


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides a run's result, apart from the code: settings, universe and data."""

    config: TrainConfig
    universe: Universe
    source: str
    data_sha256: str
    refit: str | None = None
    """Date up to which an evaluated run's recipe is fitted again, see `train.run.refit`; None: no refit."""

    def save(self, run_dir: Path) -> None:
        values = {
            "config": self.config.model_dump(mode="json"),
            "universe": self.universe.as_dict(),
            "source": self.source,
            "data_sha256": self.data_sha256,
            "refit": self.refit,
        }
        storage.write_json(run_dir / "spec.json", values)

    @classmethod
    def load(cls, run_dir: Path) -> "RunSpec":
        values = json.loads(storage.up_to_date(run_dir / "spec.json").read_bytes())
        return cls(
            TrainConfig.parse(values["config"], where=str(run_dir / "spec.json")),
            Universe.from_dict(values["universe"]),
            values["source"],
            values["data_sha256"],
            values.get("refit"),
        )


@dataclass(frozen=True)
class RunDataset:
    """A run's data, split and scaled, the same in every process."""

    run_dir: Path
    spec: RunSpec
    panel: Panel

    @property
    def config(self) -> TrainConfig:
        return self.spec.config

    @cached_property
    def series(self) -> Series:
        return series_of_universe(self.panel, self.spec.universe)

    @cached_property
    def windows(self) -> Windows:
        return make_windows(self.series, self.config.window)

    @cached_property
    def blocks(self) -> WindowBlocks:
        """The same windows by blocks of symbols."""
        symbols = tuple(symbol for symbol in self.spec.universe.symbols if symbol in self.panel.spans)
        return WindowBlocks(self.panel, symbols, self.config.window)

    @cached_property
    def limits(self) -> Boundaries:
        """Where the parts end; a refit has no validation and no test part."""
        if self.spec.refit:
            return Boundaries(*(np.datetime64(self.spec.refit),) * 3)
        return boundaries(self._sessions, self.config.split)

    @property
    def _sessions(self) -> np.ndarray:
        """The dates on which any stock of the universe has a row."""
        dates, spans = self.panel.frame["date"].to_numpy(), self.panel.spans
        rows = [dates[slice(*spans[symbol])] for symbol in self.blocks.symbols]
        return np.unique(np.concatenate([dates[:0], *rows])).astype("datetime64[D]")

    @cached_property
    def parts(self) -> tuple[Windows, Windows, Windows]:
        """Windows of all symbols: (train, valid, test)."""
        return self.limits.parts(self.windows)

    @cached_property
    def representation(self) -> Representation:
        """The scaling of inputs and targets, fitted only on the training part."""
        return self.fitted(self.parts[0])

    def fitted(self, train: Windows) -> Representation:
        """Fit the scaling on the windows of the training part."""
        if self.config.representation == LogPrice.name:
            return LogPrice.fit(train.series, self.limits.train_end)
        return Residual.fit(train)

    @cached_property
    def _moving(self) -> set[str]:
        """Stocks whose price moves in some training window; no other stock is trained on."""
        train = self.parts[0]
        return {self.series.symbols[position] for position in np.unique(train.symbol[~frozen(train)])}

    def stock_ids(self, job: str) -> dict[str, int]:
        """Return the ids of the stocks that a job's networks are trained on; others are 0, "unknown"."""
        universe = self.spec.universe
        seen = universe.general if self.config.general_sees == "general" else universe.stocks
        general = {stock.symbol: stock.stock_id for stock in seen if stock.symbol in self._moving}
        if job == GENERAL:
            return general
        if self.config.finetune and job not in general:
            return {}
        return {job: universe.stock_id(job)}

    @property
    def network_shape(self) -> NetworkShape:
        return NetworkShape(
            size=self.config.window.days,
            channels=len(self.representation.channels),
            days=self.config.window.horizons,
            stock_ids=len(self.spec.universe.stocks) + 1,
            mixture=self.representation.name == Residual.name,
        )

    def parts_of(self, job: str, *, training: bool) -> tuple[Windows, Windows, Windows]:
        """Return a job's windows (train, valid, test); with ``training`` only those for its fits."""
        symbols = self.series.symbols
        if job != GENERAL:
            position = symbols.index(job) if job in symbols else len(symbols)
            train, valid, test = (_of_symbol(part, position) for part in self.parts)
        elif training and self.config.general_sees == "general":
            chosen = set(self.stock_ids(GENERAL))
            wanted = np.array([symbol in chosen for symbol in symbols])
            train, valid, test = (part.take(wanted[part.symbol]) for part in self.parts)
        else:
            return self.parts
        return train, valid, test

    def fit_data(self, job: str) -> FitData:
        """Return the data of a job's fits."""
        train, valid, _ = self.parts_of(job, training=True)
        return FitData(train, valid, self.representation, self.stock_ids(job))

    def fit_config(self, phase: str) -> FitConfig:
        name = "general" if phase == "seed" else phase
        config: FitConfig | None = getattr(self.config, name)
        assert config is not None, f"the plan has a {phase} task without settings for it"
        return config

    def network_config(self, phase: str) -> NetworkConfig:
        """Return the widths of a phase's networks; fine-tuned ones have those of the general model."""
        own = self.config.scratch_network if phase == "scratch" else None
        return own or self.config.network

    def task_dir(self, task_id: str) -> Path:
        return self.run_dir / "tasks" / task_id

    def log_dir(self, task_id: str) -> Path:
        """Return the folder of a task's TensorBoard files."""
        return self.run_dir / "tensorboard" / task_id


def _of_symbol(windows: Windows, position: int) -> Windows:
    """The windows of one symbol, which are consecutive."""
    first, last = np.searchsorted(windows.symbol, [position, position + 1])
    return windows.take(slice(first, last))


def bundles_dir(run_dir: Path) -> Path:
    """Return the folder of a run's bundles, laid out like a release."""
    return run_dir / "bundles"
