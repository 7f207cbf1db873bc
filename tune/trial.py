"""A trial: its folder, its score after each epoch, and the function that Ray Tune runs for it.

The run folder of each fold holds the state of its fits after their last epoch, so a killed trial continues
from there. Everything else about a trial is in the Optuna study, see `tune.study`.
"""

import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.tune

from common import storage
from common.errors import NsecastError
from train.run.dataset import RunSpec
from train.run.plan import EpochProgress, stored_epochs
from tune.folds import FoldDataset, fold_dataset
from tune.space import Parameters
from tune.spec import SearchSpec

Histories = list[list[list[dict[str, Any]]]]
"""Epochs by fold and job."""
JUDGED = "judged_epochs"
"""Key in the reports of proposals: epochs done. Early stopping ignores trials that lack it."""


@dataclass(frozen=True)
class Trial:
    """One point of the space, with its record in the study."""

    number: int
    """Optuna's number, from 0."""
    parameters: Parameters
    """Including fixed ones."""
    seed: int
    root: Path
    """The search's folder."""
    origin: str = "search"
    """``sweep``: a comparison trial, never stopped early; ``search``: a proposal."""
    state: str = "interrupted"
    """``done``, ``stopped`` (early), ``failed`` or ``interrupted``."""
    score: float | None = None
    """Score after its last epoch; None before the first, or if it is not finite."""
    epochs: int = 0
    """Epochs done over all folds."""
    fold_scores: tuple[float, ...] = ()
    """Score of each fold reached."""
    reason: str | None = None
    """Why it was stopped or has failed."""
    weights: int | None = None
    """Number of weights of its network."""
    seconds: float = 0.0
    """Time of the process that ended it; 0 before."""

    @property
    def folder(self) -> Path:
        return self.root / "trials" / f"{self.number:03}"

    def fold_dir(self, fold: int) -> Path:
        """Return the run folder of a fold; 1 is the newest."""
        return self.folder / f"fold-{fold}"

    def histories(self, spec: SearchSpec) -> Histories:
        with storage.listed_once(self.folder):
            return [
                [stored_epochs(self.fold_dir(fold), task.id) for task in spec.tasks]
                for fold in range(1, len(spec.folds) + 1)
            ]


def is_default(spec: SearchSpec, trial: Trial) -> bool:
    """Return whether this is the default configuration with the seed of the proposals."""
    return trial.parameters == spec.default and trial.seed == spec.config.seed


@dataclass(frozen=True)
class TrialProgress:
    """The progress of a trial after an epoch."""

    work: int
    """Epochs done over all folds; a fit that ended early counts in full."""
    score: float
    """Mean over the started folds of the score at each one's best epoch."""


def best_total(epochs: list[dict[str, Any]]) -> float:
    """Return `Score.total` at the epoch that training keeps: the first with the lowest validation loss."""
    best = min(epochs, key=lambda epoch: _number(epoch["val_loss"]))
    return _number(best["total"])


def fold_score(jobs: list[list[dict[str, Any]]]) -> float | None:
    """Return the mean score of the started jobs; None if none has started."""
    totals = [best_total(epochs) for epochs in jobs if epochs]
    return sum(totals) / len(totals) if totals else None


def progress_by_epoch(histories: Histories, epochs: int) -> Iterator[TrialProgress]:
    """Yield the progress after each stored epoch; ``epochs`` is the length of a fit."""
    earlier: list[float] = []
    work = 0
    for jobs in histories:
        for position, job in enumerate(jobs):
            for count in range(1, len(job) + 1):
                now = fold_score([*jobs[:position], job[:count]])
                assert now is not None
                yield TrialProgress(work + count, (sum(earlier) + now) / (len(earlier) + 1))
            work += epochs
        score = fold_score(jobs)
        earlier += [] if score is None else [score]


def run_trial(config: dict[str, Any]) -> None:
    """Run one trial: Ray Tune's trainable, with the config that `tune.search.StudySearch` proposes.

    Stored epochs are reported again and not computed again, so that the scheduler treats a continued trial
    like one that was never interrupted. An exception ends the trial as failed, with its reason; only the
    death of the process is a failure to Ray Tune, which then retries.
    """
    from train.fit.loop import one_thread

    one_thread()
    root = storage.locate(config["search"])
    spec = SearchSpec.load(root)
    point = {name: config[name] for name in spec.default}
    trial = Trial(config["number"], point, config["seed"], root, config["origin"])
    reported: dict[str, Any] = {"work": 0}

    def report(now: TrialProgress | None, **more: Any) -> None:
        if now is not None:
            reported.update(asdict(now))
            if trial.origin == "search":
                reported[JUDGED] = now.work
        ray.tune.report({**reported, **more})

    try:
        for now in progress_by_epoch(trial.histories(spec), spec.epochs):
            report(now)
        fit_folds(spec, trial, lambda now, weights: report(now, weights=weights))
    except Exception as error:
        report(None, reason=reason_of(trial, error))
        return
    report(None, complete=True)


def fit_folds(spec: SearchSpec, trial: Trial, report: Callable[[TrialProgress, int], None]) -> None:
    """Run the remaining fits of a trial in this process.

    ``report`` is called after each stored epoch with the progress and the network's number of weights.
    """
    from train.workers.tasks import loop_for, run_task

    for number in range(1, len(spec.folds) + 1):
        dataset = open_fold(spec, trial, number)
        for task in spec.tasks:

            def on_epoch(
                progress: EpochProgress, dataset: FoldDataset = dataset, phase: str = task.phase
            ) -> None:
                *_, now = progress_by_epoch(trial.histories(spec), spec.epochs)
                report(now, loop_for(dataset, phase).network.count_params())

            run_task(dataset, task, on_epoch)


def open_fold(spec: SearchSpec, trial: Trial, number: int) -> FoldDataset:
    """Write the settings of a fold's run and return its dataset; 1 is the newest fold."""
    settings = spec.settings(trial.parameters, trial.seed, spec.folds[number - 1])
    run_dir = trial.fold_dir(number)
    RunSpec(settings, spec.universe, spec.source, spec.seen_sha256).save(run_dir)
    return fold_dataset(run_dir, storage.up_to_date(trial.root / "panel.parquet"))


def reason_of(trial: Trial, error: BaseException) -> str:
    """Return an error as one line; the traceback is written to ``error.log`` in the trial's folder."""
    storage.write_bytes(trial.folder / "error.log", "".join(traceback.format_exception(error)).encode())
    return error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"


def _number(value: float | None) -> float:
    return math.inf if value is None else value
