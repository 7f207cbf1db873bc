"""The search itself: trials on Ray Tune until there are enough, or the time is over."""

import logging
import math
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray.tune
from ray.tune.progress_reporter import TrialProgressCallback

from train.elastic import in_thread
from tune.book import Book, Trial, standings
from tune.halving import Halving
from tune.nested import run_nested_trial
from tune.proposals import Proposals
from tune.space import Parameters
from tune.spec import SearchSpec
from tune.trial import run_trial

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
"""Turns off what Ray Tune prints, the files it writes while it works, and its ending of a whole search over
one trial that has nothing to report: it failed at once, or had only its end to write."""
NO_CPU: dict[str, float] = {"memory": 1}
"""A trial whose workers do the work; Ray wants it to hold something, so one byte."""
PROCESS_DEATHS = 3
"""How often a trial's process may die before the trial has failed."""


class _Silent(TrialProgressCallback):
    """Prints nothing where Ray's own would print every trial's end."""

    def _print(self, msg: str) -> None:
        pass


@dataclass
class Board:
    """What is going on, for the table."""

    spec: SearchSpec
    book: Book
    planned: int
    """Trials there will be."""
    compared: int = 0
    """How many of them are for comparison: the default, and it with other embedding sizes."""
    concurrent: int = 1
    state: str = "starting"
    started: float = field(default_factory=time.time)
    running: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The last report of each trial that works, by number."""
    _closed: dict[int, dict[str, Any]] = field(default_factory=dict)
    _first: dict[int, tuple[float, int]] = field(default_factory=dict)
    """When a trial was first heard of in this session, and its work then."""

    def heard(self, number: int, result: dict[str, Any]) -> None:
        self._first.setdefault(number, (time.time(), result["work"]))
        self.running[number] = result

    def snapshot(self) -> dict[str, Any]:
        """As `tune.console.SearchTable` takes it."""
        total = self.spec.fold_epochs * len(self.spec.folds)
        rows = [self._row(trial, total) for trial in list(self.book.trials.values())]
        ended = [row for row in rows if row["state"] in ("done", "stopped", "failed")]
        done = [row for row in ended if row["state"] == "done"]
        own = [row for row in done if row["parameters"] == self.spec.default]
        rivals = [row for row in done if row["origin"] == "search"]
        best = min(own[:1] + rivals, key=lambda row: row["score"], default=None)
        default = own[0]["score"] if own else None
        return {
            "search": self.spec.id,
            "source": self.spec.source,
            "model": self.spec.model,
            "state": self.state,
            "started": self.started,
            "concurrent": self.concurrent,
            "epochs_total": total,
            "trials_total": max(self.planned, len(rows)),
            "trials_compared": max(self.compared, sum(row["origin"] == "sweep" for row in rows)),
            "trials_done": len(ended),
            "best": best and {name: best[name] for name in ("trial", "score", "parameters")},
            "default_score": default,
            "eta_s": self._eta(rows, total),
            "trials": rows,
        }

    def _row(self, trial: Trial, total: int) -> dict[str, Any]:
        if trial.number in self._closed:
            return self._closed[trial.number]
        end = trial.end
        now = self.running.get(trial.number)
        if now is None or end is not None:
            stored = list(standings(trial.histories(self.spec), self.spec.epochs))
            now = stored[-1].as_report() if stored else {}
        state = end["state"] if end else "running" if trial.number in self.running else "waiting"
        row = {
            "trial": trial.number,
            "origin": trial.origin,
            "state": state,
            "parameters": trial.parameters,
            "fold": now.get("fold"),
            "epoch": now.get("epoch"),
            "done": now.get("work", 0),
            "loss": now.get("loss"),
            "score": now.get("score"),
            "eta_s": None,
            "reason": end["reason"] if end else None,
        }
        if end:
            self._closed[trial.number] = row
        elif pace := self._pace(trial.number):
            row["eta_s"] = pace * (total - row["done"])
        return row

    def _pace(self, number: int) -> float | None:
        """Seconds an epoch of a running trial takes."""
        now = self.running.get(number)
        if now is None:
            return None
        since, work = self._first[number]
        behind = now["work"] - work
        return (time.time() - since) / behind if behind > 0 else None

    def _eta(self, rows: list[dict[str, Any]], total: int) -> float | None:
        paces = [pace for number in list(self.running) if (pace := self._pace(number))]
        ended = [row["done"] for row in rows if row["state"] in ("done", "stopped")]
        if not paces:
            return None
        usual = sum(ended) / len(ended) if ended else total
        left: float = sum(
            max(0, usual - row["done"]) for row in rows if row["state"] in ("running", "waiting")
        )
        left += usual * max(0, self.planned - len(rows))
        return left * sum(paces) / len(paces) / max(1, self.concurrent)


def search(
    spec: SearchSpec,
    root: Path,
    board: Board,
    *,
    cpus: int,
    trials: int,
    compared: list[tuple[Parameters, int]],
    deadline: float = math.inf,
    workers_per_trial: int = 1,
) -> None:
    """Run trials until ``trials`` proposals and the comparison have ended, or until ``deadline``.

    Needs Ray to be running. A trial that was cut off is continued from its last epoch.
    """
    os.environ.update(QUIET)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    book = board.book
    board.concurrent = max(1, cpus // workers_per_trial)
    nested = workers_per_trial > 1
    proposals = Proposals(spec, book, trials=trials, compared=compared, deadline=deadline)
    halving = Halving(spec, book, deadline=deadline, heard=board.heard)
    trainable = ray.tune.with_parameters(run_nested_trial, workers=workers_per_trial) if nested else run_trial
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trainable, NO_CPU if nested else {"CPU": 1}),
        tune_config=ray.tune.TuneConfig(
            search_alg=proposals,
            scheduler=halving,
            num_samples=-1,
            max_concurrent_trials=board.concurrent,
            reuse_actors=not nested,
        ),
        run_config=ray.tune.RunConfig(
            name="tune",
            storage_path=str(root / "ray"),
            failure_config=ray.tune.FailureConfig(max_failures=PROCESS_DEATHS),
            callbacks=[_Silent()],
            verbose=0,
        ),
    )
    board.state = "searching"
    try:
        in_thread(tuner.fit)
    finally:
        board.running.clear()
        shutil.rmtree(root / "ray", ignore_errors=True)
