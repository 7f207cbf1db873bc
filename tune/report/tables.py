"""The tables of the search's report."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from common.pages.tables import Column, Table, fixed, ratio
from tune import labels
from tune.report.statistics import Importance
from tune.results import Tuning, trials_with

ORIGINS = {"sweep": "for comparison", "search": "proposal"}
RATIOS = {"rel_mae": "relMAE", "rel_rmse": "relRMSE"}
exact, signed, rounded, percent = fixed(".4f"), fixed("+.4f"), fixed(",.0f"), fixed(".0f", 100)


class Spread(float):
    """A standard deviation of scores, which is not compared with naive."""


def score(value: float) -> str:
    """Return a score with four digits, marked as better or worse than naive."""
    return exact(value) if isinstance(value, Spread) else ratio(value, digits=4)


def columns(named: dict[str, str | tuple[str, Callable[..., str]]]) -> list[Column]:
    """Return columns by name: a heading, or a heading and a formatter; ``str`` makes a text column."""
    specs = {
        name: spec if isinstance(spec, tuple) else (spec, labels.value_text) for name, spec in named.items()
    }
    return [Column(name, heading, show, number=show is not str) for name, (heading, show) in specs.items()]


def parameters(tuning: Tuning) -> dict[str, Any]:
    return {name: labels.label(name) for name in tuning.parameters}


def trials_table(tuning: Tuning) -> Table:
    """Return all trials, best first; scores of unfinished trials have a column of their own."""
    trials, done = tuning.trials, tuning.trials["state"] == "done"
    default = set(trials_with(tuning, tuning.info["default"])["trial"])
    notes = [
        ", ".join(["winner"] * (trial == tuning.info["winner_trial"]) + ["default"] * (trial in default))
        for trial in trials["trial"]
    ]
    shown = trials.assign(
        unfinished=~done,
        partial=trials["score"].where(~done),
        notes=notes,
        origin=trials["origin"].replace(ORIGINS),
    )
    shown = shown.sort_values(["unfinished", "score"], na_position="last").assign(
        score=trials["score"].where(done)
    )
    folds = [n for n in range(1, len(tuning.info["folds"]) + 1) if f"fold_{n}" in trials]
    named = {
        **{"trial": "trial", "score": ("score", score), "state": ("state", str), "notes": ("which", str)},
        **parameters(tuning),
        **{"origin": ("from", str), "seed": "seed", "weights": ("weights", rounded)},
        **{"seconds": ("seconds", rounded), "epochs": "epochs", "folds": "folds"},
        **{f"fold_{n}": (f"fold {n}", exact) for n in folds},
        **{"partial": ("score when it ended", exact), "reason": ("reason", str)},
    }
    return Table(
        shown.to_dict(orient="records"),
        columns(named),
        f"All {len(trials)} trials, best first (score: naive = 1)",
        name="trials",
        marked=lambda row: "winner" in row["notes"],
        sorted_by="score",
    )


def configurations_table(tuning: Tuning) -> Table:
    """Return the default and the winner, parameter by parameter."""
    default, winner = tuning.info["default"], tuning.info["winner"] or {}
    rows = [
        {"name": labels.label(name), "default": default.get(name), "winner": winner.get(name)}
        | {"range": _range(kind)}
        for name, kind in tuning.info["parameters"].items()
    ]
    named = columns({"name": ("parameter", str), "default": "default", "winner": "winner"})
    named += columns({"range": ("searched", str)})
    return Table(rows, named, "The default and the winner, parameter by parameter")


def contest_table(tuning: Tuning) -> Table | None:
    """Return each refit on the test part with mean and spread over the seeds; None without a comparison."""
    comparison = tuning.info["contest"]
    if not comparison or not comparison["default"] or not comparison["winner"]:
        return None
    rows: list[dict[str, Any]] = []
    for side in ("default", "winner"):
        frame = pd.DataFrame([{"total": row["total"], **_by_horizon(row)} for row in comparison[side]])
        frame.index = pd.Index([str(row["seed"]) for row in comparison[side]])
        values_by_seed = {**frame.to_dict(orient="index"), "mean": frame.mean().to_dict()}
        if len(frame) > 1:
            values_by_seed["spread"] = {key: Spread(value) for key, value in frame.std().items()}
        rows += [{"side": side, "seed": seed, **values} for seed, values in values_by_seed.items()]
    named: dict[str, Any] = {"side": ("configuration", str), "seed": ("seed", str), "total": ("total", score)}
    for key, title in RATIOS.items():
        for position, horizon in enumerate(tuning.info["horizons"]):
            named[f"{key}_{position}"] = (f"{title}, {horizon}\N{NO-BREAK SPACE}d", score)
    return Table(
        rows,
        columns(named),
        "The contest on the test part (naive = 1; spread: standard deviation over the seeds)",
        name="contest-table",
        marked=lambda row: row["seed"] == "mean",
    )


def sizes_table(tuning: Tuning) -> Table | None:
    """Return each embedding size with the difference to the default size; None if sizes were not compared."""
    embedding = tuning.info["embedding"]
    if not embedding or not embedding["sizes"]:
        return None
    default = embedding["default"]
    named: dict[str, Any] = {
        **{"size": "embedding size", "score": ("score", score)},
        **{"difference": (f"less size {default}’s", signed), "low": ("95 % from", signed)},
        **{"high": ("to", signed), "fits": "fits"},
    }
    return Table(
        sorted(embedding["sizes"], key=lambda row: row["size"]),
        columns(named),
        f"Embedding sizes beside size {default}, paired by fold and seed",
        marked=lambda row: row["size"] == default,
    )


def importance_table(importance: Importance) -> Table:
    frame = pd.DataFrame(
        {"share": importance.share, "chance": importance.chance}, index=importance.share.index
    )
    verdicts = np.where(frame["share"] > frame["chance"], "more than chance", "may be chance")
    frame = frame.assign(name=frame.index.map(labels.label), verdict=verdicts)
    named = columns({"name": ("parameter", str), "share": ("importance, %", percent)})
    named += columns({"chance": ("chance alone reaches, %", percent), "verdict": ("verdict", str)})
    return Table(frame.to_dict(orient="records"), named, "Importance of each parameter")


def curves_table(tuning: Tuning) -> Table:
    """Return the values of the learning curves: a row per trial, a column per epoch."""
    curves = tuning.curves[tuning.curves["fold"] == 1]
    wide = curves.pivot_table(index="trial", columns="epoch", values="score").rename(columns=str)
    named = columns({"trial": "trial", **{name: (f"epoch {name}", exact) for name in wide}})
    rows = wide.reset_index().to_dict(orient="records")
    return Table(rows, named, "Validation score of the first fold by epoch")


def folds_table(tuning: Tuning) -> Table:
    rows = [{"fold": number, **fold} for number, fold in enumerate(tuning.info["folds"], start=1)]
    trained, judged = "trained on targets up to", "judged by those after it, up to"
    named = columns({"fold": "fold", "train_end": (trained, str), "valid_end": (judged, str)})
    return Table(rows, named, "The folds")


def _by_horizon(row: dict[str, Any]) -> dict[str, float]:
    return {f"{key}_{position}": value for key in RATIOS for position, value in enumerate(row[key])}


def _range(kind: dict[str, Any]) -> str:
    if "choices" in kind:
        return ", ".join(map(labels.value_text, kind["choices"]))
    scale = ", log scale" if kind.get("log") else ""
    return f"{labels.value_text(kind['low'])} to {labels.value_text(kind['high'])}{scale}"
