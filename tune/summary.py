"""Build the result of a search: the tables of its trials, and settings to train with."""

import datetime as dt
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import tomli_w

from common.presets import PRESETS, TrainConfig
from tune.embedding import compare
from tune.results import TRIAL_COLUMNS, Tuning
from tune.space import apply
from tune.spec import SearchSpec
from tune.trial import Trial, is_default

VERSIONS = ("nsecast", "ray", "keras", "tensorflow", "optuna")
PROVENANCE = ("made", "model", "source", "data_sha256", "universe_sha256", "seed", "versions")
"""Entries of `Tuning.info` that ``best.toml`` repeats."""


def tuning_of(
    spec: SearchSpec, trials: Sequence[Trial], contest: dict[str, Any] | None, *, cpus: int
) -> Tuning:
    """Return the table and figures of all trials so far."""
    folds = [f"fold_{fold}" for fold in range(1, len(spec.folds) + 1)]
    rows = [
        vars(trial)
        | {"trial": trial.number, "folds": len(trial.fold_scores), **trial.parameters}
        | dict(zip(folds, trial.fold_scores, strict=False))
        for trial in trials
    ]
    table = pd.DataFrame(rows, columns=[*TRIAL_COLUMNS, *spec.default, *folds])
    compared = table[(table["origin"] == "sweep") & (table["state"] == "done")]
    size = spec.default.get("embedding_dim")
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
        "folds": spec.as_dict()["folds"],
        "parameters": spec.parameters(),
        "default": spec.default,
        "winner": winner.parameters if winner else None,
        "winner_trial": winner.number if winner else None,
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "cpus": cpus,
        "seconds": round(sum(trial.seconds for trial in trials), 1),
        "contest": contest,
        "embedding": compare(compared, folds, int(size)) if size is not None else None,
    }
    return Tuning(info, table)


def winner_of(spec: SearchSpec, trials: Sequence[Trial]) -> Trial | None:
    """Return the best finished trial among the proposals and the default; None if none finished."""
    candidates = [
        trial
        for trial in trials
        if trial.state == "done" and (trial.origin == "search" or is_default(spec, trial))
    ]
    return min(candidates, key=lambda trial: math.inf if trial.score is None else trial.score, default=None)


def best_toml(spec: SearchSpec, full: TrainConfig, tuning: Tuning) -> str:
    """Return ``best.toml``: the settings that differ from the preset, and the result's ``provenance``.

    The settings are the winner's if it was better or was not compared, else the default's. ``full`` are
    the user's settings, without the reductions of a quick search.
    """
    info, trial, contest = tuning.info, tuning.info["winner_trial"], tuning.info["contest"]
    if contest is None:
        which = f"Trial {trial}, the best on validation; not compared with the default on the test part."
    elif contest["better"]:
        which = f"Trial {trial}. {contest['sentence']}"
    else:
        which = f"The default, because no trial was better. {contest['sentence']}"
    use_winner = contest is None or contest["better"]
    chosen = apply(info["winner"], full, spec.scope) if use_winner else full
    provenance = {"search": info["id"], **{name: info[name] for name in PROVENANCE}}
    provenance |= {"trials": len(tuning.trials), "trial": trial, "space": info["parameters"]}
    provenance["score"] = float(tuning.winner["score"].iloc[0])
    settings = chosen.model_dump(mode="json")
    preset = PRESETS[full.preset].model_dump(mode="json")
    changed = {"preset": full.preset} | _changed(preset, settings)
    table = tomli_w.dumps(changed | {"provenance": provenance})
    return f"# {which}\n# nsecast train --config best.toml\n\n{table}"


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
