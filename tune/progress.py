"""How a search is going, as a snapshot for the table, see `tune.console`."""

import time
from dataclasses import dataclass, field
from typing import Any

from tune.study import Study
from tune.trial import Trial, is_default, standings

ENDED = ("done", "stopped", "failed")


@dataclass
class SearchProgress:
    """What the trials of this session report, beside what the study knows."""

    study: Study
    planned: int
    """Trials there will be."""
    compared: int = 0
    """How many of them are for comparison: the default, and it with other embedding sizes."""
    concurrent: int = 1
    state: str = "starting"
    started: float = field(default_factory=time.time)
    _last: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The last report of each trial of this session, by number."""
    _before: dict[int, dict[str, Any]] = field(default_factory=dict)
    """How far the trials came that report nothing in this session."""
    _first: dict[int, tuple[float, int]] = field(default_factory=dict)
    """When a trial first reported a new epoch in this session, and its work then."""

    def update(self, number: int, result: dict[str, Any]) -> None:
        """Take a trial's report; epochs reported again say nothing of its pace."""
        if result.get("again"):
            self._first[number] = time.time(), result["work"]
        self._first.setdefault(number, (time.time(), result["work"]))
        self._last[number] = result

    def snapshot(self) -> dict[str, Any]:
        """As `tune.console.SearchTable` takes it."""
        spec = self.study.spec
        total = spec.fold_epochs * len(spec.folds)
        trials = self.study.trials()
        rows = [self._row(trial, total) for trial in trials]
        done = [row for row in rows if row["state"] == "done"]
        defaults = [trial.number for trial in trials if is_default(spec, trial)]
        own = [row for row in done if row["trial"] in defaults][:1]
        rivals = [row for row in done if row["origin"] == "search"]
        best = min(own + rivals, key=lambda row: row["score"], default=None)
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
            "best": best and {name: best[name] for name in ("trial", "score", "parameters")},
            "default_score": own[0]["score"] if own else None,
            "eta_s": self._eta(rows, total),
            "trials": rows,
        }

    def _row(self, trial: Trial, total: int) -> dict[str, Any]:
        ended = trial.state in ENDED
        now = self._last.get(trial.number) or self._stored(trial)
        at_work = "running" if trial.number in self._last and self.state == "searching" else "waiting"
        row = {
            "trial": trial.number,
            "origin": trial.origin,
            "state": trial.state if ended else at_work,
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
            known = [vars(standing) for standing in standings(trial.histories(spec), spec.epochs)]
            self._before[trial.number] = known[-1] if known else {}
        return self._before[trial.number]

    def _pace(self, number: int) -> float | None:
        """Seconds an epoch of a running trial takes."""
        now = self._last.get(number)
        if now is None:
            return None
        since, work = self._first[number]
        behind = now["work"] - work
        return (time.time() - since) / behind if behind > 0 else None

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
