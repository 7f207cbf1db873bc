"""The tables of the search's report."""

from collections.abc import Callable
from typing import Any

import optuna
import pandas as pd

from common.pages.tables import Column, Table, fixed, ratio
from tune import labels
from tune.report.charts import finished
from tune.results import Tuning

ORIGINS = {"sweep": "for comparison", "search": "proposal"}
FEWEST = 10
"""Finished proposals that importance needs."""
RATIOS = {"rel_mae": "relMAE", "rel_rmse": "relRMSE"}
exact, signed, rounded, percent = fixed(".4f"), fixed("+.4f"), fixed(",.0f"), fixed(".0f", 100)


def score(value: float) -> str:
    """Return a score with four digits, marked as better or worse than naive."""
    return ratio(value, digits=4)


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
    default = set(tuning.default_trials["trial"])
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
        | {"range": labels.range_text(tuning.info["parameters"][name])}
        for name in tuning.parameters
    ]
    named = columns({"name": ("parameter", str), "default": "default", "winner": "winner"})
    named += columns({"range": ("searched", str)})
    return Table(rows, named, "The default and the winner, parameter by parameter")


def contest_table(tuning: Tuning) -> Table | None:
    """Return each refit on the test part, and the mean over the seeds; None without a comparison."""
    comparison = tuning.info["contest"]
    if not comparison or not comparison["default"] or not comparison["winner"]:
        return None
    rows: list[dict[str, Any]] = []
    for side in ("default", "winner"):
        frame = pd.DataFrame([{"total": row["total"], **_by_horizon(row)} for row in comparison[side]])
        frame.index = pd.Index([str(row["seed"]) for row in comparison[side]])
        by_seed = {**frame.to_dict(orient="index"), "mean": frame.mean().to_dict()}
        rows += [{"side": side, "seed": seed, **values} for seed, values in by_seed.items()]
    named: dict[str, Any] = {"side": ("configuration", str), "seed": ("seed", str), "total": ("total", score)}
    for key, title in RATIOS.items():
        for position, horizon in enumerate(tuning.info["horizons"]):
            named[f"{key}_{position}"] = (f"{title}, {horizon}\N{NO-BREAK SPACE}d", score)
    return Table(
        rows,
        columns(named),
        "The comparison on the test part (naive = 1)",
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


def importance_table(study: optuna.Study) -> Table | None:
    """Return Optuna's importance of each parameter (PED-ANOVA) in a study of proposals.

    None with fewer than ``FEWEST`` finished proposals, of which it is noise.

    Reference: Watanabe, Bansal and Hutter, IJCAI 2023.
    """
    if len(finished(study)) < FEWEST:
        return None
    shares = optuna.importance.get_param_importances(study)
    rows = [{"name": labels.label(name), "share": share} for name, share in shares.items()]
    named = columns({"name": ("parameter", str), "share": ("importance, %", percent)})
    return Table(rows, named, "Importance of each parameter, as a share of the sum")


def folds_table(tuning: Tuning) -> Table:
    rows = [{"fold": number, **fold} for number, fold in enumerate(tuning.info["folds"], start=1)]
    trained, judged = "trained on targets up to", "judged by those after it, up to"
    named = columns({"fold": "fold", "train_end": (trained, str), "valid_end": (judged, str)})
    return Table(rows, named, "The folds")


def _by_horizon(row: dict[str, Any]) -> dict[str, float]:
    return {f"{key}_{position}": value for key in RATIOS for position, value in enumerate(row[key])}
