"""The tables of the search's report."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from common.pages.tables import Column, Table, fixed, ratio
from tune import labels
from tune.report.statistics import Importance, pareto_front
from tune.results import Tuning, finished, trials_with

ORIGINS = {"sweep": "for comparison", "search": "proposal"}
RATIOS = {"rel_mae": "relMAE", "rel_rmse": "relRMSE"}
exact, signed, whole, percent = fixed(".4f"), fixed("+.4f"), fixed(",.0f"), fixed(".0f", 100)


class Spread(float):
    """A spread of scores, which is not itself better or worse than naive."""


def score(value: float) -> str:
    """A score next to naive, whose differences are of the fourth digit."""
    return exact(value) if isinstance(value, Spread) else ratio(value, digits=4)


def number(name: str, heading: str, show: Callable[..., str] = labels.said) -> Column:
    return Column(name, heading, show)


def text(name: str, heading: str) -> Column:
    return Column(name, heading, number=False)


def trials_table(tuning: Tuning) -> Table:
    """Every trial, best first; the scores of those that did not finish stand in a column of their own."""
    trials, winner = tuning.trials, tuning.info["winner_trial"]
    default = trials["trial"].isin(trials_with(tuning, tuning.info["default"])["trial"])
    done = trials["state"] == "done"
    notes = (
        (trials["trial"] == winner)
        .map({True: "winner", False: ""})
        .str.cat(default.map({True: "default", False: ""}), sep=", ")
    )
    shown = trials.assign(
        late=~done,
        partial=trials["score"].where(~done),
        notes=notes.str.strip(", "),
        origin=trials["origin"].replace(ORIGINS),
    ).sort_values(["late", "score"], na_position="last")
    shown["score"] = shown["score"].where(done)
    folds = [n for n in range(1, len(tuning.info["folds"]) + 1) if f"fold_{n}" in trials]
    columns = [
        number("trial", "trial"),
        number("score", "score", score),
        text("state", "state"),
        text("notes", "which"),
        *(number(name, labels.label(name)) for name in tuning.parameters),
        text("origin", "from"),
        number("seed", "seed"),
        number("weights", "weights", whole),
        number("seconds", "seconds", whole),
        number("epochs", "epochs"),
        number("folds", "folds"),
        *(number(f"fold_{n}", f"fold {n}", exact) for n in folds),
        number("partial", "score when it ended", exact),
        text("reason", "reason"),
    ]
    return Table(
        shown.to_dict(orient="records"),
        columns,
        f"All {len(trials)} trials, best first (score: naive = 1)",
        name="trials",
        marked=lambda row: "winner" in row["notes"],
        sorted_by="score",
    )


def configurations_table(tuning: Tuning) -> Table:
    """The default and the winner, parameter by parameter."""
    default, winner = tuning.info["default"], tuning.info["winner"] or {}
    rows = [
        {"name": labels.label(name), "default": default.get(name), "winner": winner.get(name)}
        | {"range": _range(kind)}
        for name, kind in tuning.info["parameters"].items()
    ]
    columns = [text("name", "parameter"), number("default", "default"), number("winner", "winner")]
    return Table(
        rows, [*columns, text("range", "searched")], "The default and the winner, parameter by parameter"
    )


def contest_table(tuning: Tuning) -> Table | None:
    """Each refit on the test part, with mean and spread over the seeds; None without a contest."""
    held = tuning.info["contest"]
    if not held or not held["default"] or not held["winner"]:
        return None
    names = {
        f"{key}_{place}": f"{title}, {horizon}\N{NO-BREAK SPACE}d"
        for key, title in RATIOS.items()
        for place, horizon in enumerate(tuning.info["horizons"])
    }
    rows: list[dict[str, Any]] = []
    for side in ("default", "winner"):
        frame = pd.DataFrame([{"total": row["total"], **_by_horizon(row)} for row in held[side]])
        own: list[dict[str, Any]] = [
            {"seed": str(row["seed"])} | values
            for row, values in zip(held[side], frame.to_dict(orient="records"), strict=True)
        ]
        own.append({"seed": "mean"} | frame.mean().to_dict())
        if len(frame) > 1:
            own.append({"seed": "spread"} | {key: Spread(value) for key, value in frame.std().items()})
        rows += [{"side": side, **row} for row in own]
    return Table(
        rows,
        [
            text("side", "configuration"),
            text("seed", "seed"),
            number("total", "total", score),
            *(number(key, heading, score) for key, heading in names.items()),
        ],
        "The contest on the test part (naive = 1; spread: standard deviation over the seeds)",
        name="contest-table",
        marked=lambda row: row["seed"] == "mean",
    )


def sizes_table(tuning: Tuning) -> Table | None:
    """Each embedding size beside the default's; None if sizes were not compared."""
    embedding = tuning.info["embedding"]
    if not embedding or not embedding["sizes"]:
        return None
    default = embedding["default"]
    columns = [
        number("size", "embedding size"),
        number("score", "score", score),
        number("difference", f"less size {default}’s", signed),
        number("low", "95 % from", signed),
        number("high", "to", signed),
        number("fits", "fits"),
    ]
    return Table(
        sorted(embedding["sizes"], key=lambda row: row["size"]),
        columns,
        f"Embedding sizes beside size {default}, paired by fold and seed",
        marked=lambda row: row["size"] == default,
    )


def importance_table(found: Importance) -> Table:
    frame = pd.DataFrame({"share": found.share, "chance": found.chance.reindex(found.share.index)})
    beyond = frame["share"] > frame["chance"]
    frame = frame.assign(
        name=frame.index.map(labels.label),
        verdict=beyond.map({True: "more than chance", False: "may be chance"}),
    )
    columns = [
        text("name", "parameter"),
        number("share", "importance, %", percent),
        number("chance", "chance alone reaches, %", percent),
        text("verdict", "verdict"),
    ]
    return Table(frame.to_dict(orient="records"), columns, "Importance of each parameter")


def curves_table(tuning: Tuning) -> Table:
    """The learning curves' figures: a row per trial, a column per epoch."""
    curves = tuning.curves[tuning.curves["fold"] == 1]
    wide = curves.pivot_table(index="trial", columns="epoch", values="score").rename(columns=str)
    columns = [number(name, f"epoch {name}", exact) for name in wide]
    return Table(
        wide.reset_index().to_dict(orient="records"),
        [number("trial", "trial"), *columns],
        "Validation score of the first fold by epoch",
    )


def front_table(tuning: Tuning, cost: str) -> Table | None:
    """The trials that no cheaper one matches; None where too few trials finished."""
    done = finished(tuning)
    done = done[np.isfinite(done[cost])]
    if len(done) < 2:
        return None
    front = done.iloc[pareto_front(done[cost].to_numpy(float), done["score"].to_numpy(float))]
    columns = [number(cost, cost, whole), number("score", "score", score), number("trial", "trial")]
    columns += [number(name, labels.label(name)) for name in tuning.parameters]
    return Table(front.to_dict(orient="records"), columns, f"The best for the price: {cost}")


def folds_table(tuning: Tuning) -> Table:
    rows = [{"fold": place, **fold} for place, fold in enumerate(tuning.info["folds"], start=1)]
    until = (
        text("train_end", "trained on targets up to"),
        text("valid_end", "judged by those after it, up to"),
    )
    return Table(rows, [number("fold", "fold"), *until], "The folds")


def _by_horizon(row: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key in RATIOS:
        values = row[key].values() if isinstance(row[key], dict) else row[key]
        found |= {f"{key}_{place}": value for place, value in enumerate(values)}
    return found


def _range(kind: dict[str, Any]) -> str:
    if "choices" in kind:
        return ", ".join(map(labels.said, kind["choices"]))
    return f"{labels.said(kind['low'])} to {labels.said(kind['high'])}" + (
        ", log scale" if kind.get("log") else ""
    )
