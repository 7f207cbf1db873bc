"""Trainings in the course of a backtest, each on all prices that were known by then."""

import json
from pathlib import Path

import numpy as np

from common.errors import BacktestError
from common.presets import TrainConfig
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from train.progress.console import Mode


def stretches_of(
    panel: Panel, start: np.datetime64, end: np.datetime64, every: int, far: int
) -> list[tuple[np.datetime64, np.datetime64, np.datetime64]]:
    """Return the (first cutoff, last cutoff, last session of its targets) of each training.

    Parameters
    ----------
    every : sessions between two trainings
    far : the farthest horizon, trading days

    Raises
    ------
    BacktestError
        If no session of the period is followed by another.
    """
    sessions = panel.dates.to_numpy().astype("datetime64[D]")
    inside = np.flatnonzero((sessions >= start) & (sessions <= end))
    stretches = []
    for position in range(0, len(inside), every):
        stretch = inside[position : position + every]
        last_target = min(stretch[-1] + far, len(sessions) - 1)
        if stretch[0] < len(sessions) - 1:
            stretches.append((sessions[stretch[0]], sessions[stretch[-1]], sessions[last_target]))
        elif stretches:  # a training needs a later session to be scored on
            stretches[-1] = (stretches[-1][0], sessions[-1], sessions[-1])
    if not stretches:
        raise BacktestError(
            f"no session from {start} to {end} is followed by another. Choose another period."
        )
    return stretches


def refitted(
    models: ReleasedModels,
    panel: Panel,
    first: np.datetime64,
    data_end: np.datetime64,
    folder: Path,
    *,
    workers: int | None,
    mode: Mode | None,
    address: str | None,
) -> ReleasedModels:
    """Choose models with a release's settings, then fit them to all prices known on ``first``.

    Parameters
    ----------
    data_end : last session of the targets that the new models forecast
    folder : of the runs and their releases
    """
    from train.pipeline.training import execute, plan_run

    info = models.release.info
    sessions = panel.dates.to_numpy().astype("datetime64[D]")
    borders = np.array([info["train_end"], info["valid_end"], first], dtype="datetime64[D]")
    train_end, valid_end, position = map(int, np.searchsorted(sessions, borders))
    span = valid_end - train_end
    if position <= span:
        raise BacktestError(
            f"--from {first}: validation needs {span} sessions and the prices start on {sessions[0]}. "
            "Choose a later start."
        )
    stored = json.loads(models.release.file("config.json").read_bytes())
    stored["split"] |= {"train_end": str(sessions[position - span]), "valid_end": str(first)}
    config = TrainConfig.parse(stored, where="the release's config.json")
    run = plan_run(config, models.universe, panel.as_of(str(data_end)), folder)
    result, _ = execute(run, workers=workers, mode=mode, address=address, hand_over=False, refit_to=first)
    return ReleasedModels(Registry(run.home).open(result.release.id))
