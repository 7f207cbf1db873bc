"""Run a search: Ray Tune runs trials that Optuna proposes, until all have ended or the time limit."""

import logging
import math
import os
import shutil
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import ray.tune
from optuna.trial import TrialState
from ray.air.constants import TRAINING_ITERATION
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from common import storage
from train.workers.elastic import in_thread
from tune.progress import SearchProgress
from tune.study import NumberedSampler, Point, Study, draw
from tune.trial import JUDGED, run_trial

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
"""Switches off Ray Tune's output and its files, and its check that every report has the metric: without
that, a trial that fails before its first epoch would end the whole search."""
PROCESS_DEATHS = 3
"""A trial has failed when its process has died more often than this."""
REDUCTION = 2
"""About one in this many of the trials that reach a rung continues."""


class StudySearch(OptunaSearch):
    """Ray Tune's `OptunaSearch` over a search's Optuna study.

    In addition to Ray's class: comparison trials alternate with proposals; a trial that was stopped early or
    failed is recorded as pruned or failed, with its reason; a trial that the time limit or the end of the
    process interrupted stays unfinished, so that the next session continues it.
    """

    def __init__(
        self,
        study: Study,
        *,
        trials: int,
        compared: Sequence[Point],
        deadline: float = math.inf,
    ) -> None:
        spec = study.spec
        super().__init__(
            space=self._propose,
            metric="score",
            mode="min",
            sampler=NumberedSampler(spec.sampler, spec.config.seed),
            study_name=spec.id,
            storage=study.storage,
        )
        self._record, self._wanted = study, trials
        self._compared, self._deadline = compared, deadline
        self._trials: dict[str, Any] = {}
        """Optuna's trials by Ray Tune's trial id."""
        self.closed = False
        """Set when the search ends: Ray Tune then reports the end of its processes, not of the trials."""

    def suggest(  # type: ignore[override]  # Ray's FINISHED is text
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        if time.time() >= self._deadline or not self._record.has_next(self._wanted, self._compared):
            return Searcher.FINISHED
        config = super().suggest(trial_id)
        self._trials[trial_id] = self._last
        storage.upload(self._record.path)
        return config

    def _propose(self, trial: Any) -> dict[str, Any]:
        """Return the config of `run_trial`."""
        spec, attributes, self._last = self._record.spec, trial.user_attrs, trial
        return {
            **draw(trial, spec.space, spec.scope),
            "search": storage.address_of(self._record.root),
            "number": trial.number,
            "origin": attributes.get("origin", "search"),
            "seed": attributes.get("seed", spec.config.seed),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        trial = self._trials[trial_id]
        if result.get("weights") != trial.user_attrs.get("weights") and "weights" in result:
            trial.set_user_attr("weights", result["weights"])
        work, score = result["work"], result.get("score", math.inf)
        if math.isfinite(score) and work not in self._record.frozen()[trial.number].intermediate_values:
            super().on_trial_result(trial_id, {"score": score, TRAINING_ITERATION: work})

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if self.closed or (result is None and not error):  # the trial never started
            return
        if result is not None:
            self.on_trial_result(trial_id, result)
        result = result or {"work": 0}
        complete = result.get("complete") or result["work"] >= self._record.spec.total_epochs
        if error:
            self._end(trial_id, f"its process died more than {PROCESS_DEATHS} times", failed=True)
        elif "reason" in result:
            self._end(trial_id, result["reason"], failed=True)
        elif complete and math.isfinite(result.get("score", math.inf)):
            super().on_trial_complete(trial_id, result)
        elif complete:
            self._end(trial_id, "no finite score on validation", failed=True)
        elif time.time() < self._deadline:
            self._end(trial_id, f"in the worse half after {result['work']} epochs", failed=False)
        storage.upload(self._record.path)

    def _end(self, trial_id: str, reason: str, *, failed: bool) -> None:
        self._trials[trial_id].set_user_attr("reason", reason)
        super().on_trial_complete(trial_id, None, error=failed)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the state is in the study."""

    restore = save


class _Silent(TrialProgressCallback):
    """Replaces Ray's callback, which prints the end of every trial."""

    def _print(self, msg: str) -> None:
        pass


def early_stopping(study: Study) -> TrialScheduler:
    """Return ASHA (Li et al., MLSys 2020) with rungs at the ends of folds: after one, two and four of them.

    All trials work through the folds in the same order, so scores at the same number of epochs are
    comparable. At the end of a fold every learning rate has decayed, so high rates are not judged too early.
    Comparison trials do not report ``JUDGED`` and are ignored. The scheduler first gets the results of the
    proposals of earlier sessions.
    """
    spec = study.spec
    if not spec.asha or len(spec.folds) == 1:
        return FIFOScheduler()
    asha = ASHAScheduler(
        time_attr=JUDGED,
        metric="score",
        mode="min",
        max_t=spec.total_epochs - 1,  # at its last epoch a trial is done, not stopped
        grace_period=spec.fold_epochs,
        reduction_factor=REDUCTION,
        stop_last_trials=False,
    )
    unused: Any = None  # the controller, which ASHA does not use
    for frozen in study.frozen(TrialState.COMPLETE, TrialState.PRUNED):
        if "origin" not in frozen.user_attrs:
            ended: Any = SimpleNamespace(trial_id=f"ended-{frozen.number}")
            asha.on_trial_add(unused, ended)
            for work, score in sorted(frozen.intermediate_values.items()):
                asha.on_trial_result(unused, ended, {JUDGED: work, "score": score})
    return asha


def search(
    study: Study,
    progress: SearchProgress,
    *,
    cpus: int,
    trials: int,
    compared: Sequence[Point],
    deadline: float = math.inf,
) -> None:
    """Run trials until ``trials`` proposals and all comparison trials have ended, or until ``deadline``.

    Ray must be running. An interrupted trial continues after its last epoch.
    """
    os.environ.update(QUIET)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    progress.workers = cpus
    searcher = StudySearch(study, trials=trials, compared=compared, deadline=deadline)
    folder = study.root / "ray"
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(run_trial, {"CPU": 1}),
        tune_config=ray.tune.TuneConfig(
            search_alg=searcher,
            scheduler=early_stopping(study),
            num_samples=-1,
            max_concurrent_trials=cpus,
            reuse_actors=True,
        ),
        run_config=ray.tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            stop=lambda trial_id, result: time.time() >= deadline,
            failure_config=ray.tune.FailureConfig(max_failures=PROCESS_DEATHS),
            callbacks=[_Silent()],
            verbose=0,
        ),
    )
    progress.state = "searching"
    try:
        in_thread(tuner.fit)
    finally:
        searcher.closed = True
        shutil.rmtree(folder, ignore_errors=True)
