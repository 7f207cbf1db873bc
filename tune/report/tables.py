"""The tables of the search's report."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tune import labels
from tune.findings import Importance, trials_with
from tune.report.listing import Column, Spread, exact, listing, percent, score, signed, text, whole
from tune.results import Tuning

ORIGINS = {"sweep": "for comparison", "search": "proposal"}


def trials_table(tuning: Tuning) -> str:
    """Every trial, best first; the scores of those that did not finish stand in a column of their own."""
    default, winner = set(trials_with(tuning, tuning.info["default"])["trial"]), tuning.info["winner_trial"]
    rows = []
    order = tuning.trials.assign(
        late=(tuning.trials["state"] != "done").astype(int),
    ).sort_values(["late", "score"], na_position="last")
    for row in order.to_dict(orient="records"):
        done = row["state"] == "done"
        notes = ["winner"] * (row["trial"] == winner) + ["default"] * (row["trial"] in default)
        rows.append(
            row
            | {"score": row["score"] if done else None, "partial": None if done else row["score"]}
            | {"origin": ORIGINS.get(row["origin"], row["origin"]), "notes": ", ".join(notes)}
        )
    columns = [
        Column("trial", "trial"),
        Column("score", "score", score),
        text("state", "state"),
        text("notes", "which"),
        *(Column(name, labels.label(name)) for name in tuning.parameters),
        text("origin", "from"),
        Column("seed", "seed"),
        Column("weights", "weights", whole),
        Column("seconds", "seconds", whole),
        Column("epochs", "epochs"),
        Column("folds", "folds"),
        *(Column(f"fold_{number}", f"fold {number}", exact) for number in _folds(tuning)),
        Column("partial", "score when it ended", exact),
        text("reason", "reason"),
    ]
    caption = f"All {len(rows)} trials, best first (score: naive = 1)"
    return listing(
        rows, columns, caption, marked=lambda row: "winner" in row["notes"], name="trials", sorted_by="score"
    )


def configurations_table(tuning: Tuning) -> str:
    """The default and the winner, parameter by parameter."""
    default, winner = tuning.info["default"], tuning.info["winner"] or {}
    rows = [
        {
            "name": labels.label(name),
            "default": default.get(name),
            "winner": winner.get(name),
            "range": _range(kind),
        }
        for name, kind in tuning.info["parameters"].items()
    ]
    columns = [text("name", "parameter"), Column("default", "default"), Column("winner", "winner")]
    columns.append(text("range", "searched"))
    return listing(rows, columns, "The default and the winner, parameter by parameter")


def contest_table(held: dict[str, Any], horizons: Sequence[str]) -> str:
    """Each refit on the test part, with mean and spread over the seeds."""
    ratios = {"rel_mae": "relMAE", "rel_rmse": "relRMSE"}
    names = {
        f"{key}_{place}": f"{title}, {horizon}"
        for key, title in ratios.items()
        for place, horizon in enumerate(horizons)
    }
    rows: list[dict[str, Any]] = []
    for side in ("default", "winner"):
        own = [{"seed": str(row["seed"]), "total": row["total"], **_by_horizon(row)} for row in held[side]]
        frame = pd.DataFrame(own).drop(columns="seed")
        own.append({"seed": "mean", **frame.mean().to_dict()})
        if len(held[side]) > 1:
            own.append({"seed": "spread", **{key: Spread(value) for key, value in frame.std().items()}})
        rows += [{"side": side, **row} for row in own]
    columns = [text("side", "configuration"), text("seed", "seed"), Column("total", "total", score)]
    columns += [Column(key, heading, score) for key, heading in names.items()]
    caption = "The contest on the test part (naive = 1; spread: standard deviation over the seeds)"
    return listing(rows, columns, caption, marked=lambda row: row["seed"] == "mean", name="contest-table")


def sizes_table(embedding: dict[str, Any]) -> str:
    rows = sorted(embedding["sizes"], key=lambda row: row["size"])
    default = embedding["default"]
    columns = [
        Column("size", "embedding size"),
        Column("score", "score", score),
        Column("difference", f"less size {default}’s", signed),
        Column("low", "95 % from", signed),
        Column("high", "to", signed),
        Column("fits", "fits"),
    ]
    caption = f"Embedding sizes beside size {default}, paired by fold and seed"
    return listing(rows, columns, caption, marked=lambda row: row["size"] == default)


def importance_table(found: Importance) -> str:
    rows = [
        {"name": labels.label(name), "share": share, "chance": found.chance[name]}
        | {"verdict": "more than chance" if share > found.chance[name] else "may be chance"}
        for name, share in found.share.items()
    ]
    columns = [text("name", "parameter"), Column("share", "importance, %", percent)]
    columns += [Column("chance", "chance alone reaches, %", percent), text("verdict", "verdict")]
    return listing(rows, columns, "Importance of each parameter")


def curves_table(tuning: Tuning) -> str:
    """The learning curves' figures: a row per trial, a column per epoch."""
    curves = tuning.curves[tuning.curves["fold"] == 1]
    wide = curves.pivot_table(index="trial", columns="epoch", values="score").reset_index()
    epochs = [name for name in wide.columns if name != "trial"]
    rows = [{str(key): value for key, value in row.items()} for row in wide.to_dict(orient="records")]
    columns = [Column("trial", "trial"), *(Column(str(each), f"epoch {each}", exact) for each in epochs)]
    return listing(rows, columns, "Validation score of the first fold by epoch")


def front_table(tuning: Tuning, front: pd.DataFrame, cost: str) -> str:
    rows = front.to_dict(orient="records")
    columns = [Column(cost, cost, whole), Column("score", "score", score), Column("trial", "trial")]
    columns += [Column(name, labels.label(name)) for name in tuning.parameters]
    return listing(rows, columns, f"The best for the price: {cost}")


def folds_table(tuning: Tuning) -> str:
    rows = [{"fold": number, **fold} for number, fold in enumerate(tuning.info["folds"], start=1)]
    columns = [
        Column("fold", "fold"),
        text("train_end", "trained on targets up to"),
        text("valid_end", "judged by those after it, up to"),
    ]
    return listing(rows, columns, "The folds")


def _by_horizon(row: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key in ("rel_mae", "rel_rmse"):
        values = row[key].values() if isinstance(row[key], dict) else row[key]
        found |= {f"{key}_{place}": value for place, value in enumerate(values)}
    return found


def _range(kind: dict[str, Any]) -> str:
    if "choices" in kind:
        return ", ".join(map(labels.said, kind["choices"]))
    return f"{labels.said(kind['low'])} to {labels.said(kind['high'])}" + (
        ", log scale" if kind.get("log") else ""
    )


def _folds(tuning: Tuning) -> list[int]:
    count = len(tuning.info["folds"])
    return [number for number in range(1, count + 1) if f"fold_{number}" in tuning.trials]
