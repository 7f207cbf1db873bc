"""A run's prices and windows as files that all processes of a node map, so that memory holds them once."""

import functools
import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common import storage
from common.errors import ArchiveError
from common.forecast.representation import Representation, representation_from_dict
from common.network.channels import frozen
from common.prices.panel import Panel
from common.prices.series import Series
from common.prices.windows import Windows
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset, RunSpec
from train.run.feed import VALID_WINDOWS, FitData, evenly

LAYOUT = 2
COLUMNS = tuple(field.name for field in fields(Series) if field.name != "symbols")
PARTS = ("train", "valid", "test")
INDEXES = ("end", "symbol", "counted")


@dataclass(frozen=True)
class MappedDataset(RunDataset):
    """A dataset that maps the files of `save_arrays` and computes nothing.

    Its training part has only the windows in which the price moves, since nothing else is trained on.
    """

    panel: Panel | None = None  # type: ignore[assignment]  # not used here

    @cached_property
    def series(self) -> Series:
        columns = {name: self._mapped(name) for name in COLUMNS}
        return Series(symbols=tuple(self._facts["symbols"]), **columns)

    @cached_property
    def parts(self) -> tuple[Windows, Windows, Windows]:
        train, valid, test = (
            Windows(self.series, self.config.window, *(self._mapped(f"{part}-{name}") for name in INDEXES))
            for part in PARTS
        )
        return train, valid, test

    @cached_property
    def representation(self) -> Representation:
        return representation_from_dict(self._facts["representation"])

    def fit_data(self, job: str) -> FitData:
        return self.general_data if job == GENERAL else super().fit_data(job)

    @cached_property
    def general_data(self) -> FitData:
        """The data of the general model's fits, prepared once."""
        train, valid, _ = self.parts_of(GENERAL, training=True)
        valid = evenly(valid.take(~frozen(valid)), VALID_WINDOWS)
        return FitData(train, valid, self.representation, self.stock_ids(GENERAL), prepared=True)

    @cached_property
    def _moving(self) -> set[str]:
        return set(self._facts["moving"])

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return dict(json.loads(storage.up_to_date(_folder(self.run_dir) / "facts.json").read_bytes()))

    def _mapped(self, name: str) -> np.ndarray:
        """Return a read-only array whose pages are read on access."""
        path = storage.up_to_date(_folder(self.run_dir) / f"{name}.npy")
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def save_arrays(dataset: RunDataset) -> None:
    """Write the files of a `MappedDataset` unless they exist: 51 bytes per row of prices, 12 per window."""
    if has_arrays(dataset.run_dir, dataset.spec):
        return
    folder, (train, valid, test) = _folder(dataset.run_dir), dataset.parts
    train = train.take(~frozen(train))
    for name in COLUMNS:
        _save(folder / f"{name}.npy", getattr(dataset.series, name))
    for part, windows in zip(PARTS, (train, valid, test), strict=True):
        for name in INDEXES:
            _save(folder / f"{part}-{name}.npy", getattr(windows, name))
    facts = {
        "layout": LAYOUT,
        "data_sha256": dataset.spec.data_sha256,
        "symbols": dataset.series.symbols,
        "moving": [dataset.series.symbols[position] for position in np.unique(train.symbol)],
        "representation": dataset.representation.as_dict(),
    }
    storage.write_json(folder / "facts.json", facts)


def has_arrays(run_dir: Path, spec: RunSpec) -> bool:
    """Whether a run's arrays are complete (``facts.json`` is written last) and of its data."""
    try:
        facts = json.loads(storage.up_to_date(_folder(run_dir) / "facts.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return (facts.get("layout"), facts.get("data_sha256")) == (LAYOUT, spec.data_sha256)


@functools.lru_cache(maxsize=1)
def open_dataset(run_dir: Path) -> RunDataset:
    """Open a run's folder, once per process; raises ArchiveError if its panel is another than planned."""
    spec = RunSpec.load(run_dir)
    if has_arrays(run_dir, spec):
        return MappedDataset(run_dir, spec)
    panel = Panel.load(storage.up_to_date(run_dir / "panel.parquet"))
    if panel.fingerprint() != spec.data_sha256:
        raise ArchiveError(f"{run_dir / 'panel.parquet'}: not the data this run was planned with.")
    return RunDataset(run_dir, spec, panel)


def _folder(run_dir: Path) -> Path:
    return run_dir / "arrays"


def _save(path: Path, array: np.ndarray) -> None:
    with storage.atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
