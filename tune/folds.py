"""Blocked time-series folds: where each trains and judges, on prices that end before the test part."""

import datetime as dt
import functools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import ArchiveError, ConfigError
from common.forecast.representation import Representation
from common.network.channels import frozen
from common.presets import SplitSpec, WindowSpec
from common.prices.panel import Panel
from common.prices.series import Series
from common.prices.windows import Boundaries, Windows, make_windows
from train.run.dataset import RunDataset, RunSpec


@dataclass(frozen=True)
class Fold:
    """Trains on targets up to ``train_end``, is judged by those after it, up to ``valid_end``."""

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
    """The newest fold is the split's own training and validation part; each older one ends where it begins.

    Parameters
    ----------
    dates : datetime64[D], sorted
        The sessions.
    limits : Boundaries
        The split. All validation blocks have as many sessions as its validation part.
    count : int
        How many folds; the first is the newest.
    shortest_training : int
        Sessions that the oldest fold's training part needs; as many as a validation block at least.

    Raises
    ------
    ConfigError
        If the history is too short, with the number of folds that fit.
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
    ends = [dates[valid - block * place - 1].astype(dt.date) for place in range(count + 1)]
    return [Fold(ends[place + 1], ends[place]) for place in range(count)]


@dataclass(frozen=True)
class Sizes:
    """The shortest and the longest window of a search."""

    shortest: int
    longest: int


@dataclass(frozen=True)
class FoldDataset(RunDataset):
    """A dataset that ends with its validation block and is judged on the same rows for every window size.

    Which windows exist and which are frozen depends on their size. What judges a trial is therefore the
    cutoffs that have a window of the longest size and moved within one of the shortest.
    """

    sizes: Sizes
    like: "FoldDataset | None" = None
    """Another bench on the same prices, whose data are used where they are the same, not made again."""

    @property
    def _same(self) -> "FoldDataset | None":
        """`like`, if its windows and split are this bench's."""
        like, own = self.like, self.config
        same = like and (like.config.window, like.config.split) == (own.window, own.split)
        return like if same else None

    @cached_property
    def series(self) -> Series:
        return self.like.series if self.like else super().series

    @cached_property
    def windows(self) -> Windows:
        return self._same.windows if self._same else super().windows

    @cached_property
    def representation(self) -> Representation:
        return self._same.representation if self._same else super().representation

    @cached_property
    def limits(self) -> Boundaries:
        split = self.config.split
        ends = [np.datetime64(end) for end in (split.train_end, split.valid_end)]
        return Boundaries(ends[0], ends[1], ends[1])

    @cached_property
    def parts(self) -> tuple[Windows, Windows, Windows]:
        if self._same:
            return self._same.parts
        train, valid, test = self.limits.parts(self.windows)
        return train, valid.take(np.isin(valid.end, self._judged)), test

    @cached_property
    def _moving(self) -> set[str]:
        """By windows of the longest size, so that every window size trains on the same stocks."""
        if self._same:
            return self._same._moving
        spec = self.config.window.model_copy(update={"size": self.sizes.longest})
        train = self.limits.parts(make_windows(self.series, spec))[0]
        moving = np.unique(train.symbol[~frozen(train)])
        return {self.series.symbols[place] for place in moving}

    @property
    def _judged(self) -> np.ndarray:
        """Rows of the cutoffs that are judged."""

        def windows(size: int) -> Windows:
            return make_windows(self.series, self.config.window.model_copy(update={"size": size}))

        short = windows(self.sizes.shortest)
        return np.intersect1d(windows(self.sizes.longest).end, short.end[~frozen(short)])


def bench_of(run_dir: Path, panel_path: Path, sizes: Sizes) -> FoldDataset:
    """The bench of a fold's run folder; data, windows and scaling are made once per process.

    Raises
    ------
    ArchiveError
        If the prices are not those the search was planned with.
    """
    spec = RunSpec.load(run_dir)
    panel, fingerprint = _panel(panel_path)
    if fingerprint != spec.data_sha256:
        raise ArchiveError(f"{panel_path}: not the data this search was planned with.")
    key = (panel_path, sizes, spec.config.window, spec.config.split)
    if key not in _BENCHES:
        like = next((bench for (path, *_), bench in _BENCHES.items() if path == panel_path), None)
        _BENCHES[key] = FoldDataset(run_dir, spec, panel, sizes, like)
    return FoldDataset(run_dir, spec, panel, sizes, _BENCHES[key])


_BENCHES: dict[tuple[Path, Sizes, WindowSpec, SplitSpec], FoldDataset] = {}


@functools.lru_cache(maxsize=1)
def _panel(path: Path) -> tuple[Panel, str]:
    panel = Panel.load(path)
    return panel, panel.fingerprint()
