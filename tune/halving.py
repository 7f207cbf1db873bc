"""Early stopping by successive halving, and the end of the time."""

import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune.book import Book, Trial, standings
from tune.spec import SearchSpec

REDUCTION = 2
"""Of the trials that come so far, about one in so many goes on."""
FEWEST = 4
"""Trials at a rung before the worse of them are stopped."""
NO_CONTROLLER: Any = None
"""ASHA is given one and does not look at it."""


class Halving(ASHAScheduler):
    """ASHA (Li et al., MLSys 2020) with rungs at the end of whole folds: after one, two, four of them.

    All trials work through the folds in the same order, so scores at the same number of epochs compare like
    with like; and at the end of a fold every learning rate has come down, so that a high one is not judged
    half-way. The default takes part and is never stopped; the other embedding sizes compared with it stand
    aside, because so many near-copies of the default would decide where the middle is. What trials of an
    earlier session did is recorded before anything else.
    """

    def __init__(
        self,
        spec: SearchSpec,
        book: Book,
        *,
        deadline: float = math.inf,
        heard: Callable[[int, dict[str, Any]], None] = lambda number, result: None,
    ) -> None:
        self._total = spec.fold_epochs * len(spec.folds)
        super().__init__(
            time_attr="work",
            metric="score",
            mode="min",
            max_t=self._total,
            grace_period=spec.fold_epochs,
            reduction_factor=REDUCTION,
            stop_last_trials=False,
        )
        self._spec, self._book, self._deadline, self._heard = spec, book, deadline, heard
        self._work: dict[int, int] = {}
        for trial in book.trials.values():
            if trial.end is not None:
                stand_in: Any = SimpleNamespace(trial_id=f"ended-{trial.number}")
                super().on_trial_add(NO_CONTROLLER, stand_in)
                self._recall(stand_in, trial)

    def on_trial_add(self, tune_controller: TuneController, trial: TuneTrial) -> None:
        super().on_trial_add(tune_controller, trial)
        self._recall(trial, self._ours(trial))

    def on_trial_result(
        self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        ours = self._ours(trial)
        self._heard(ours.number, result)
        worse = self._record(trial, ours, result) == TrialScheduler.STOP
        if result["work"] >= self._total:
            return TrialScheduler.CONTINUE
        if worse and self._spec.asha and ours.origin == "search" and self._rivals(result["work"]) >= FEWEST:
            ours.close("stopped", f"in the worse half after {result['work']} epochs")
            return TrialScheduler.STOP
        return TrialScheduler.STOP if time.time() >= self._deadline else TrialScheduler.CONTINUE

    def on_trial_complete(
        self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Nothing: its last report has been recorded."""

    def _record(self, recorded: TuneTrial, trial: Trial, result: dict[str, Any]) -> str:
        """What stock ASHA says of a report."""
        if trial.origin != "search" and trial.parameters != self._spec.default:
            return TrialScheduler.CONTINUE
        self._work[trial.number] = max(result["work"], self._work.get(trial.number, 0))
        return super().on_trial_result(NO_CONTROLLER, recorded, result)

    def _rivals(self, work: int) -> int:
        """How many trials came as far, the one in question included."""
        return sum(other >= work for other in self._work.values())

    def _recall(self, recorded: TuneTrial, trial: Trial) -> None:
        for standing in standings(trial.histories(self._spec), self._spec.epochs):
            self._record(recorded, trial, standing.as_report())

    def _ours(self, trial: TuneTrial) -> Trial:
        return self._book.trials[trial.config["number"]]

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what there is to know is in the trials' folders."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""
