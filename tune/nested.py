"""A trial with several workers: its fits spread over a Ray Train run of its own, for big models."""

import threading
from typing import Any

import ray.train
import ray.tune
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from common import storage
from train.fleet import IndependentWorkers
from train.plan import Progress, Task
from tune.book import Book, Histories, standings
from tune.folds import FoldBench
from tune.spec import SearchSpec
from tune.trial import Meter, conclude, fold_bench, reason_of

POLL_S = 0.5
DEATHS = 10
"""Worker processes that a trial may lose."""


def run_nested_trial(config: dict[str, Any], workers: int) -> None:
    """As `tune.trial.run_trial`, with the fits dealt out to ``workers`` processes of one CPU each.

    Folds then progress side by side and are reported in their order, so that scores at the same number of
    epochs compare like with like. Starting the workers costs half a minute a trial: worth it only where a
    trial takes many.
    """
    root = storage.locate(config["search"])
    spec, trial = SearchSpec.load(root), Book(root).trials[config["number"]]
    if trial.end is not None:
        return
    trainer = DataParallelTrainer(
        _work,
        train_loop_config=config,
        backend_config=IndependentWorkers(),
        scaling_config=ray.train.ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=f"trial-{trial.number:03}",
            storage_path=str(root / "ray" / "nested"),
            failure_config=ray.train.FailureConfig(max_failures=DEATHS),
        ),
    )
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=fit, name="nested-trainer", daemon=True)
    thread.start()
    told = 0
    while thread.is_alive():
        thread.join(POLL_S)
        known = list(standings(in_order(spec, trial.histories(spec)), spec.epochs))
        for standing in known[told:]:
            ray.tune.report(standing.as_report())
        told = len(known)
    if failures and trial.end is None:
        raise failures[0]
    conclude(spec, trial)


def in_order(spec: SearchSpec, histories: Histories) -> Histories:
    """The folds up to the first that is not complete: as if it took one after the other."""
    complete = [all(len(job) == spec.epochs for job in jobs) for jobs in histories]
    first = complete.index(False) + 1 if False in complete else len(complete)
    return histories[:first]


def _work(config: dict[str, Any]) -> None:
    """One worker's share of a trial's fits."""
    from train.jobs import run_task
    from train.loop import one_thread

    one_thread()
    root, context = storage.locate(config["search"]), ray.train.get_context()
    spec, trial = SearchSpec.load(root), Book(root).trials[config["number"]]
    fits = [(fold, task) for fold in range(1, len(spec.folds) + 1) for task in spec.tasks]
    rank, meter = context.get_world_rank(), Meter(trial)
    for fold, task in fits[rank :: context.get_world_size()]:
        bench = fold_bench(spec, trial, fold)

        def note(progress: Progress, bench: FoldBench = bench, task: Task = task) -> None:
            if rank == 0:
                meter.note(bench, task.phase)

        try:
            run_task(bench, task, note)
        except Exception as error:
            trial.close("failed", reason_of(trial, error))
            return
