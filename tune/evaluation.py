"""Compare the winner with the default on the test part: refit both at full work and score them there once."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray

from common import storage
from common.errors import TrainingError
from common.network.channels import frozen
from common.presets import merged, train_config
from common.prices.panel import Panel
from common.prices.windows import Windows
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset, RunSpec
from train.run.plan import Task
from tune.space import apply
from tune.spec import SearchSpec
from tune.trial import Trial
from tune.verdict import verdict

SEEDS = 3
QUICK_SEEDS = 2


def evaluate(spec: SearchSpec, panel: Panel, root: Path, winner: Trial) -> dict[str, Any]:
    """Refit and compare both configurations, or return the comparison stored in ``contest.json``.

    Ray must be running. Finished refits are not repeated. If the default is the best, the test part is not
    used and nothing is written, because later trials may still beat the default.

    Raises
    ------
    TrainingError
        If a refit failed.
    """
    if (earlier := stored(root)) is not None:
        return earlier
    if winner.parameters == spec.default:
        return {
            "seeds": [],
            "default": [],
            "winner": [],
            "gain": 0.0,
            "noise": 0.0,
            "better": False,
            "sentence": "The default is itself the best on validation; there was nothing to compare it with.",
            "trial": winner.number,
        }
    result: dict[str, Any] = storage.finite(_compare(spec, panel, root, winner) | {"trial": winner.number})
    storage.write_json(root / "contest.json", result)
    return result


def stored(root: Path) -> dict[str, Any] | None:
    """Return the stored comparison, None if there is none."""
    try:
        result: dict[str, Any] = json.loads(storage.up_to_date(root / "contest.json").read_bytes())
        return result
    except FileNotFoundError:
        return None


def _compare(spec: SearchSpec, panel: Panel, root: Path, winner: Trial) -> dict[str, Any]:
    seeds = QUICK_SEEDS if spec.config.quick else SEEDS
    chosen = apply(winner.parameters, spec.config, spec.scope)
    folders = {
        "default": root / "contest" / "default",
        # A folder per trial: a later winner must not use the networks of an earlier one.
        "winner": root / "contest" / f"trial-{winner.number:03}",
    }
    panel.save(root / "contest" / "panel.parquet")
    for config, folder in zip((spec.config, chosen), folders.values(), strict=True):
        config = train_config(config.preset, merged(config.model_dump(), {"seeds": seeds}))
        RunSpec(config, spec.universe, spec.source, spec.data_sha256).save(folder)
    fit = ray.remote(num_cpus=1, max_retries=3)(_refit)
    fits = {
        (side, seed): [
            fit.remote(storage.address_of(folder), task) for task in spec.fits(seed=seed, epochs=0)
        ]
        for seed in range(seeds)
        for side, folder in folders.items()
    }
    try:
        forecasts = {key: pd.concat(ray.get(tasks)).sort_index() for key, tasks in fits.items()}
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", error)
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
        raise TrainingError(f"contest: a refit failed: {reason} Run the same command again.") from error
    dataset = test_dataset(folders["default"])
    symbols = dataset.series.symbols
    stocks = symbols if spec.scope == GENERAL else spec.jobs
    test = moving_test(dataset, GENERAL)
    test = test.take(np.isin(test.symbol, [symbols.index(stock) for stock in stocks]))
    assert all(np.array_equal(refit.index, test.end) for refit in forecasts.values())
    refits = {side: [forecasts[side, seed].to_numpy() for seed in range(seeds)] for side in folders}
    return verdict(test, refits, spec.config.seed)


@functools.lru_cache(maxsize=2)
def test_dataset(folder: Path) -> RunDataset:
    """Return the dataset of a refit's folder, computed once per process."""
    panel = Panel.load(storage.up_to_date(folder.parent / "panel.parquet"))
    return RunDataset(folder, RunSpec.load(folder), panel)


def moving_test(dataset: RunDataset, job: str) -> Windows:
    """Return the windows of a job's test part in which the price moves."""
    test = dataset.parts_of(job, training=False)[2]
    return test.take(~frozen(test))


def _refit(address: str, task: Task) -> pd.DataFrame:
    """Fit one network unless it is fitted, and forecast the test part; runs as a Ray task.

    Returns the forecasts in KES by row of the cutoff: raw prices of all horizons, then published ones.
    """
    from train.fit.loop import one_thread
    from train.workers.tasks import forecast, run_task, weights_of

    one_thread()
    dataset = test_dataset(storage.locate(address))
    run_task(dataset, task)
    test = moving_test(dataset, task.job)
    prices = forecast(dataset, task.job, [weights_of(dataset.run_dir, task.id)], test, phase=task.phase)
    return pd.DataFrame(np.hstack([prices.raw, prices.published]), index=test.end)
