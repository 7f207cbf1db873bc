"""From a search's trials to what it leaves in its folder."""

import datetime as dt
import hashlib
import json
import math
from typing import Any

import pandas as pd

from common.model.bundle import GENERAL
from tune.best import versions
from tune.book import Book, Histories, Trial, best_total, fold_score, trial_score
from tune.embedding import compare
from tune.results import CURVE_COLUMNS, TRIAL_COLUMNS, Tuning
from tune.spec import SearchSpec


def tuning_of(
    spec: SearchSpec, book: Book, contest: dict[str, Any] | None, *, cpus: int, seconds: float
) -> Tuning:
    """The tables and figures of all trials so far."""
    histories = {trial.number: trial.histories(spec) for trial in book.trials.values()}
    winner = winner_of(spec, book)
    if contest is not None:
        winner = book.trials[contest["trial"]]
    info = {
        "id": spec.id,
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "model": spec.model,
        "preset": spec.config.preset,
        "source": spec.source,
        "data_sha256": spec.data_sha256,
        "universe_sha256": universe_sha256(spec),
        "quick": spec.config.quick,
        "seed": spec.config.seed,
        "epochs": spec.epochs,
        "horizons": list(spec.config.window.horizons),
        "folds": [fold.as_dict() for fold in spec.folds],
        "parameters": {name: found.as_dict() for name, found in spec.space.searched(spec.scope).items()},
        "default": spec.default,
        "winner": winner.parameters if winner else None,
        "winner_trial": winner.number if winner else None,
        "versions": versions(),
        "cpus": cpus,
        "seconds": round(seconds, 1),
        "contest": contest,
        "embedding": _embedding(spec, book, histories),
    }
    rows = [_row(spec, trial, histories[trial.number]) for trial in book.trials.values()]
    folds = [f"fold_{fold}" for fold in range(1, len(spec.folds) + 1)]
    columns = [*TRIAL_COLUMNS, *spec.default, *folds]
    curves = [{"trial": number, **row} for number, found in histories.items() for row in curve(found)]
    return Tuning(
        info, pd.DataFrame(rows, columns=columns), pd.DataFrame(curves, columns=list(CURVE_COLUMNS))
    )


def winner_of(spec: SearchSpec, book: Book) -> Trial | None:
    """The best finished trial among the proposals and the default; None if none finished."""
    running = [
        trial
        for trial in book.trials.values()
        if (trial.end or {}).get("state") == "done" and (trial.origin == "search" or is_default(spec, trial))
    ]
    return min(running, key=lambda trial: trial_score(trial.histories(spec)) or math.inf, default=None)


def is_default(spec: SearchSpec, trial: Trial) -> bool:
    """Whether it is the default configuration with the seed of all proposals."""
    return trial.parameters == spec.default and trial.seed == spec.config.seed


def curve(histories: Histories) -> list[dict[str, Any]]:
    """Rows of ``curves.csv`` of one trial, without its number; several jobs are averaged epoch by epoch."""
    rows = []
    for fold, jobs in enumerate(histories, start=1):
        for epoch in range(max((len(job) for job in jobs), default=0)):
            there = [job[epoch] for job in jobs if len(job) > epoch]

            def mean(name: str, there: list[dict[str, Any]] = there) -> float:
                values = [math.nan if each[name] is None else each[name] for each in there]
                return sum(values) / len(values)

            rows.append(
                {
                    "fold": fold,
                    "epoch": epoch + 1,
                    "loss": mean("loss"),
                    "val_loss": mean("val_loss"),
                    "score": mean("total"),
                }
            )
    return rows


def universe_sha256(spec: SearchSpec) -> str:
    return hashlib.sha256(json.dumps(spec.universe.as_dict(), sort_keys=True).encode()).hexdigest()


def _row(spec: SearchSpec, trial: Trial, histories: Histories) -> dict[str, Any]:
    end, cost = trial.end or {"state": "interrupted", "reason": None}, trial.cost
    folds = {f"fold_{fold}": fold_score(jobs) for fold, jobs in enumerate(histories, start=1)}
    return {
        "trial": trial.number,
        "origin": trial.origin,
        "state": end["state"],
        "seed": trial.seed,
        "score": trial_score(histories),
        "folds": sum(score is not None for score in folds.values()),
        "epochs": sum(len(job) for jobs in histories for job in jobs),
        "weights": cost["weights"],
        "seconds": cost["seconds"],
        "reason": end["reason"],
        **trial.parameters,
        **folds,
    }


def _embedding(spec: SearchSpec, book: Book, histories: dict[int, Histories]) -> dict[str, Any] | None:
    """The comparison of embedding sizes, from the finished trials that were made for it."""
    if spec.scope != GENERAL:
        return None
    scores: dict[int, dict[tuple[int, int], float]] = {}
    for trial in book.trials.values():
        if trial.origin == "sweep" and (trial.end or {}).get("state") == "done":
            fits = scores.setdefault(int(trial.parameters["embedding_dim"]), {})
            for fold, (job,) in enumerate(histories[trial.number]):
                fits[fold, trial.seed] = best_total(job)
    return compare(scores, int(spec.default["embedding_dim"]))
