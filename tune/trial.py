"""A trial: its place on storage, its score after each epoch, and the function that Ray Tune runs for it.

The run folder of each fold keeps what its fits stored after their last epoch, so a trial whose process was
killed goes on from there. Everything else about a trial is in the Optuna study, see `tune.study`.
"""

import math
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import ray.tune

from common import storage
from common.errors import NsecastError
from train.run.dataset import RunSpec
from train.run.plan import EpochProgress, history
from tune.folds import FoldDataset, bench_of
from tune.space import Parameters
from tune.spec import SearchSpec

Origin = Literal["sweep", "search"]
Histories = list[list[list[dict[str, Any]]]]
"""Epochs by fold and job."""
JUDGED = "judged_epochs"
"""In reports of proposals: the epochs behind them. Early stopping passes over trials without it."""


@dataclass(frozen=True)
class Trial:
    """One point of the space, and what the study says of it."""

    number: int
    """Optuna's, from 0."""
    parameters: Parameters
    """All of them, the fixed ones too."""
    seed: int
    root: Path
    """The search's folder."""
    origin: Origin = "search"
    """``sweep``: for comparison, never stopped early; ``search``: a proposal."""
    state: str = "interrupted"
    """``done``, ``stopped`` (early), ``failed`` or ``interrupted``."""
    score: float | None = None
    """After its last epoch; None before the first, or where it is not finite."""
    reason: str | None = None
    """Why it was stopped or failed."""
    weights: int | None = None
    """Size of its network."""
    seconds: float = 0.0
    """Of work so far, over all processes."""

    @property
    def folder(self) -> Path:
        return self.root / "trials" / f"{self.number:03}"

    def fold_dir(self, fold: int) -> Path:
        """Run folder of a fold, 1 being the newest."""
        return self.folder / f"fold-{fold}"

    def histories(self, spec: SearchSpec) -> Histories:
        with storage.looked(self.folder):
            return [
                [history(self.fold_dir(fold), task.id) for task in spec.tasks]
                for fold in range(1, len(spec.folds) + 1)
            ]


def is_default(spec: SearchSpec, trial: Trial) -> bool:
    """Whether it is the default configuration with the seed of all proposals."""
    return trial.parameters == spec.default and trial.seed == spec.config.seed


@dataclass(frozen=True)
class Standing:
    """Where a trial is after an epoch."""

    work: int
    """Epochs of the whole trial behind it; a fit that ended early counts in full."""
    score: float
    """Mean over the folds begun of each one's best so far."""
    fold: int
    epoch: int
    """Of the fold's present fit."""
    loss: float
    val_loss: float


def best_total(epochs: list[dict[str, Any]]) -> float:
    """`Score.total` at the epoch that training would keep, the first with the lowest validation loss."""
    best = min(epochs, key=lambda epoch: _number(epoch["val_loss"]))
    return _number(best["total"])


def fold_score(jobs: list[list[dict[str, Any]]]) -> float | None:
    """Mean over the jobs begun; None if none is."""
    begun = [best_total(epochs) for epochs in jobs if epochs]
    return sum(begun) / len(begun) if begun else None


def standings(histories: Histories, epochs: int) -> Iterator[Standing]:
    """Every epoch of a trial in the order of the work, with what was known after it.

    ``epochs`` is the number a fit has; jobs and folds are worked through in order.
    """
    before: list[float] = []
    place = 0
    for fold, jobs in enumerate(histories, start=1):
        for position, job in enumerate(jobs):
            for count, epoch in enumerate(job, start=1):
                now = fold_score([*jobs[:position], job[:count]])
                assert now is not None
                yield Standing(
                    work=place + count,
                    score=(sum(before) + now) / (len(before) + 1),
                    fold=fold,
                    epoch=count,
                    loss=_number(epoch["loss"]),
                    val_loss=_number(epoch["val_loss"]),
                )
            place += epochs
        score = fold_score(jobs)
        before += [] if score is None else [score]


def run_trial(config: dict[str, Any]) -> None:
    """The trainable; ``config`` is what `tune.search.StudySearch` proposes.

    Epochs that are stored are reported again and not done again, so that the scheduler sees a trial that is
    continued like one that was never interrupted. An error in our own code ends the trial as failed, with
    its reason; only a process that dies is a failure to Ray Tune, which then tries again.
    """
    from train.fit.loop import one_thread

    one_thread()
    root, started = storage.locate(config["search"]), time.monotonic()
    spec = SearchSpec.load(root)
    point = {name: config[name] for name in spec.default}
    trial = Trial(config["number"], point, config["seed"], root, config["origin"])
    reported: dict[str, Any] = {"work": 0}

    def report(standing: Standing | None, **more: Any) -> None:
        if standing is not None:
            reported.update(asdict(standing))
            if trial.origin == "search":
                reported[JUDGED] = standing.work
        ray.tune.report({**reported, "elapsed": time.monotonic() - started, **more})

    try:
        for standing in standings(trial.histories(spec), spec.epochs):
            report(standing, again=True)
        carry_out(spec, trial, lambda standing, weights: report(standing, weights=weights))
    except Exception as error:
        report(None, reason=reason_of(trial, error))
        return
    report(None, complete=True)


def carry_out(spec: SearchSpec, trial: Trial, report: Callable[[Standing, int], None]) -> None:
    """Do what is left of a trial in this process.

    ``report`` gets every epoch after it is stored, and the number of the network's weights.
    """
    from train.workers.tasks import loop_for, run_task

    for number in range(1, len(spec.folds) + 1):
        bench = fold_bench(spec, trial, number)
        for task in spec.tasks:

            def on_epoch(
                progress: EpochProgress, bench: FoldDataset = bench, phase: str = task.phase
            ) -> None:
                *_, now = standings(trial.histories(spec), spec.epochs)
                report(now, loop_for(bench, phase).network.count_params())

            run_task(bench, task, on_epoch)


def fold_bench(spec: SearchSpec, trial: Trial, number: int) -> FoldDataset:
    """Open a fold's run folder, 1 being the newest fold."""
    settings = spec.settings(trial.parameters, trial.seed, spec.folds[number - 1])
    run_dir = trial.fold_dir(number)
    RunSpec(settings, spec.universe, spec.source, spec.seen_sha256).save(run_dir)
    return bench_of(run_dir, storage.current(trial.root / "panel.parquet"), spec.sizes)


def reason_of(trial: Trial, error: BaseException) -> str:
    """One line for people; the traceback goes to a file beside the trial."""
    storage.write_bytes(trial.folder / "error.log", "".join(traceback.format_exception(error)).encode())
    return error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"


def _number(value: float | None) -> float:
    return math.inf if value is None else value
