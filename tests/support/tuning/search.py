"""A small search over the synthetic panel, for tests of the code around a trial."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from common import storage
from common.exchange.universe import Universe
from common.presets import train_config
from common.prices.panel import Panel
from support.prices.panel import SYMBOLS, made_panel
from train.run.plan import stored_result
from tune.search_plan import SearchBudget, SearchPlan, plan_search
from tune.space import Parameters, SearchSpace
from tune.study import Study, distributions
from tune.trial import Trial, progress_by_epoch

UNIVERSE = Universe.from_symbols(SYMBOLS, specific=["MOVES", "SPLITS", "SHORT"])
SETTINGS = {
    "window": {"size": 16, "network_days": 12, "horizons": [1, 3]},
    "network": {"embedding_dim": 3, "lstm_units": [4, 4], "dense_units": 4},
    "general": {"batch_size": 16, "epoch_share": 1.0},
    "scratch": {"batch_size": 16},
    "minimum_windows": 20,
    "split": {"train_end": "2021-05-14", "valid_end": "2021-06-18"},
}
SPACE = SearchSpace.parse({"window_size": {"choices": [10, 12, 16]}})
EFFORT = SearchBudget(trials=2, folds=2, epochs=3, windows_per_epoch=32)
PANEL = made_panel()
STATES = {
    "done": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
}


def planned(
    folder: Path, panel: Panel = PANEL, *, effort: SearchBudget = EFFORT, **changes: Any
) -> SearchPlan:
    """A search planned in a folder that is prepared for its trials."""
    config = train_config("residual", {**SETTINGS, **changes.pop("settings", {})})
    wanted = {"space": SPACE, "home": folder, "out": folder / "search", **changes}
    search = plan_search(config, UNIVERSE, panel, effort=effort, **wanted)
    search.seen.save(search.folder / "panel.parquet")
    search.spec.save(search.folder)
    return search


def study_of(search: SearchPlan) -> Study:
    return Study(search.spec, search.folder)


def a_trial(search: SearchPlan, number: int = 0, **changes: Any) -> Trial:
    """The default with some other parameters, not on record."""
    return Trial(number, search.spec.default | changes, 0, search.folder)


def inside(search: SearchPlan, **changes: Any) -> Parameters:
    """A point inside the space, which the default is not."""
    return search.spec.default | {"lstm_1": 20, "lstm_2": 20, "dense_units": 20} | changes


def pretend(search: SearchPlan, trial: Trial, totals: Sequence[float]) -> None:
    """Write what the fits of a trial of the general model would have stored after these epochs."""
    epochs = search.spec.epochs
    for fold in range(len(search.spec.folds)):
        part = totals[fold * epochs : (fold + 1) * epochs]
        if part:
            history = [
                {"epoch": n, "loss": 2.0, "val_loss": total, "rel_mae": total, "total": total}
                for n, total in enumerate(part, start=1)
            ]
            path = trial.fold_dir(fold + 1) / "tasks/general/seed-0/result.json"
            storage.write_json(path, {"history": history})


def is_inside(search: SearchPlan, point: Parameters) -> bool:
    dimensions = search.spec.space.dimensions(search.spec.scope)
    return all(dimension.contains(point[name]) for name, dimension in dimensions.items())


def is_fitted(search: SearchPlan, trial: Trial) -> bool:
    """Whether every fit of every fold has ended."""
    folds = range(1, len(search.spec.folds) + 1)
    return all(stored_result(trial.fold_dir(fold), task.id) for fold in folds for task in search.spec.tasks)


def record(
    search: SearchPlan,
    parameters: Parameters | None = None,
    totals: Sequence[float] = (),
    state: str = "done",
    *,
    origin: str = "search",
    reason: str | None = None,
) -> Trial:
    """Put a trial on the study's record as if it had run so far, and what its fits would have stored."""
    spec, study = search.spec, study_of(search)
    point = parameters or (spec.default if origin == "sweep" else inside(search))
    ranges = distributions(spec.space, spec.scope) if origin == "search" else {}
    trial = Trial(len(study.frozen()), point, 0, search.folder)
    pretend(search, trial, totals)
    reported = {now.work: now.score for now in progress_by_epoch(trial.histories(spec), spec.epochs)}
    attributes = {"origin": "sweep", "seed": 0, "parameters": point} if origin == "sweep" else {}
    study.study.add_trial(
        optuna.trial.create_trial(
            state=STATES[state],
            value=reported[max(reported)] if state in ("done", "stopped") and reported else None,
            params={name: point[name] for name in ranges},
            distributions=ranges,
            user_attrs=attributes | ({"reason": reason} if reason else {}),
            intermediate_values=reported,
        )
    )
    return study_of(search).trials()[trial.number]
