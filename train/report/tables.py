"""Tables of the release's report, made of the evidence's data frames."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from common.pages.tables import Column, Table, fixed, ratio
from train.evaluation.evidence import Evidence
from train.evaluation.summary import LEVELS
from train.report.charts import OURS, RATIOS, with_ours

MOST_ROWS = 500
"""Longer tables are cut, so that the size of the page has a bound."""
TESTED = {"rel_mae": "dm_abs_p", "rel_rmse": "dm_sq_p"}
"""The test of each ratio."""
LABELS = {
    "mae": "MAE, KES",
    "naive_mae": "naive MAE, KES",
    "rmse": "RMSE, KES",
    "naive_rmse": "naive RMSE, KES",
    "mape": "MAPE, %",
    "naive_mape": "naive MAPE, %",
    **RATIOS,
    "dm_abs_p": "p, absolute error",
    "dm_sq_p": "p, squared error",
    "dm_abs_stat": "DM statistic, absolute",
    "dm_sq_stat": "DM statistic, squared",
    "n": "forecasts",
    "forecast": "mean forecast, %",
    "seen": "moved, %",
    "horizon": "days ahead",
    "moved_share": "moved, %",
    "unchanged_share": "unchanged, %",
    "share_of_variance": "share of variance, %",
    "turnover_rank": "rank by turnover",
    "source": "published price is",
    "bin": "chance of a move",
    "val_loss": "validation loss",
    "loss": "training loss",
    "reasons": "reasons for the confidence",
    "size": "embedding size",
    "difference": "difference in score",
    "low": "interval from",
    "high": "interval to",
    **{f"cover{level}": f"in {level} % interval, %" for level in LEVELS},
    **{f"width{level}": f"{level} % width, % of price" for level in LEVELS},
}
HEADLINE = {
    "n": "Forecasts scored (moving stocks)",
    "mae": "MAE of the published price, KES",
    "naive_mae": "MAE of naive, KES",
    "rel_mae": "relMAE (published), by errors in % of the last price",
    "rel_rmse": "relRMSE (raw)",
    "dm_abs_p": "Diebold-Mariano p, absolute errors",
    "dm_sq_p": "Diebold-Mariano p, squared errors",
    "cover90": "Inside the 90 % interval, %",
    "width90": "Width of the 90 % interval, % of the price",
    "called_share": "Moves called, % of forecasts",
    "direction_n": "Called moves where the price moved",
    "direction": "Direction right, % of those",
}
FORMATS = (
    (("dm_abs_p", "dm_sq_p"), lambda value: "<0.001" if value < 0.001 else f"{value:.3f}"),
    (("called_share", "forecast", "seen", "moved_share", "unchanged_share"), fixed(".1f", 100)),
    (("share_of_variance", *(f"cover{level}" for level in LEVELS)), fixed(".1f", 100)),
    (("mape", "naive_mape", "bias", *(f"width{level}" for level in LEVELS)), fixed(".2f")),
    (("score", "difference", "low", "high"), fixed(".4f")),
    (("mae", "naive_mae", "rmse", "naive_rmse"), fixed(",.3f")),
    (("n", "horizon", "rank", "turnover_rank", "direction_n", "symbols", "epoch"), fixed(",.0f")),
)
SHOWN = {key: show for keys, show in FORMATS for key in keys} | dict.fromkeys(TESTED, ratio)
TEXT = (
    *("symbol", "name", "tier", "sector", "model", "source", "confidence", "flags", "reasons"),
    *("verdict", "reason", "network", "group", "bin"),
)
MATRIX = (
    *("name", "rel_mae", "rel_rmse", "mae", "naive_mae", "rank", "confidence", "flags", "tier", "sector"),
    *("model", "source", "mape", "naive_mape", "rmse", "naive_rmse", "dm_abs_p", "dm_sq_p"),
    *("cover90", "width90", "n", "reasons"),
)
"""Columns of the performance matrix after the symbol; figures by horizon are shown one horizon at a time."""


def shown_as(key: str, value: Any, p: float | None = None) -> Any:
    """A value as text or Markup, by the kind of its column."""
    if not isinstance(value, int | float):
        return str(value).replace("_", " ") if key == "source" else str(value)
    if key in TESTED:
        return ratio(value, p)
    show = SHOWN.get(key, fixed(",.0f" if isinstance(value, int) else ".3f"))
    return show(value)


def columns(names: Sequence[str], *, hidden: Sequence[str] = (), switched: bool = False) -> list[Column]:
    """Columns by names such as ``mae`` or ``mae_5d``.

    Parameters
    ----------
    hidden : keys of columns that are not shown; a test's p then only puts a star to its ratio
    switched : the page shows figures of one horizon at a time
    """
    parts = [(name, *_parts(name)) for name in names]
    several = not switched and len({horizon for *_, horizon in parts} - {None}) > 1
    found = []
    for name, key, horizon in parts:
        if key in hidden:
            continue
        heading = LABELS.get(key, key.replace("_", " "))
        heading += f", {horizon} d" if several and horizon else ""
        found.append(
            Column(
                name,
                heading,
                lambda value, p=None, key=key: shown_as(key, value, p),
                number=key not in TEXT,
                key=key,
                horizon=horizon if switched else None,
                test=name.replace(key, TESTED[key]) if key in TESTED else "",
            )
        )
    return found


def table(frame: pd.DataFrame, caption: str, *, ours: str = "", hidden: Sequence[str] = ()) -> Table:
    """A data frame as a table; ``ours``: the row that stands out, by its first column."""
    names = [str(name) for name in frame.columns]
    return Table(
        frame.to_dict(orient="records"),
        columns(names, hidden=hidden),
        caption,
        marked=lambda row: bool(ours) and row[names[0]] == ours,
        most=MOST_ROWS,
    )


def matrix_table(evidence: Evidence) -> Table:
    """Every counter in one table that the page sorts, filters and switches between horizons."""
    matrix = evidence.matrix
    names = ["symbol"]
    for key in MATRIX:
        names += [name for name in (key, *_by_horizon(key, evidence.horizons)) if name in matrix]
    caption = f"Performance of all {len(matrix)} counters on the test part, next to naive"
    rows = matrix.astype(object).where(matrix.notna(), None).to_dict(orient="records")
    return Table(rows, columns(names, switched=True), caption, name="counters")


def headline_columns() -> list[Column]:
    """The headline figures, which stand one below the other."""
    found = [replace(column, heading=HEADLINE[column.key]) for column in columns([*HEADLINE])]
    return [*found[:-1], replace(found[-1], show=fixed(".1f", 100))]


def rivals_table(evidence: Evidence) -> Table | None:
    """What simple rivals reach on the same windows, naive 1 by definition; None if they were not run."""
    if evidence.rivals is None:
        return None
    found = with_ours(evidence)
    wide = across_horizons(found[found["horizon"].isin(evidence.horizons)], "model")
    return table(wide, "What the rivals reach on the same windows", ours=OURS, hidden=[*TESTED.values()])


def groups_table(evidence: Evidence) -> Table:
    tiers = evidence.by_tier.assign(group=evidence.by_tier["tier"].astype(str) + " tier")
    by_group = pd.concat([tiers, evidence.by_sector.rename(columns={"sector": "group"})])
    wide = across_horizons(by_group, "group")
    return table(wide, "Ratios by tier and sector", hidden=[*TESTED.values()])


def moves_table(evidence: Evidence) -> Table:
    moves = evidence.calibration_of_moves
    bins = [f"{10 * place} to {10 * place + 10} %" for place in moves["bin"]]
    return table(moves.assign(bin=bins), "Chance of a move, every horizon")


def coverage_table(evidence: Evidence) -> Table:
    names = ["horizon", *(f"cover{level}" for level in LEVELS)]
    return table(evidence.pooled[names], "Coverage by horizon")


def across_horizons(figures: pd.DataFrame, by: str) -> pd.DataFrame:
    """Both ratios and their tests with one row per ``by``, in order, and their columns for each horizon."""
    keys = [*RATIOS, *TESTED.values()]
    names = [f"{key}_{horizon}d" for horizon in sorted(figures["horizon"].unique()) for key in keys]
    wide = figures.reindex(columns=[by, "horizon", *keys]).drop_duplicates([by, "horizon"], keep="last")
    wide = wide.set_index([by, "horizon"]).unstack("horizon")
    wide.columns = [f"{key}_{horizon}d" for key, horizon in wide.columns]
    return wide.reindex(index=figures[by].unique(), columns=names).rename_axis(by).reset_index()


def _by_horizon(key: str, horizons: Sequence[int]) -> list[str]:
    return [f"{key}_{horizon}d" for horizon in horizons]


def _parts(name: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.+)_(\d+)d", name)
    return (found[1], int(found[2])) if found else (name, None)
