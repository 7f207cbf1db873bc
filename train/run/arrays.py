"""A run's prices and windows as files that all processes of a node map, so that memory holds them once."""

import contextlib
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common import storage
from common.errors import ArchiveError
from common.forecast.representation import Representation, representation_from_dict
from common.network.channels import frozen
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import Series
from common.prices.windows import Windows, evenly, make_windows
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset, RunSpec
from train.run.feed import VALID_WINDOWS, FitData

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
        return _mapped_series(self.run_dir, tuple(self._facts["symbols"]))

    @property
    def _sessions(self) -> np.ndarray:
        return np.unique(self.series.dates)

    @cached_property
    def parts(self) -> tuple[Windows, Windows, Windows]:
        train, valid, test = (
            Windows(
                self.series,
                self.config.window,
                *(_mapped(self.run_dir, f"{part}-{name}") for name in INDEXES),
            )
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
        return _facts(self.run_dir)


def save_arrays(dataset: RunDataset) -> None:
    """Write the files of a `MappedDataset` unless they exist: 51 bytes per row of prices, 12 per window.

    Only the windows are in memory together; rows are written by blocks of symbols, and mapped.
    """
    if has_arrays(dataset.run_dir, dataset.spec):
        return
    folder, symbols = _folder(dataset.run_dir), dataset.blocks.symbols
    spans = [dataset.panel.spans[symbol] for symbol in symbols]
    offsets = np.cumsum([0, *(stop - start for start, stop in spans)])
    _save(folder / "offsets.npy", offsets)
    dtype = np.int32 if offsets[-1] < 2**31 else np.int64
    indexes: list[list[tuple[np.ndarray, ...]]] = [[] for _ in PARTS]
    with contextlib.ExitStack() as files:
        append = functools.cache(functools.partial(_appender, files, folder, int(offsets[-1])))
        row = position = 0
        for windows in dataset.blocks:
            for name, column in windows.series.columns.items():
                column.tofile(append(name, column.dtype))
            for found, part in zip(indexes, dataset.limits.parts(windows), strict=True):
                found.append((part.end.astype(dtype) + row, part.symbol + position, part.counted))
            row, position = row + len(windows.series.close), position + len(windows.series.symbols)
    series = _mapped_series(dataset.run_dir, symbols)
    train, valid, test = (
        Windows(series, dataset.config.window, *map(np.concatenate, zip(*found, strict=True)))
        for found in indexes
    )
    representation = dataset.fitted(train)
    train = train.take(~frozen(train))
    for kind, part in zip(PARTS, (train, valid, test), strict=True):
        for name in INDEXES:
            _save(folder / f"{kind}-{name}.npy", getattr(part, name))
    facts = {
        "layout": LAYOUT,
        "data_sha256": dataset.spec.data_sha256,
        "symbols": symbols,
        "moving": [symbols[position] for position in np.unique(train.symbol)],
        "representation": representation.as_dict(),
    }
    storage.write_json(folder / "facts.json", facts)


def has_arrays(run_dir: Path, spec: RunSpec) -> bool:
    """Whether a run's arrays are complete (``facts.json`` is written last) and of its data."""
    try:
        facts = _facts(run_dir)
    except (FileNotFoundError, ValueError):
        return False
    return (facts.get("layout"), facts.get("data_sha256")) == (LAYOUT, spec.data_sha256)


def mapped_blocks(dataset: RunDataset) -> list[Callable[[], Windows]]:
    """Return functions that cut the windows of one block of symbols each from a run's files, on any node."""
    address, window = storage.address_of(dataset.run_dir), dataset.config.window
    return [functools.partial(_mapped_windows, address, block, window) for block in dataset.blocks.slices]


def _mapped_windows(address: str, block: slice, window: WindowSpec) -> Windows:
    run_dir = storage.locate(address)
    every = _mapped_series(run_dir, tuple(_facts(run_dir)["symbols"]))
    offsets = every.offsets[block.start : block.stop + 1]
    columns = {name: column[offsets[0] : offsets[-1]] for name, column in every.columns.items()}
    return make_windows(Series(every.symbols[block], offsets - offsets[0], **columns), window)


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


def _facts(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads(storage.up_to_date(_folder(run_dir) / "facts.json").read_bytes()))


def _folder(run_dir: Path) -> Path:
    return run_dir / "arrays"


def _mapped_series(run_dir: Path, symbols: tuple[str, ...]) -> Series:
    return Series(symbols=symbols, **{name: _mapped(run_dir, name) for name in COLUMNS})


def _mapped(run_dir: Path, name: str) -> np.ndarray:
    """Return a read-only array whose pages are read on access."""
    path = storage.up_to_date(_folder(run_dir) / f"{name}.npy")
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _appender(
    files: contextlib.ExitStack, folder: Path, rows: int, name: str, dtype: np.dtype[Any]
) -> BinaryIO:
    """Start an array of that many rows, which the caller appends to the file."""
    path = files.enter_context(storage.atomic_path(folder / f"{name}.npy"))
    stream = files.enter_context(path.open("wb"))
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream


def _save(path: Path, array: np.ndarray) -> None:
    with storage.atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
