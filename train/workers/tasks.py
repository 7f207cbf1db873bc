"""Carrying out one task of a run: a fit, or the bundle that a job ends in."""

import functools
import time
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import storage
from common.errors import TrainingError
from common.forecast.forecaster import ModelForecaster
from common.forecast.prices import Prices
from common.prices.windows import Windows
from common.release.bundle import GENERAL, load_bundle
from train.fit.fit import fit
from train.fit.loop import EpochLoop, loop_of
from train.fit.state import FitState, save_result
from train.publish.export import write_bundle
from train.run.dataset import RunDataset
from train.run.plan import EpochProgress, Task, finished
from train.run.refit import (
    BORDERS,
    disagreement,
    evaluated_bundles,
    evaluated_metadata,
    recent_windows,
    refuse_disagreement,
)
from train.run.scores import Score, beats_naive, by_symbol, choose, score

Members = list[list[np.ndarray]]


@dataclass(frozen=True)
class _Candidate:
    """Networks whose average could be a job's model; fine-tuned ones have the shape of phase ``seed``."""

    phase: str
    members: Members


def run_task(
    bench: RunDataset,
    task: Task,
    on_epoch: Callable[[EpochProgress], None] = lambda progress: None,
    *,
    may_write: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Do a task, or return the result of having done it before; safe to repeat at any point.

    ``may_write`` is called before what it came to is written; if it raises, nothing is.
    """
    folder = bench.task_dir(task.id)
    done = finished(bench.run_dir, task.id)
    if done is not None:
        return done
    started = time.monotonic()
    if task.phase != "bundle":
        state = _fit(bench, task, folder, on_epoch)
        may_write()
        storage.push(bench.log_dir(task.id))
        return save_result(folder, state, time.monotonic() - started)
    result = _refitted_bundle(bench, task, may_write) if bench.spec.refit else _bundle(bench, task, may_write)
    result["seconds"] = round(time.monotonic() - started, 2)
    storage.write_json(folder / "result.json", storage.finite(result))
    return result


def _fit(bench: RunDataset, task: Task, folder: Path, on_epoch: Callable[[EpochProgress], None]) -> FitState:
    config = bench.fit_config(task.phase)
    return fit(
        loop_for(bench, task.phase),
        bench.fit_data(task.job),
        config,
        seed=bench.config.seed + task.number,
        state_path=folder / "state.npz",
        weights=weights_of(bench, f"{GENERAL}/seed-{task.number}") if task.phase == "finetune" else None,
        epochs=task.epochs if bench.spec.refit else None,
        on_epoch=on_epoch,
        log_dir=bench.log_dir(task.id),
    )


def _bundle(bench: RunDataset, task: Task, may_write: Callable[[], None]) -> dict[str, Any]:
    """Choose among the candidates on validation and write the winner's files."""
    candidates = _candidates(bench, task.job)
    _, valid, test = bench.parts_of(task.job, training=False)
    prices = {
        name: forecast(bench, task.job, candidate.members, valid, phase=candidate.phase)
        for name, candidate in candidates.items()
    }
    scores = {
        name: {
            "valid": score(valid, prices[name]),
            "test": score(test, forecast(bench, task.job, candidate.members, test, phase=candidate.phase)),
        }
        for name, candidate in candidates.items()
    }
    choice = choose({name: parts["valid"].total for name, parts in scores.items()})
    judged = by_symbol(valid, prices[choice])
    metadata = {
        "job": task.job,
        "choice": choice,
        "candidates": {
            name: {part: _as_dict(value) for part, value in parts.items()} for name, parts in scores.items()
        },
        "lead": _lead(scores, choice),
        "test_mape": scores[choice]["test"].by_horizon[0].mape,
        "test_naive_mape": scores[choice]["test"].by_horizon[0].naive_mape,
        "validation": {symbol: _as_dict(own)["by_horizon"] for symbol, own in judged.items()},
        "beats_naive": dict.fromkeys(bench.spec.universe.symbols, False)
        | {symbol: beats_naive(own) for symbol, own in judged.items()},
        "training": {need: (finished(bench.run_dir, need) or {}).get("history", []) for need in task.needs},
    }
    chosen = candidates[choice]
    network = bench.network_config(chosen.phase)
    may_write()
    write_bundle(bench, task.job, network, chosen.members, storage.finite(metadata), check=valid)
    return {"choice": choice, "lead": metadata["lead"], "valid": _as_dict(scores[choice]["valid"])}


def _refitted_bundle(bench: RunDataset, task: Task, may_write: Callable[[], None]) -> dict[str, Any]:
    """Write the files of the candidate that the evaluated run chose, if refitting changed it little."""
    metadata = evaluated_metadata(bench, task.job)
    choice = metadata["choice"]
    candidate = _candidates(bench, task.job, (choice,))[choice]
    recent = recent_windows(bench, task.job, metadata["valid_end"])
    prices = forecast(bench, task.job, candidate.members, recent, phase=candidate.phase)
    evaluated = load_bundle(evaluated_bundles(bench), bench.config.preset, task.job).forecaster
    gap = disagreement(recent, prices, evaluated.forecast(recent))
    refuse_disagreement(task.job, gap)
    may_write()
    network = bench.network_config(candidate.phase)
    stated = {"evaluated": {name: metadata[name] for name in BORDERS}, "disagreement": gap}
    write_bundle(bench, task.job, network, candidate.members, metadata | {"refit": stated}, check=recent)
    return {"choice": choice, "lead": metadata["lead"], "disagreement": gap}


def _candidates(bench: RunDataset, job: str, wanted: Collection[str] | None = None) -> dict[str, _Candidate]:
    """A job's candidates by name: all that its settings allow, or those wanted."""

    def weights(of: str, phase: str, count: int) -> Members:
        return [weights_of(bench, f"{of}/{phase}-{number}") for number in range(count)]

    seeds = bench.config.seeds
    general = functools.partial(weights, GENERAL, "seed", seeds)
    finetuned = functools.partial(weights, job, "finetune", seeds)
    scratch = functools.partial(weights, job, "scratch", 1)
    members: dict[str, tuple[str, Callable[[], Members]]] = {"general": ("seed", general)}
    if job != GENERAL and bench.config.finetune is None:
        members = {"scratch": ("scratch", scratch)}
    elif job != GENERAL:
        members["fine-tuned"] = "seed", finetuned
        members["average"] = "seed", lambda: general() + finetuned()
        members["scratch"] = "scratch", scratch
    return {
        name: _Candidate(phase, networks())
        for name, (phase, networks) in members.items()
        if wanted is None or name in wanted
    }


def forecast(bench: RunDataset, job: str, members: Members, windows: Windows, *, phase: str) -> Prices:
    """What networks of that phase, averaged, say of these windows."""
    loop = _loop_with_network_of(bench, phase)

    def network(x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        outputs = []
        for weights in members:
            loop.network.set_weights(weights)
            outputs.append(loop.predict(x, stock_id))
        mean: np.ndarray = np.mean(outputs, axis=0)
        return mean

    return ModelForecaster(network, bench.representation, bench.stock_ids(job)).forecast(windows)


def _loop_with_network_of(bench: RunDataset, phase: str) -> EpochLoop:
    """A compiled loop whose network has that phase's widths; how it would train does not matter here.

    A loop of phase ``scratch`` will do for any network as wide: a stock's bundle comes after its fit from
    scratch, so that this process has one compiled.
    """
    alike = bench.network_config(phase) == bench.network_config("scratch")
    return loop_for(bench, "scratch" if alike else phase)


def _lead(scores: dict[str, dict[str, Score]], choice: str) -> float | None:
    """How far the winner is ahead of the next candidate on validation; None if it stands alone."""
    others = [parts["valid"].total for name, parts in scores.items() if name != choice]
    return min(others) - scores[choice]["valid"].total if others else None


def _as_dict(value: Score) -> dict[str, Any]:
    return {"total": value.total, "by_horizon": [errors.as_dict() for errors in value.by_horizon]}


def loop_for(bench: RunDataset, phase: str) -> EpochLoop:
    """This process's compiled loop for a fit of that phase."""
    config, network = bench.fit_config(phase), bench.network_config(phase)
    return loop_of(bench.network_shape, network, config, bench.representation)


def weights_of(bench: RunDataset, task_id: str) -> list[np.ndarray]:
    """The weights a finished fit ended with."""
    folder = bench.task_dir(task_id)
    try:
        with np.load(storage.current(folder / "weights.npz"), allow_pickle=False) as stored:
            return [stored[name] for name in sorted(stored.files)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        storage.remove(folder / "result.json")
        raise TrainingError(
            f"{folder / 'weights.npz'}: unreadable ({error}). The same command trains it again."
        ) from error
