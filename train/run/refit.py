"""Plan a refit: the recipe of an evaluated run, fitted to all prices up to the newest day.

A refit is a run of its own in the folder ``refit`` of the evaluated run. It has no validation part, so
it reuses what validation decided in the evaluated run: the number of epochs of each fit, the candidate of
each stock, the factors of the forecast changes, and the calibration of the probabilities. The general model's
networks start from the evaluated weights and train for two fifths of their epochs, which is as good as a new
start (docs/results.md, "Refit").
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common import storage
from common.errors import TrainingError
from common.forecast.prices import Prices
from common.network.channels import sigma
from common.presets import FitConfig
from common.prices.windows import Windows, evenly
from common.release.bundle import GENERAL, Bundle, BundleFiles, load_bundle
from train.run.dataset import RunDataset, bundles_dir
from train.run.plan import Plan, Task, stored_result

FOLDER = "refit"
BORDERS = ("train_end", "valid_end", "test_end")
COMPARED_WINDOWS = 2_000
MOST_DISAGREEMENT = 0.5
"""Largest root mean square difference of the raw forecasts of a refitted and an evaluated model, at any
horizon, in standard deviations of the change over that horizon."""
WARM_SHARE = 0.4
"""Share of its best number of epochs that a general network trains for, from the evaluated weights."""
WARM_RATE = 0.5
"""Share of the learning rate with which it starts; the cosine schedule covers these epochs alone."""
FITS_OF = {
    "general": {"seed"},
    "fine-tuned": {"seed", "finetune"},
    "average": {"seed", "finetune"},
    "scratch": {"scratch"},
}
"""Phases whose fits a chosen candidate needs."""


@dataclass(frozen=True)
class RefitResult:
    """What became of a refit: its bundles and the last date they have seen, or why there are none."""

    bundles: Path | None = None
    train_end: str | None = None
    reason: str | None = None


def refit_plan(run_dir: Path, plan: Plan) -> Plan:
    """Plan the fits that the evaluated run's choices need, each with its number of epochs.

    It is the best number on validation; for the general model's networks two fifths of that, at least one.

    Parameters
    ----------
    run_dir : folder of the evaluated run
    plan : its plan; jobs without a bundle are left out
    """
    choices = {
        task.job: result["choice"]
        for task in plan.tasks
        if task.phase == "bundle" and (result := stored_result(run_dir, task.id)) is not None
    }
    kept = {
        task.id
        for task in plan.tasks
        if task.job in choices
        and (task.phase == "bundle" or task.job == GENERAL or task.phase in FITS_OF[choices[task.job]])
    }
    tasks = []
    for task in plan.tasks:
        if task.id not in kept:
            continue
        epochs = int((stored_result(run_dir, task.id) or {}).get("best_epoch", 0)) if task.epochs else 0
        if is_warm(task):
            epochs = max(1, round(WARM_SHARE * epochs))
        cost = task.cost * epochs / task.epochs if task.epochs else task.cost
        needs = tuple(need for need in task.needs if need in kept)
        tasks.append(replace(task, needs=needs, cost=cost, epochs=epochs))
    return Plan(tuple(tasks), {})


def is_warm(task: Task) -> bool:
    """Whether a refit of this task starts from the evaluated weights: that of a general network."""
    return task.job == GENERAL and task.phase != "bundle"


def warm_config(config: FitConfig, epochs: int) -> FitConfig:
    """Return the settings of a fit of so many epochs from the evaluated weights."""
    return config.model_copy(update={"learning_rate": WARM_RATE * config.learning_rate, "epochs": epochs})


def evaluated_bundle(dataset: RunDataset, job: str) -> Bundle:
    """Load the evaluated bundle that a refit's bundle replaces; another machine may have written it."""
    root, preset = bundles_dir(dataset.run_dir.parent), dataset.config.preset
    storage.fetch_matching(root / BundleFiles.of(preset, job).folder, "*")
    return load_bundle(root, preset, job)


def recent_windows(dataset: RunDataset, job: str, since: str) -> Windows:
    """A job's windows of the evaluated run's test part, or all if there are none, evenly thinned."""
    windows = dataset.parts_of(job, training=False)[0]
    recent = windows.take(windows.cutoff >= np.datetime64(since))
    return evenly(recent if len(recent) else windows, COMPARED_WINDOWS)


def disagreement(windows: Windows, refitted: Prices, evaluated: Prices) -> float:
    """Largest difference of the two models' raw forecasts, see `MOST_DISAGREEMENT`; inf if not finite."""
    scale = sigma(windows)[:, None] * np.sqrt(windows.spec.horizons)
    gaps = np.log(refitted.raw / evaluated.raw) / scale
    worst = float(np.sqrt((gaps**2).mean(axis=0)).max())
    return worst if np.isfinite(worst) else float("inf")


def refuse_disagreement(job: str, gap: float) -> None:
    """Raise TrainingError if a refitted model differs too much for the evaluated one's figures to hold."""
    if not gap <= MOST_DISAGREEMENT:
        raise TrainingError(
            f"{job}: the refitted model's forecasts differ from the evaluated model's by {gap:.2f} standard "
            f"deviations, allowed {MOST_DISAGREEMENT}. The evaluated models are served.",
            job=job,
            gap=gap,
        )
