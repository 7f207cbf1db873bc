"""Blocked time-series folds, on prices that end before the test part."""

import datetime as dt
import functools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import ArchiveError, ConfigError
from common.forecast.representation import Representation
from common.presets import SplitSpec, WindowSpec
from common.prices.panel import Panel
from common.prices.series import Series
from common.prices.windows import Boundaries, Windows
from train.run.dataset import RunDataset, RunSpec


@dataclass(frozen=True)
class Fold:
    """Training on targets up to ``train_end``, validation on later ones up to ``valid_end``."""

    train_end: dt.date
    valid_end: dt.date

    def as_dict(self) -> dict[str, str]:
        return {"train_end": str(self.train_end), "valid_end": str(self.valid_end)}

    @classmethod
    def from_dict(cls, stored: dict[str, str]) -> "Fold":
        return cls(*(dt.date.fromisoformat(stored[name]) for name in ("train_end", "valid_end")))

    @property
    def split(self) -> SplitSpec:
        return SplitSpec(train_end=self.train_end, valid_end=self.valid_end)


def make_folds(dates: np.ndarray, limits: Boundaries, count: int, *, shortest_training: int) -> list[Fold]:
    """Cut the history into folds; each older fold ends where the newer one's validation block begins.

    Parameters
    ----------
    dates : datetime64[D], sorted
        The sessions.
    limits : Boundaries
        The split, which is the newest fold. All validation blocks have as many sessions as its own.
    count : int
        Number of folds; the first is the newest.
    shortest_training : int
        Sessions that the oldest fold's training part needs, at least those of a validation block.

    Raises
    ------
    ConfigError
        If the history is too short; the error gives the number of folds that fit.
    """
    train, valid = (int(np.searchsorted(dates, end, "right")) for end in (limits.train_end, limits.valid_end))
    block = valid - train
    if block < 1:
        raise ConfigError(
            f"split: no session after {limits.train_end} up to {limits.valid_end}. Move valid_end."
        )
    fit = max(0, (valid - max(shortest_training, block)) // block)
    if count > fit:
        raise ConfigError(
            f"--folds: got {count}, but {valid} sessions before the test part have room for {fit} with "
            f"validation blocks of {block} sessions. Use at most {fit}, or a longer archive.",
            fit=fit,
        )
    ends = [dates[valid - block * number - 1].astype(dt.date) for number in range(count + 1)]
    return [Fold(ends[number + 1], ends[number]) for number in range(count)]


@dataclass(frozen=True)
class FoldDataset(RunDataset):
    """A dataset that ends with its validation block."""

    computed: "FoldDataset | None" = None
    """A dataset with the same prices, windows and split, whose data are used here too."""

    @cached_property
    def series(self) -> Series:
        return self.computed.series if self.computed else super().series

    @cached_property
    def windows(self) -> Windows:
        return self.computed.windows if self.computed else super().windows

    @cached_property
    def representation(self) -> Representation:
        return self.computed.representation if self.computed else super().representation

    @cached_property
    def limits(self) -> Boundaries:
        split = self.config.split
        train_end, valid_end = (np.datetime64(end) for end in (split.train_end, split.valid_end))
        return Boundaries(train_end, valid_end, valid_end)

    @cached_property
    def parts(self) -> tuple[Windows, Windows, Windows]:
        return self.computed.parts if self.computed else super().parts

    @cached_property
    def _moving(self) -> set[str]:
        return self.computed._moving if self.computed else super()._moving


def fold_dataset(run_dir: Path, panel_path: Path) -> FoldDataset:
    """Return the dataset of a fold's run folder; its data are computed once per process.

    Raises
    ------
    ArchiveError
        If the prices are not those that the search was planned with.
    """
    spec = RunSpec.load(run_dir)
    panel, fingerprint = _panel(panel_path)
    if fingerprint != spec.data_sha256:
        raise ArchiveError(f"{panel_path}: not the prices that this search was planned with.")
    key = (panel_path, spec.config.window, spec.config.split)
    if key not in _DATASETS:
        _DATASETS[key] = FoldDataset(run_dir, spec, panel)
    return FoldDataset(run_dir, spec, panel, _DATASETS[key])


_DATASETS: dict[tuple[Path, WindowSpec, SplitSpec], FoldDataset] = {}


@functools.lru_cache(maxsize=1)
def _panel(path: Path) -> tuple[Panel, str]:
    panel = Panel.load(path)
    return panel, panel.fingerprint()
