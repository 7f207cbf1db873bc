"""Build the result of a search: the tables of its trials, and settings to train with."""

import datetime as dt
import hashlib
import importlib.metadata
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import tomli_w

from common.presets import PRESETS, TrainConfig
from common.release.bundle import GENERAL
from tune.embedding import compare
from tune.results import CURVE_COLUMNS, TRIAL_COLUMNS, Tuning
from tune.space import apply
from tune.spec import SearchSpec
from tune.trial import Histories, Trial, best_total, fold_score, is_default

VERSIONS = ("nsecast", "ray", "keras", "tensorflow", "optuna")


def tuning_of(
    spec: SearchSpec,
    trials: Sequence[Trial],
    contest: dict[str, Any] | None,
    *,
    cpus: int,
    seconds: float,
) -> Tuning:
    """Return the tables and figures of all trials so far."""
    histories = {trial.number: trial.histories(spec) for trial in trials}
    winner = winner_of(spec, trials)
    if contest is not None:
        winner = next(trial for trial in trials if trial.number == contest["trial"])
    universe = json.dumps(spec.universe.as_dict(), sort_keys=True).encode()
    info = {
        "id": spec.id,
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "model": spec.model,
        "preset": spec.config.preset,
        "source": spec.source,
        "data_sha256": spec.data_sha256,
        "universe_sha256": hashlib.sha256(universe).hexdigest(),
        "quick": spec.config.quick,
        "seed": spec.config.seed,
        "epochs": spec.epochs,
        "horizons": list(spec.config.window.horizons),
        "folds": [fold.as_dict() for fold in spec.folds],
        "parameters": spec.parameters(),
        "default": spec.default,
        "winner": winner.parameters if winner else None,
        "winner_trial": winner.number if winner else None,
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "cpus": cpus,
        "seconds": round(seconds, 1),
        "contest": contest,
        "embedding": _embedding(spec, trials, histories),
    }
    rows = [_row(trial, histories[trial.number]) for trial in trials]
    folds = [f"fold_{fold}" for fold in range(1, len(spec.folds) + 1)]
    columns = [*TRIAL_COLUMNS, *spec.default, *folds]
    curves = [{"trial": number, **row} for number, epochs in histories.items() for row in curve(epochs)]
    return Tuning(
        info, pd.DataFrame(rows, columns=columns), pd.DataFrame(curves, columns=list(CURVE_COLUMNS))
    )


def winner_of(spec: SearchSpec, trials: Sequence[Trial]) -> Trial | None:
    """Return the best finished trial among the proposals and the default; None if none finished."""
    candidates = [
        trial
        for trial in trials
        if trial.state == "done" and (trial.origin == "search" or is_default(spec, trial))
    ]
    return min(candidates, key=lambda trial: math.inf if trial.score is None else trial.score, default=None)


def curve(histories: Histories) -> list[dict[str, Any]]:
    """Return one trial's rows of ``curves.csv`` without its number; jobs are averaged epoch by epoch."""
    names = {"loss": "loss", "val_loss": "val_loss", "score": "total"}
    rows: list[dict[str, Any]] = []
    for fold, jobs in enumerate(histories, start=1):
        for epochs in itertools.zip_longest(*jobs):
            reached = [epoch for epoch in epochs if epoch is not None]
            values = {
                name: [math.nan if epoch[key] is None else epoch[key] for epoch in reached]
                for name, key in names.items()
            }
            means = {name: sum(numbers) / len(numbers) for name, numbers in values.items()}
            rows.append({"fold": fold, "epoch": max(epoch["epoch"] for epoch in reached), **means})
    return rows


def best_toml(
    spec: SearchSpec,
    full: TrainConfig,
    winner: Trial,
    contest: dict[str, Any] | None,
    provenance: dict[str, Any],
) -> str:
    """Return ``best.toml``: the settings that differ from the preset, and ``provenance``.

    The settings are the winner's if it was better or was not compared, else the default's. ``full`` are
    the user's settings, without the reductions of a quick search.
    """
    if contest is None:
        which = (
            f"Trial {winner.number}, the best on validation; not compared with the default on the test part."
        )
    elif contest["better"]:
        which = f"Trial {winner.number}. {contest['sentence']}"
    else:
        which = f"The default, because no trial was better. {contest['sentence']}"
    use_winner = contest is None or contest["better"]
    chosen = apply(winner.parameters, full, spec.scope) if use_winner else full
    settings = chosen.model_dump(mode="json")
    preset = PRESETS[full.preset].model_dump(mode="json")
    changed = {"preset": full.preset} | _changed(preset, settings)
    table = tomli_w.dumps(changed | {"provenance": provenance})
    return f"# {which}\n# nsecast train --config best.toml\n\n{table}"


def _row(trial: Trial, histories: Histories) -> dict[str, Any]:
    folds = {f"fold_{fold}": fold_score(jobs) for fold, jobs in enumerate(histories, start=1)}
    return {
        "trial": trial.number,
        "origin": trial.origin,
        "state": trial.state,
        "seed": trial.seed,
        "score": trial.score,
        "folds": sum(score is not None for score in folds.values()),
        "epochs": sum(len(job) for jobs in histories for job in jobs),
        "weights": trial.weights,
        "seconds": trial.seconds,
        "reason": trial.reason,
        **trial.parameters,
        **folds,
    }


def _embedding(
    spec: SearchSpec, trials: Sequence[Trial], histories: dict[int, Histories]
) -> dict[str, Any] | None:
    """Compare the embedding sizes of the finished comparison trials."""
    if spec.scope != GENERAL:
        return None
    scores: dict[int, dict[tuple[int, int], float]] = {}
    for trial in trials:
        if trial.origin == "sweep" and trial.state == "done":
            fits = scores.setdefault(int(trial.parameters["embedding_dim"]), {})
            for fold, (job,) in enumerate(histories[trial.number]):
                fits[fold, trial.seed] = best_total(job)
    return compare(scores, int(spec.default["embedding_dim"]))


def _changed(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name, value in values.items():
        old = base.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _changed(old, value):
                result[name] = inner
        elif value != old and value is not None:
            result[name] = value
    return result
