"""Blocked time-series folds, on prices that end before the test part."""

import datetime as dt
import functools
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import ArchiveError, ConfigError
from common.presets import SplitSpec, WindowSpec
from common.prices.panel import Panel
from common.prices.windows import Boundaries
from train.run.dataset import RunDataset, RunSpec

COMPUTED = ("series", "windows", "parts", "representation", "_moving")
"""Data of a `FoldDataset` that depend only on prices, windows and split."""


def make_folds(
    dates: np.ndarray, limits: Boundaries, count: int, *, shortest_training: int
) -> list[SplitSpec]:
    """Cut the history into folds; each older fold ends where the newer one's validation block begins.

    A fold trains on targets up to its ``train_end`` and validates on later ones up to its ``valid_end``.

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
    return [SplitSpec(train_end=ends[number + 1], valid_end=ends[number]) for number in range(count)]


class FoldDataset(RunDataset):
    """A dataset that ends with its validation block."""

    @cached_property
    def limits(self) -> Boundaries:
        split = self.config.split
        train_end, valid_end = (np.datetime64(end) for end in (split.train_end, split.valid_end))
        return Boundaries(train_end, valid_end, valid_end)


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
    dataset = FoldDataset(run_dir, spec, panel)
    first = _DATASETS.setdefault((panel_path, spec.config.window, spec.config.split), dataset)
    vars(dataset).update({name: getattr(first, name) for name in COMPUTED})
    return dataset


_DATASETS: dict[tuple[Path, WindowSpec, SplitSpec], FoldDataset] = {}


@functools.lru_cache(maxsize=1)
def _panel(path: Path) -> tuple[Panel, str]:
    panel = Panel.load(path)
    return panel, panel.fingerprint()
