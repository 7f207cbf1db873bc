"""The result of a search and its files; written by the search, read by the report.

==================  ====================================================================================
``result.json``     `Tuning.info`
``trials.csv``      `Tuning.trials`
``curves.csv``      `Tuning.curves`
``best.toml``       settings that ``nsecast train --config`` takes
``report.html``     the report
==================  ====================================================================================
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import storage

TRIAL_COLUMNS = (
    "trial",
    "origin",
    "state",
    "seed",
    "score",
    "folds",
    "epochs",
    "weights",
    "seconds",
    "reason",
)
"""Columns of ``trials.csv``, besides one for each parameter and ``fold_1`` to ``fold_K``."""
CURVE_COLUMNS = ("trial", "fold", "epoch", "loss", "val_loss", "score")


@dataclass(frozen=True)
class Tuning:
    """One search.

    Attributes
    ----------
    info : dict
        ``id``; ``made`` (ISO time); ``model`` ("general", "specific:SCOM" or "specific:all"); ``preset``;
        ``source`` and ``data_sha256`` of the prices; ``universe_sha256``; ``quick`` (bool); ``seed``;
        ``epochs`` of a fold; ``horizons`` in days; ``folds``, a list of ``{"train_end", "valid_end"}``;
        ``parameters``, by name ``{"low", "high", "log"}`` or ``{"choices"}``; ``default`` and ``winner``, by
        parameter; ``winner_trial``; ``versions``; ``cpus``; ``seconds``; ``contest``, None before it, else
        ``{"seeds", "default", "winner", "gain", "noise", "better", "sentence"}`` where ``default`` and
        ``winner`` are lists with ``{"seed", "total", "rel_mae", "rel_rmse"}`` of each refit on the test part
        (the last two by horizon); ``embedding``, None if sizes were not compared, else ``{"sizes": [{"size",
        "fits", "score", "difference", "low", "high"}], "default", "sufficient", "because"}``, the differences
        in score to the default size, paired by fold and seed, with their 95 % interval.
    trials : DataFrame
        A row per trial, see ``TRIAL_COLUMNS``. ``origin`` is "sweep" (a comparison trial: the default, or the
        default with another embedding size, never stopped early) or "search"; ``state`` is done, stopped
        (early), failed or interrupted; ``score`` is the mean over the folds reached of
        `train.run.scores.Score.total` on validation (naive = 1, lower is better), comparable only if
        ``state`` is done; ``weights`` is the size of the network.
    curves : DataFrame
        A row per trial, fold and epoch, see ``CURVE_COLUMNS``; ``score`` is that of the epoch.
    """

    info: dict[str, Any]
    trials: pd.DataFrame
    curves: pd.DataFrame

    @property
    def parameters(self) -> list[str]:
        """Names of the searched parameters, in the order of the table's columns."""
        return [name for name in self.trials.columns if name in self.info["parameters"]]

    def save(self, folder: Path) -> None:
        """Write all three files, each atomically."""
        for name, table in (("trials.csv", self.trials), ("curves.csv", self.curves)):
            storage.write_bytes(folder / name, table.to_csv(index=False).encode())
        storage.write_json(folder / "result.json", storage.finite(self.info))

    @classmethod
    def load(cls, folder: Path) -> "Tuning":
        """Read a search's folder; raises OSError if it has no result."""
        return cls(
            json.loads((folder / "result.json").read_bytes()),
            pd.read_csv(folder / "trials.csv"),
            pd.read_csv(folder / "curves.csv"),
        )


def finished(tuning: Tuning) -> pd.DataFrame:
    """Return the trials whose scores can be compared, best first."""
    trials = tuning.trials
    return trials[(trials["state"] == "done") & np.isfinite(trials["score"])].sort_values("score")


def cleaned(tuning: Tuning) -> Tuning:
    """Return the result as if read from its files: numeric columns, NaN for infinities, parameters in the
    order of the table's columns."""
    kinds = tuning.info["parameters"]
    info = tuning.info | {"parameters": {name: kinds[name] for name in tuning.trials if name in kinds}}
    names = ["score", "weights", "seconds", *(name for name in tuning.trials if name.startswith("fold_"))]
    numbers = {name: pd.to_numeric(tuning.trials[name]).replace([np.inf, -np.inf], np.nan) for name in names}
    curves = tuning.curves.assign(score=pd.to_numeric(tuning.curves["score"]))
    return replace(tuning, info=info, trials=tuning.trials.assign(**numbers), curves=curves)


def winner(tuning: Tuning) -> pd.DataFrame:
    """Return the winner's row, else that of the best finished trial; empty if none finished."""
    done = finished(tuning)
    rows = done[done["trial"] == tuning.info["winner_trial"]]
    return rows if len(rows) else done.head(1)


def trials_with(tuning: Tuning, values: dict[str, Any]) -> pd.DataFrame:
    """Return the trials with exactly these parameters, in any state."""
    trials = tuning.trials
    same = np.full(len(trials), bool(values))
    for name in tuning.parameters:
        same &= np.array([same_value(value, values.get(name)) for value in trials[name]], dtype=bool)
    return trials[same]


def default_score(tuning: Tuning) -> float | None:
    """Return the mean validation score of the default's finished trials; None if there are none."""
    trials = trials_with(tuning, tuning.info["default"])
    scores = trials.loc[(trials["state"] == "done") & np.isfinite(trials["score"]), "score"]
    return float(scores.mean()) if len(scores) else None


def same_value(value: Any, wanted: Any) -> bool:
    """Return whether a value of a table equals a parameter, whatever their types."""
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return bool(np.isclose(value, wanted, rtol=1e-6, atol=0))
    return str(value) == str(wanted)
