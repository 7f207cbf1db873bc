"""The winner against the default on the test part: both refitted at full work and scored there once."""

import functools
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import ray

from common import storage
from common.errors import TrainingError
from common.presets import merged, train_config
from common.prices.panel import Panel
from common.prices.windows import Windows
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset, RunSpec
from train.run.plan import Task
from tune.folds import FoldDataset, Sizes
from tune.space import apply
from tune.spec import SearchSpec
from tune.trial import Trial
from tune.verdict import Forecasts, verdict

SEEDS = 3
QUICK_SEEDS = 2


class TestPartDataset(FoldDataset):
    """A bench with the run's real split, whose test part is the rows that both sides can forecast."""

    limits = RunDataset.limits

    @cached_property
    def parts(self) -> tuple[Windows, Windows, Windows]:
        train, valid, test = self.limits.parts(self.windows)
        return train, valid, test.take(np.isin(test.end, self._judged))


def evaluate(spec: SearchSpec, panel: Panel, root: Path, winner: Trial) -> dict[str, Any]:
    """Refit both and compare them; a comparison in ``contest.json`` is never made again.

    Needs Ray to be running. What is refitted already is not done again. Where the default is the best, the
    test part is not touched and nothing is written: more trials may still find a better one.

    Raises
    ------
    TrainingError
        If a refit failed.
    """
    before = stored(root)
    if before is not None:
        return before
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
    """The comparison, None before it was made."""
    try:
        result: dict[str, Any] = json.loads(storage.current(root / "contest.json").read_bytes())
        return result
    except FileNotFoundError:
        return None


def _compare(spec: SearchSpec, panel: Panel, root: Path, winner: Trial) -> dict[str, Any]:
    seeds = QUICK_SEEDS if spec.config.quick else SEEDS
    chosen = apply(winner.parameters, spec.config, spec.scope)
    sizes = Sizes(*sorted([spec.config.window.size, chosen.window.size]))
    folders = {
        "default": root / "contest" / "default",
        # One for each trial: another that wins later must not find this one's networks.
        "winner": root / "contest" / f"trial-{winner.number:03}",
    }
    panel.save(root / "contest" / "panel.parquet")
    for config, folder in zip((spec.config, chosen), folders.values(), strict=True):
        config = train_config(config.preset, merged(config.model_dump(), {"seeds": seeds}))
        RunSpec(config, spec.universe, spec.source, spec.data_sha256).save(folder)
    fit = ray.remote(num_cpus=1, max_retries=3)(_refit)
    waiting = {
        (side, seed): [fit.remote(storage.address_of(folder), sizes, task) for task in _tasks(spec, seed)]
        for seed in range(seeds)
        for side, folder in folders.items()
    }
    try:
        forecasts = {key: _pooled(ray.get(fits)) for key, fits in waiting.items()}
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", error)
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
        raise TrainingError(f"contest: a refit failed: {reason} The same command tries again.") from error
    bench = bench_for(folders["default"], sizes)
    test = bench.parts[2]
    stocks = bench.series.symbols if spec.scope == GENERAL else spec.jobs
    truth = test.take(np.isin(test.symbol, [bench.series.symbols.index(stock) for stock in stocks]))
    assert all(np.array_equal(each.rows, truth.end) for each in forecasts.values())
    return verdict(truth, forecasts, seeds, spec.config.seed)


@functools.lru_cache(maxsize=2)
def bench_for(folder: Path, sizes: Sizes) -> TestPartDataset:
    panel = Panel.load(storage.current(folder.parent / "panel.parquet"))
    return TestPartDataset(folder, RunSpec.load(folder), panel, sizes)


def _refit(address: str, sizes: Sizes, task: Task) -> Forecasts:
    """Fit one network, or take what was fitted, and let it forecast the test part; in a Ray task."""
    from train.fit.loop import one_thread
    from train.workers.tasks import forecast, run_task, weights_of

    one_thread()
    bench = bench_for(storage.locate(address), sizes)
    run_task(bench, task)
    test = bench.parts_of(task.job, training=False)[2]
    prices = forecast(bench, task.job, [weights_of(bench, task.id)], test, phase=task.phase)
    return Forecasts(test.end, prices.raw, prices.published)


def _tasks(spec: SearchSpec, seed: int) -> list[Task]:
    phase = "seed" if spec.scope == GENERAL else "scratch"
    return [Task(f"{job}/{phase}-{seed}", job, phase, seed, (), 0.0, 0) for job in spec.jobs]


def _pooled(parts: list[Forecasts]) -> Forecasts:
    """Several jobs' forecasts as one, by row."""
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    return Forecasts(
        rows[order],
        np.concatenate([part.raw for part in parts])[order],
        np.concatenate([part.published for part in parts])[order],
    )
