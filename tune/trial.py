"""A trial, in the process that Ray Tune gives it: the fits of every fold, by the job function of training."""

import os
import time
import traceback
from collections.abc import Callable
from typing import Any

import ray.tune

from common import storage
from common.errors import NsecastError
from train.plan import Progress
from train.workbench import RunSpec
from tune.book import Book, Standing, Trial, standings, trial_score
from tune.folds import FoldBench, bench_of
from tune.spec import SearchSpec


def run_trial(config: dict[str, Any]) -> None:
    """The trainable: ``search`` is the search's folder, ``number`` the trial's.

    What its fits have stored is not done again. An error in our own code ends the trial as failed, with its
    reason; only a process that dies is a failure to Ray Tune, which then tries again.
    """
    from train.loop import one_thread

    one_thread()
    root = storage.locate(config["search"])
    spec, trial = SearchSpec.load(root), Book(root).trials[config["number"]]
    if trial.end is not None:
        return
    try:
        carry_out(spec, trial, lambda standing: ray.tune.report(standing.as_report()))
    except Exception as error:
        trial.close("failed", reason_of(trial, error))
    conclude(spec, trial)


def conclude(spec: SearchSpec, trial: Trial) -> None:
    """Close a trial whose fits have all ended, unless it is closed."""
    if not trial.is_fitted(spec):
        return
    score = trial_score(trial.histories(spec))
    if score is None or score == float("inf"):
        trial.close("failed", "no finite score on validation")
    else:
        trial.close("done")


def carry_out(spec: SearchSpec, trial: Trial, report: Callable[[Standing], None]) -> None:
    """Do what is left of a trial in this process; ``report`` hears of every epoch after it is stored."""
    from train.jobs import run_task

    meter = Meter(trial)

    def on_epoch(bench: FoldBench, phase: str) -> None:
        meter.note(bench, phase)
        *_, now = standings(trial.histories(spec), spec.epochs)
        report(now)

    for number in range(1, len(spec.folds) + 1):
        bench = fold_bench(spec, trial, number)
        for task in spec.tasks:

            def heard(_: Progress, bench: FoldBench = bench, phase: str = task.phase) -> None:
                on_epoch(bench, phase)

            run_task(bench, task, heard)


class Meter:
    """Keeps what a trial has cost on storage, over all processes that worked on it."""

    def __init__(self, trial: Trial) -> None:
        self._path = trial.folder / "cost.json"
        self._before, self._started = trial.cost["seconds"], time.monotonic()

    def note(self, bench: FoldBench, phase: str) -> None:
        """An epoch of a fit of that phase has ended."""
        from train.jobs import loop_for

        seconds = round(self._before + time.monotonic() - self._started, 2)
        weights = loop_for(bench, phase).network.count_params()
        storage.write_json(self._path, {"seconds": seconds, "weights": weights, "pid": os.getpid()})


def fold_bench(spec: SearchSpec, trial: Trial, number: int) -> FoldBench:
    """Open a fold's run folder, 1 being the newest fold."""
    settings = spec.settings(trial.parameters, trial.seed, spec.folds[number - 1])
    run_dir = trial.fold_dir(number)
    RunSpec(settings, spec.universe, spec.source, spec.seen_sha256).save(run_dir)
    return bench_of(run_dir, storage.current(trial.root / "panel.parquet"), spec.sizes)


def reason_of(trial: Trial, error: BaseException) -> str:
    """One line for people; the traceback goes to a file beside the trial."""
    storage.write_bytes(trial.folder / "error.log", "".join(traceback.format_exception(error)).encode())
    return error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"
