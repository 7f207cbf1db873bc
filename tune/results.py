"""The result of a search and its files; written by the search, read by the report.

==================  ====================================================================================
``result.json``     `Tuning.info`
``trials.csv``      `Tuning.trials`
``best.toml``       settings that ``nsecast train --config`` takes
``report.html``     the report
==================  ====================================================================================
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from tune import labels

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
    """

    info: dict[str, Any]
    trials: pd.DataFrame

    @property
    def parameters(self) -> list[str]:
        """Names of the searched parameters, in the order of the table's columns."""
        return [name for name in self.trials.columns if name in self.info["parameters"]]

    @property
    def finished(self) -> pd.DataFrame:
        """The trials whose scores can be compared, best first."""
        trials = self.trials
        return trials[(trials["state"] == "done") & np.isfinite(trials["score"])].sort_values("score")

    @property
    def winner(self) -> pd.DataFrame:
        """The winner's row; empty if there is none."""
        return self.trials[self.trials["trial"] == self.info["winner_trial"]]

    @property
    def default_trials(self) -> pd.DataFrame:
        """The default's trials: those for comparison that have its embedding size."""
        trials, size = self.trials, self.info["default"].get("embedding_dim")
        compared = trials["origin"] == "sweep"
        return trials[compared if size is None else compared & (trials["embedding_dim"] == size)]

    @property
    def default_score(self) -> float | None:
        """The mean validation score of the default's finished trials; None if there are none."""
        scores = self.finished["score"].filter(self.default_trials.index)
        return float(scores.mean()) if len(scores) else None

    @property
    def kinds(self) -> str:
        """The numbers of proposals and comparison trials as text."""
        compared = int((self.trials["origin"] == "sweep").sum())
        return labels.counted(len(self.trials) - compared, compared)

    def save(self, folder: Path) -> "Tuning":
        """Write both files, each atomically, and return the result as read from them."""
        storage.write_bytes(folder / "trials.csv", self.trials.to_csv(index=False).encode())
        storage.write_json(folder / "result.json", storage.finite(self.info))
        return self.load(folder)

    @classmethod
    def load(cls, folder: Path) -> "Tuning":
        """Read a search's folder; raises OSError if it has no result."""
        info = json.loads(storage.up_to_date(folder / "result.json").read_bytes())
        return cls(info, pd.read_csv(storage.up_to_date(folder / "trials.csv")))
