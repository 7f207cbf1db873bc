"""The progress of a search as snapshots for the table in `tune.console`."""

import time
from dataclasses import dataclass, field
from typing import Any

from tune.study import Study
from tune.summary import winner_of
from tune.trial import Trial, is_default, progress_by_epoch

ENDED = ("done", "stopped", "failed")


@dataclass
class SearchProgress:
    """Combines the reports of this session's trials with the study."""

    study: Study
    planned: int
    """Total number of trials."""
    compared: int = 0
    """Number of comparison trials among them."""
    concurrent: int = 1
    state: str = "starting"
    started: float = field(default_factory=time.time)
    _last: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The last report of each trial in this session, by number."""
    _before: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Stored progress of the trials without a report in this session."""
    _first: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Time and epochs done at the report from which a trial's pace is measured."""

    def update(self, number: int, result: dict[str, Any]) -> None:
        """Take a trial's report; the pace is measured after the epochs that are reported again."""
        if result.get("again"):
            self._first[number] = time.time(), result["work"]
        self._first.setdefault(number, (time.time(), result["work"]))
        self._last[number] = result

    def snapshot(self) -> dict[str, Any]:
        """Return a snapshot, see `tune.console`."""
        spec = self.study.spec
        total = spec.fold_epochs * len(spec.folds)
        trials = self.study.trials()
        rows = [self._row(trial, total) for trial in trials]
        best = winner_of(spec, trials)
        defaults = [trial.score for trial in trials if trial.state == "done" and is_default(spec, trial)]
        return {
            "search": spec.id,
            "source": spec.source,
            "model": spec.model,
            "state": self.state,
            "started": self.started,
            "concurrent": self.concurrent,
            "epochs_total": total,
            "trials_total": max(self.planned, len(rows)),
            "trials_compared": max(self.compared, sum(row["origin"] == "sweep" for row in rows)),
            "trials_done": sum(row["state"] in ENDED for row in rows),
            "best": best and {"trial": best.number, "score": best.score, "parameters": best.parameters},
            "default_score": defaults[0] if defaults else None,
            "eta_s": self._eta(rows, total),
            "trials": rows,
        }

    def _row(self, trial: Trial, total: int) -> dict[str, Any]:
        ended = trial.state in ENDED
        now = self._last.get(trial.number) or self._stored(trial)
        is_running = trial.number in self._last and self.state == "searching"
        row = {
            "trial": trial.number,
            "origin": trial.origin,
            "state": trial.state if ended else "running" if is_running else "waiting",
            "parameters": trial.parameters,
            "fold": now.get("fold"),
            "epoch": now.get("epoch"),
            "done": now.get("work", 0),
            "loss": now.get("loss"),
            "score": now.get("score"),
            "eta_s": None,
            "reason": trial.reason if ended else None,
        }
        if not ended and (pace := self._pace(trial.number)):
            row["eta_s"] = pace * (total - row["done"])
        return row

    def _stored(self, trial: Trial) -> dict[str, Any]:
        if trial.number not in self._before:
            spec = self.study.spec
            stored = [vars(now) for now in progress_by_epoch(trial.histories(spec), spec.epochs)]
            self._before[trial.number] = stored[-1] if stored else {}
        return self._before[trial.number]

    def _pace(self, number: int) -> float | None:
        """Return the seconds per epoch of a trial, None before it has reported a new epoch."""
        if number not in self._last:
            return None
        since, work = self._first[number]
        done = self._last[number]["work"] - work
        return (time.time() - since) / done if done > 0 else None

    def _eta(self, rows: list[dict[str, Any]], total: int) -> float | None:
        paces = [pace for row in rows if row["state"] == "running" and (pace := self._pace(row["trial"]))]
        ended = [row["done"] for row in rows if row["state"] in ("done", "stopped")]
        if not paces:
            return None
        usual = sum(ended) / len(ended) if ended else total
        left: float = sum(
            max(0, usual - row["done"]) for row in rows if row["state"] in ("running", "waiting")
        )
        left += usual * max(0, self.planned - len(rows))
        return left * sum(paces) / len(paces) / max(1, self.concurrent)
