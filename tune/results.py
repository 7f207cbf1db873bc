"""What a search found, as it lies in its folder; written by the search, read by reports.

==================  ====================================================================================
``result.json``     `Tuning.info`
``trials.csv``      `Tuning.trials`
``curves.csv``      `Tuning.curves`
``best.toml``       settings that ``nsecast train --config`` takes
``report.html``     the pictures
==================  ====================================================================================
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
"""Of ``trials.csv``, besides a column for each parameter searched and ``fold_1`` to ``fold_K``."""
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
        ``parameters``, by name
        ``{"low", "high", "log"}`` or ``{"choices"}``; ``default`` and ``winner``, by parameter;
        ``winner_trial``; ``versions``; ``cpus``; ``seconds``; ``contest``, None before it was held, else
        ``{"seeds", "default", "winner", "gain", "noise", "better", "sentence"}`` where ``default`` and
        ``winner`` are lists with ``{"seed", "total", "rel_mae", "rel_rmse"}`` of each refit on the test part
        (the last two by horizon); ``embedding``, None where it was not compared, else ``{"sizes": [{"size",
        "fits", "score", "difference", "low", "high"}], "default", "sufficient", "because"}``, the differences
        in score to the default size, paired by fold and seed, with their 95 % interval.
    trials : DataFrame
        A row per trial, see ``TRIAL_COLUMNS``. ``origin`` is "sweep" (the default, or the default with
        another embedding size, never stopped early) or "search"; ``state`` is done, stopped (early), failed
        or interrupted; ``score`` is the mean over the folds reached of `train.scores.Score.total` on
        validation (naive = 1, lower is better), comparable between trials whose ``state`` is done;
        ``weights`` is the size of the network.
    curves : DataFrame
        A row per trial, fold and epoch, see ``CURVE_COLUMNS``; ``score`` is that epoch's alone.
    """

    info: dict[str, Any]
    trials: pd.DataFrame
    curves: pd.DataFrame

    @property
    def parameters(self) -> list[str]:
        """Names of those searched, in the order of the table's columns."""
        return [name for name in self.trials.columns if name in self.info["parameters"]]

    def save(self, folder: Path) -> None:
        """Write all three files, each whole or not at all."""
        for name, table in (("trials.csv", self.trials), ("curves.csv", self.curves)):
            storage.write_bytes(folder / name, table.to_csv(index=False).encode())
        storage.write_json(folder / "result.json", storage.finite(self.info))

    @classmethod
    def load(cls, folder: Path) -> "Tuning":
        """Read a search's folder; raises OSError if it holds none."""
        return cls(
            json.loads((folder / "result.json").read_bytes()),
            pd.read_csv(folder / "trials.csv"),
            pd.read_csv(folder / "curves.csv"),
        )
