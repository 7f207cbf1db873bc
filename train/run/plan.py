"""The plan of a run: its tasks, what each needs, and which stocks get no model of their own."""

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common import storage
from common.errors import TrainingError
from common.exchange.universe import Universe
from common.network.channels import frozen
from common.presets import FitConfig, TrainConfig
from common.prices.windows import Boundaries, Windows
from common.release.bundle import GENERAL
from train.run.scores import MINIMUM_JUDGED

FROZEN_SESSIONS = 250
"""A stock whose price has not changed in this many sessions is frozen."""
BUNDLE_COST = 15_000.0


@dataclass(frozen=True)
class Task:
    """One piece of work for one worker."""

    id: str
    job: str
    phase: str
    number: int
    """Which of the averaged networks this is (seed offset); 0 for a bundle."""
    needs: tuple[str, ...]
    cost: float
    """About the number of windows trained on; it orders the queue and gives the ETA."""
    epochs: int


@dataclass(frozen=True)
class EpochProgress:
    """A finished epoch."""

    epoch: int
    epochs: int
    loss: float
    val_loss: float
    mae: float
    """Validation error of the published price relative to naive, horizon 1."""
    total: float
    """`train.run.scores.Score.total` on validation."""
    best_epoch: int
    eta_s: float


@dataclass(frozen=True)
class Plan:
    tasks: tuple[Task, ...]
    """Every task comes after those it needs."""
    skipped: dict[str, str]
    """Reason by symbol that gets no model of its own; the general model covers it."""

    @property
    def jobs(self) -> tuple[str, ...]:
        """The general model and every specific stock, including skipped ones."""
        return tuple(dict.fromkeys([GENERAL, *(task.job for task in self.tasks), *self.skipped]))

    @cached_property
    def priorities(self) -> dict[str, float]:
        """Cost of the longest chain of tasks that starts at each task; the longest are done first."""
        costs = {task.id: task.cost for task in self.tasks}
        after = dict.fromkeys(costs, 0.0)
        for task in reversed(self.tasks):
            for need in task.needs:
                after[need] = max(after[need], task.cost + after[task.id])
        return {task: cost + after[task] for task, cost in costs.items()}


def make_plan(
    config: TrainConfig,
    universe: Universe,
    blocks: Iterable[Windows],
    limits: Boundaries,
    *,
    only: tuple[str, ...] = (),
) -> Plan:
    """Plan the general model and the specific ones (or those in ``only``).

    Only the training and validation parts decide whether a stock is frozen or has too little history.

    Parameters
    ----------
    blocks : the windows by blocks of symbols, at least one block

    Raises
    ------
    TrainingError
        If there is nothing to train the general model on, or nothing to validate it on.
    """
    counts, judged, unfit = dict[str, int](), dict[str, int](), dict[str, str | None]()
    targets: list[list[np.ndarray]] = []
    for windows in blocks:
        train, valid, _ = limits.parts(windows)
        counts |= _moving_windows(train)
        judged |= _moving_windows(valid)
        targets.append([part.counted.sum(axis=0) for part in (train, valid)])
        here = {stock.symbol for stock in universe.specific}.intersection(windows.series.symbols)
        unfit |= {symbol: _unfit(symbol, counts, judged, config, windows, limits) for symbol in here}
    seen = universe.symbols if config.general_sees == "all" else [stock.symbol for stock in universe.general]
    total, check = (sum(part.get(symbol, 0) for symbol in seen) for part in (counts, judged))
    if not total or not check:
        raise TrainingError(
            f"nothing to train on: got {total} training and {check} validation windows of "
            f"{windows.spec.size} days in which a price moved. Use a longer archive or a smaller window."
        )
    for horizon, (fitted, checked) in zip(windows.spec.horizons, np.sum(targets, axis=0).T, strict=True):
        if not fitted or not checked:
            raise TrainingError(
                f"horizon {horizon}: got {fitted} training and {checked} validation targets, need "
                "both. Leave it out of window.horizons, or use a longer archive."
            )
    tasks = [_fit(GENERAL, "seed", number, (), config.general, total) for number in range(config.seeds)]
    general = tuple(task.id for task in tasks)
    tasks.append(Task(f"{GENERAL}/bundle", GENERAL, "bundle", 0, general, 2 * BUNDLE_COST, 0))
    skipped = {}
    for stock in universe.specific:
        if only and stock.symbol not in only:
            continue
        reason = unfit.get(stock.symbol, "not in the data")
        if reason:
            skipped[stock.symbol] = reason
            continue
        count = counts[stock.symbol]
        fits = [_fit(stock.symbol, "scratch", 0, (), config.scratch, count)]
        if config.finetune:
            fits += [
                _fit(stock.symbol, "finetune", number, (general[number],), config.finetune, count)
                for number in range(min(config.seeds, config.finetuned_seeds))
            ]
        tasks += fits
        needs = tuple(fit.id for fit in fits)
        if config.finetune:  # the general bundle's factors are taken over
            needs += (*general, f"{GENERAL}/bundle")
        tasks.append(Task(f"{stock.symbol}/bundle", stock.symbol, "bundle", 0, needs, BUNDLE_COST, 0))
    return Plan(tuple(tasks), skipped)


def stored_result(run_dir: Path, task_id: str) -> dict[str, Any] | None:
    """Return the stored result of a task; None if it is not finished or cannot be read."""
    try:
        path = storage.up_to_date(run_dir / "tasks" / task_id / "result.json")
        result: dict[str, Any] = json.loads(path.read_bytes())
        return result
    except (FileNotFoundError, ValueError):
        return None


def stored_epochs(run_dir: Path, task_id: str) -> list[dict[str, Any]]:
    """Return the stored epochs of a fit, finished or not; empty if there are none."""
    done = stored_result(run_dir, task_id)
    if done is not None:
        epochs: list[dict[str, Any]] = done["history"]
        return epochs
    try:
        path = storage.up_to_date(run_dir / "tasks" / task_id / "state.npz")
        with np.load(path, allow_pickle=False) as stored:
            epochs = json.loads(str(stored["numbers"]))["history"]
            return epochs
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []


def windows_per_epoch(fit: FitConfig, available: int) -> int:
    """Return how many of the available windows an epoch draws."""
    return min(fit.windows_per_epoch or available, max(1, round(available * fit.epoch_share)))


def _fit(job: str, phase: str, number: int, needs: tuple[str, ...], fit: FitConfig, windows: int) -> Task:
    cost = fit.epochs * windows_per_epoch(fit, windows)
    return Task(f"{job}/{phase}-{number}", job, phase, number, needs, float(cost), fit.epochs)


def _moving_windows(windows: Windows) -> dict[str, int]:
    moving = windows.take(~frozen(windows))
    symbols = windows.series.symbols
    return dict(zip(symbols, np.bincount(moving.symbol, minlength=len(symbols)).tolist(), strict=True))


def _unfit(
    symbol: str,
    counts: dict[str, int],
    judged: dict[str, int],
    config: TrainConfig,
    windows: Windows,
    limits: Boundaries,
) -> str | None:
    """Return why a stock gets no model of its own; None if it gets one."""
    rows = windows.series.rows(symbol)
    past = windows.series.dates[rows] <= limits.valid_end
    returns = windows.series.log_return[rows][past][-FROZEN_SESSIONS:]
    if len(returns) and not (returns != 0).any():
        return f"frozen: no price change in its last {len(returns)} sessions up to {limits.valid_end}"
    if counts[symbol] < config.minimum_windows:
        return f"too little history: {counts[symbol]} moving training windows, need {config.minimum_windows}"
    if judged[symbol] < MINIMUM_JUDGED:
        return f"nothing to choose by: {judged[symbol]} moving validation windows, need {MINIMUM_JUDGED}"
    return None
