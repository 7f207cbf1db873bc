"""Run one task: a fit, or the bundle at the end of a job."""

import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common import storage
from common.errors import TrainingError
from common.forecast.forecaster import ModelForecaster
from common.forecast.prices import Prices
from common.forecast.representation import Residual
from common.prices.windows import Windows
from common.release.bundle import GENERAL, BundleFiles
from common.release.manifest import read_json
from train.fit.fit import fit
from train.fit.loop import EpochLoop, loop_of
from train.fit.state import FitState, save_result
from train.publish.export import write_bundle
from train.run.dataset import RunDataset, bundles_dir
from train.run.factors import fit_factors
from train.run.plan import EpochProgress, Task, stored_result
from train.run.probabilities import fit_calibration
from train.run.refit import (
    BORDERS,
    disagreement,
    evaluated_bundle,
    is_warm,
    recent_windows,
    refuse_disagreement,
    warm_config,
)
from train.run.scores import Score, beats_naive, by_symbol, choose, score

Members = list[list[np.ndarray]]
Candidate = tuple[str, Members]
"""Networks whose average could become a job's model, and the phase that decides their widths."""


def run_task(
    dataset: RunDataset,
    task: Task,
    on_epoch: Callable[[EpochProgress], None] = lambda progress: None,
    *,
    may_write: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run a task and return its result, or the stored one; safe to repeat at any point.

    ``may_write`` is called before the result is written; if it raises, nothing is written.
    """
    done = stored_result(dataset.run_dir, task.id)
    if done is not None:
        return done
    folder = dataset.task_dir(task.id)
    started = time.monotonic()
    if task.phase != "bundle":
        state = _fit(dataset, task, on_epoch)
        may_write()
        storage.upload(dataset.log_dir(task.id))
        return save_result(folder, state, time.monotonic() - started)
    bundle = _refitted_bundle if dataset.spec.refit else _bundle
    result = bundle(dataset, task, may_write)
    result["seconds"] = round(time.monotonic() - started, 2)
    storage.write_json(folder / "result.json", storage.finite(result))
    return result


def _fit(dataset: RunDataset, task: Task, on_epoch: Callable[[EpochProgress], None]) -> FitState:
    config, weights = dataset.fit_config(task.phase), None
    if task.phase == "finetune":
        weights = weights_of(dataset.run_dir, f"{GENERAL}/seed-{task.number}")
    elif dataset.spec.refit and is_warm(task):
        weights = weights_of(dataset.run_dir.parent, task.id)
        config = warm_config(config, task.epochs)
    return fit(
        loop_for(dataset, task.phase),
        dataset.fit_data(task.job),
        config,
        seed=dataset.config.seed + task.number,
        state_path=dataset.task_dir(task.id) / "state.npz",
        weights=weights,
        epochs=task.epochs if dataset.spec.refit else None,
        on_epoch=on_epoch,
        log_dir=dataset.log_dir(task.id),
    )


def _bundle(dataset: RunDataset, task: Task, may_write: Callable[[], None]) -> dict[str, Any]:
    """Choose a candidate by its validation score and write its files."""
    candidates = {name: _candidate(dataset, task.job, name) for name in _candidate_names(dataset, task.job)}
    _, valid, test = dataset.parts_of(task.job, training=False)
    prices: dict[str, Prices] = {}
    scores: dict[str, dict[str, Score]] = {}
    for name, (phase, members) in candidates.items():
        prices[name] = forecast(dataset, task.job, members, valid, phase=phase)
        on_test = forecast(dataset, task.job, members, test, phase=phase)
        scores[name] = {"valid": score(valid, prices[name]), "test": score(test, on_test)}
    choice = choose({name: parts["valid"].total for name, parts in scores.items()})
    (phase, members), first_horizon = candidates[choice], scores[choice]["test"].by_horizon[0]
    factors = _factors(dataset, task.job, candidates[choice], valid)
    by_stock = by_symbol(valid, prices[choice])
    metadata = {
        "job": task.job,
        "choice": choice,
        "candidates": {
            name: {part: _as_dict(value) for part, value in parts.items()} for name, parts in scores.items()
        },
        "lead": _lead(scores, choice),
        "test_mape": first_horizon.mape,
        "test_naive_mape": first_horizon.naive_mape,
        "validation": {symbol: _as_dict(own)["by_horizon"] for symbol, own in by_stock.items()},
        "beats_naive": dict.fromkeys(dataset.spec.universe.symbols, False)
        | {symbol: beats_naive(own) for symbol, own in by_stock.items()},
        "training": {
            need: (stored_result(dataset.run_dir, need) or {}).get("history", [])
            for need in task.needs
            if need != f"{GENERAL}/bundle"
        },
    }
    if factors is not None:
        metadata["factors"] = factors
    calibration = fit_calibration(valid, prices[choice]) if task.job == GENERAL else None
    if calibration is not None:
        metadata["probability_calibration"] = calibration.as_dict()
    network = dataset.network_config(phase)
    may_write()
    trained = _forecaster(dataset, task.job, members, phase).network
    write_bundle(dataset, task.job, network, members, storage.finite(metadata), trained=trained, check=valid)
    return {"choice": choice, "lead": metadata["lead"], "valid": _as_dict(scores[choice]["valid"])}


def _refitted_bundle(dataset: RunDataset, task: Task, may_write: Callable[[], None]) -> dict[str, Any]:
    """Write the files of the candidate that the evaluated run chose, if refitting changed it little."""
    bundle = evaluated_bundle(dataset, task.job)
    metadata = dict(bundle.metadata)
    choice = metadata["choice"]
    phase, members = _candidate(dataset, task.job, choice)
    recent = recent_windows(dataset, task.job, metadata["valid_end"])
    prices = forecast(dataset, task.job, members, recent, phase=phase)
    unscaled = replace(bundle.forecaster, factors=None)
    gap = disagreement(recent, prices, unscaled.forecast(recent))
    refuse_disagreement(task.job, gap)
    may_write()
    metadata["refit"] = {"evaluated": {name: metadata[name] for name in BORDERS}, "disagreement": gap}
    trained = _forecaster(dataset, task.job, members, phase).network
    network = dataset.network_config(phase)
    write_bundle(dataset, task.job, network, members, metadata, trained=trained, check=recent)
    return {"choice": choice, "lead": metadata["lead"], "disagreement": gap}


def _factors(dataset: RunDataset, job: str, candidate: Candidate, valid: Windows) -> dict[str, Any] | None:
    """Fit the factors of the general model, or return them for a specific one: one stock has too few days.

    None for a representation without factors, for specific models that are not fine-tuned from the general
    one, and where the general bundle was written before factors existed.
    """
    representation = dataset.representation
    if not isinstance(representation, Residual) or (job != GENERAL and not dataset.config.finetune):
        return None
    if job == GENERAL:
        phase, members = candidate
        outputs = _forecaster(dataset, job, members, phase).outputs(valid)
        return fit_factors(representation, valid, outputs).as_dict()
    folder = bundles_dir(dataset.run_dir) / BundleFiles.of(dataset.config.preset, GENERAL).folder
    factors: dict[str, Any] | None = read_json(storage.up_to_date(folder / "metadata.json")).get("factors")
    return factors


def _candidate_names(dataset: RunDataset, job: str) -> tuple[str, ...]:
    if job == GENERAL:
        return ("general",)
    return ("general", "fine-tuned", "average", "scratch") if dataset.config.finetune else ("scratch",)


def _candidate(dataset: RunDataset, job: str, name: str) -> Candidate:
    """Return the phase and the weights of the networks that a candidate averages.

    The average repeats fine-tuned networks until there are as many as general ones, so both weigh the same.
    """
    seeds = dataset.config.seeds

    def weights(fits_of: str, phase: str, count: int = seeds) -> Members:
        return [weights_of(dataset.run_dir, f"{fits_of}/{phase}-{number}") for number in range(count)]

    if name == "scratch":
        return "scratch", [weights_of(dataset.run_dir, f"{job}/scratch-0")]
    general = weights(GENERAL, "seed") if name in ("general", "average") else []
    finetuned = []
    if name in ("fine-tuned", "average"):
        finetuned = weights(job, "finetune", min(seeds, dataset.config.finetuned_seeds))
    if name == "average":
        finetuned = [finetuned[number % len(finetuned)] for number in range(seeds)]
    return "seed", general + finetuned


def forecast(dataset: RunDataset, job: str, members: Members, windows: Windows, *, phase: str) -> Prices:
    """Forecast prices with the average of networks that have the widths of ``phase``, without factors."""
    return _forecaster(dataset, job, members, phase).forecast(windows)


def _forecaster(dataset: RunDataset, job: str, members: Members, phase: str) -> ModelForecaster:
    # Any network of the same widths will do: "scratch", the fit before a stock's bundle, is compiled already.
    same_widths = dataset.network_config(phase) == dataset.network_config("scratch")
    loop = loop_for(dataset, "scratch" if same_widths else phase)

    def network(x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        outputs: dict[int, np.ndarray] = {}
        for weights in members:
            if id(weights) not in outputs:  # a network that is averaged twice is run once
                loop.network.set_weights(weights)
                outputs[id(weights)] = loop.predict(x, stock_id)
        return np.asarray(np.mean([outputs[id(weights)] for weights in members], axis=0))

    return ModelForecaster(network, dataset.representation, dataset.stock_ids(job))


def _lead(scores: dict[str, dict[str, Score]], choice: str) -> float | None:
    """The winner's lead over the next candidate on validation; None if there is no other."""
    others = [parts["valid"].total for name, parts in scores.items() if name != choice]
    return min(others) - scores[choice]["valid"].total if others else None


def _as_dict(value: Score) -> dict[str, Any]:
    return {"total": value.total, "by_horizon": [errors.as_dict() for errors in value.by_horizon]}


def loop_for(dataset: RunDataset, phase: str) -> EpochLoop:
    """Return this process's compiled loop for fits of a phase."""
    config, network = dataset.fit_config(phase), dataset.network_config(phase)
    return loop_of(dataset.network_shape, network, config, dataset.representation)


def weights_of(run_dir: Path, task_id: str) -> list[np.ndarray]:
    """Return the weights of a finished fit; raises TrainingError if they cannot be read."""
    folder = run_dir / "tasks" / task_id
    try:
        with np.load(storage.up_to_date(folder / "weights.npz"), allow_pickle=False) as stored:
            return [stored[name] for name in sorted(stored.files)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        storage.remove(folder / "result.json")
        raise TrainingError(
            f"{folder / 'weights.npz'}: unreadable ({error}). The same command trains it again."
        ) from error
