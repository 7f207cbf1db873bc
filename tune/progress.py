"""The progress of a search, as the snapshots that `train.progress.snapshot` draws."""

import time
from typing import Any

from optuna.trial import TrialState

from train.progress.snapshot import format_number
from tune import labels
from tune.study import Study
from tune.summary import winner_of
from tune.trial import Trial, is_default

ENDED = ("done", "stopped", "failed")
COLUMNS = ("job", "state", "epoch", "score")


class SearchProgress:
    """Follows a search's study during a session.

    Parameters
    ----------
    planned : total number of trials
    compared : number of comparison trials among them
    """

    def __init__(self, study: Study, *, planned: int, compared: int) -> None:
        self.study, self.planned, self.compared = study, planned, compared
        self.state, self.workers, self.started = "starting", 0, time.time()
        self._before = {
            frozen.number: max(frozen.intermediate_values, default=0) for frozen in study.frozen()
        }
        """Epochs that the trials of earlier sessions have done, by number."""
        self._pace: dict[str, float] | None = None

    def snapshot(self) -> dict[str, Any]:
        """Return a snapshot: running trials first, then the others, best first."""
        spec, trials = self.study.spec, self.study.trials()
        running = {frozen.number for frozen in self.study.frozen(TrialState.RUNNING)}
        jobs = [self._job(trial, running) for trial in trials]
        ended = [job["work_done"] for job in jobs if job["state"] in ("done", "stopped")]
        usual = sum(ended) / len(ended) if ended else spec.total_epochs
        for job in jobs:
            is_over = job["state"] in ENDED
            job["work_total"] = job["work_done"] if is_over else max(usual, job["work_done"])
        jobs.sort(key=lambda job: (job["state"] != "running", job["score"] is None, job["score"]))
        done, resumed = (sum(job[key] for job in jobs) for key in ("work_done", "work_resumed"))
        if self._pace is None and done > resumed:  # leaves out the start of the workers
            self._pace = {"since": time.time(), "work": done}
        ahead = max(0, self.planned - len(trials))
        return {
            "run": spec.id,
            "noun": "trial",
            "columns": COLUMNS,
            "source": spec.source,
            "preset": spec.config.preset,
            "state": self.state,
            "started": self.started,
            "workers": self.workers,
            "pace": self._pace,
            "jobs": jobs,
            "jobs_ahead": ahead,
            "work_ahead": ahead * usual,
            "summary": self._summary(trials),
        }

    def _job(self, trial: Trial, running: set[int]) -> dict[str, Any]:
        is_running = trial.number in running and self.state == "searching"
        return {
            "job": str(trial.number),
            "state": trial.state if trial.state in ENDED else "running" if is_running else "waiting",
            "settings": labels.settings(trial.parameters),
            "reason": trial.reason,
            "epoch": trial.epochs,
            "epochs": self.study.spec.total_epochs,
            "score": trial.score,
            "work_done": trial.epochs,
            "work_resumed": self._before.get(trial.number, 0),
        }

    def _summary(self, trials: list[Trial]) -> str:
        spec, best = self.study.spec, winner_of(self.study.spec, trials)
        default = next((t.score for t in trials if t.state == "done" and is_default(spec, t)), None)
        first = f"best {format_number(best.score)} (trial {best.number})" if best else "best -"
        kinds = labels.counted(self.planned - self.compared, self.compared)
        return f"{first}, default {format_number(default)}, naive 1; {kinds}"
