"""The tables of the release's report."""

import math
import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import Any

import pandas as pd

from common.pages.tables import Column, Table, ratio
from common.scoring.direction_scores import SCORES
from train.evaluation.evidence import Evidence
from train.evaluation.stock_coverage import stock_coverage
from train.evaluation.summary import LEVELS

OURS, NAIVE = "nsecast", "naive"
RATIOS = ("rel_mae", "rel_rmse")
MOST_ROWS = 500
"""Maximum number of rows in a table, which limits the size of the page."""
COLUMNS: dict[str, dict[str, Any]] = tomllib.loads(
    files("train.report").joinpath("columns.toml").read_text(encoding="utf-8")
)
TESTS = [spec["test"] for spec in COLUMNS.values() if "test" in spec]
"""Columns with the p-value of a ratio's test."""
MATRIX = (
    *("name", "rel_mae", "rel_rmse", "mae", "naive_mae", "rank", "confidence", "flags", "tier", "sector"),
    *("model", "source", "mape", "naive_mape", "rmse", "naive_rmse", "dm_abs_p", "dm_sq_p"),
    *("cover90", "width90", "brier", "brier_skill", "brier_up", "brier_up_skill", "n", "reasons"),
)
"""Columns of the performance matrix after the symbol; the page shows one horizon at a time."""


def shown_as(key: str, value: Any, p: float | None = None) -> Any:
    """Format a value of column ``key`` as text or Markup."""
    spec = COLUMNS.get(key, {})
    if not isinstance(value, int | float):
        return str(value).replace("_", " ") if key == "source" else str(value)
    if "test" in spec:
        return ratio(value, p)
    if value < spec.get("least", -math.inf):
        return f"<{spec['least']}"
    if isinstance(value, int):
        return f"{value:,}"
    return format(spec.get("times", 1) * value, spec.get("format", ".3f"))


def columns(names: Sequence[str], *, hidden: Sequence[str] = (), switched: bool = False) -> list[Column]:
    """Return the columns with names such as ``mae`` or ``mae_5d``.

    Parameters
    ----------
    hidden : keys of columns that are not shown; a test's p-value then only adds a star to its ratio
    switched : whether the page shows the figures of one horizon at a time
    """
    parts = [(name, *_key_and_horizon(name)) for name in names]
    several = not switched and len({horizon for *_, horizon in parts} - {None}) > 1
    columns = []
    for name, key, horizon in parts:
        if key in hidden:
            continue
        spec = COLUMNS.get(key, {})
        heading = spec.get("heading", key.replace("_", " "))
        columns.append(
            Column(
                name,
                f"{heading}, {horizon} d" if several and horizon else heading,
                partial(shown_as, key),
                number=not spec.get("text", False),
                key=key,
                horizon=horizon if switched else None,
                test=name.replace(key, spec["test"]) if "test" in spec else "",
            )
        )
    return columns


def table(frame: pd.DataFrame, caption: str, *, ours: str = "", hidden: Sequence[str] = ()) -> Table:
    """Convert a data frame to a table; the row whose first column is ``ours`` is highlighted."""
    names = [str(name) for name in frame.columns]
    return Table(
        frame.to_dict(orient="records"),
        columns(names, hidden=hidden),
        caption,
        marked=lambda row: bool(ours) and row[names[0]] == ours,
        most=MOST_ROWS,
    )


def matrix_columns(evidence: Evidence) -> list[Column]:
    """Return the columns of the table of stocks."""
    matrix = evidence.matrix
    names = ["symbol"]
    for key in MATRIX:
        by_horizon = [f"{key}_{horizon}d" for horizon in evidence.horizons]
        names += [name for name in (key, *by_horizon) if name in matrix]
    return columns(names, switched=True)


def matrix_table(evidence: Evidence, columns: Sequence[Column], listed: Collection[str]) -> Table:
    """Return the table of some stocks, which the page sorts, filters and switches between horizons."""
    matrix = evidence.matrix[evidence.matrix["symbol"].isin(set(listed))]
    caption = f"Performance of {len(matrix)} stocks on the test part, next to naive"
    rows = matrix.astype(object).where(matrix.notna(), None).to_dict(orient="records")
    return Table(rows, columns, caption, name="counters")


def headline_columns() -> list[Column]:
    """Return the headline figures, one per row."""
    headings = {key: spec["headline"] for key, spec in COLUMNS.items() if "headline" in spec}
    return [replace(column, heading=headings[column.key]) for column in columns([*headings])]


def with_ours(evidence: Evidence) -> pd.DataFrame:
    """Return figures by ``model`` and ``horizon``: this release, naive, then the rivals."""
    if evidence.rivals is None:
        return evidence.pooled.assign(model=OURS)
    rivals = evidence.rivals
    ours = evidence.pooled.assign(model=OURS) if OURS not in set(rivals["model"]) else rivals.iloc[:0]
    naive = pd.DataFrame({"model": NAIVE, "horizon": evidence.horizons, "rel_mae": 1.0, "rel_rmse": 1.0})
    first = [OURS, NAIVE]
    table = pd.concat([ours, naive, rivals[rivals["model"] != NAIVE]], ignore_index=True)
    order = [*first, *(model for model in table["model"].unique() if model not in first)]
    return table.sort_values("model", key=lambda names: names.map(order.index), kind="stable")


def rivals_table(evidence: Evidence) -> Table | None:
    """Return the ratios of simple rivals on the same windows (naive is 1); None if they were not run."""
    if evidence.rivals is None:
        return None
    figures = with_ours(evidence)
    wide = across_horizons(figures[figures["horizon"].isin(evidence.horizons)], "model")
    return table(wide, "The rivals on the same windows", ours=OURS, hidden=TESTS)


def groups_table(evidence: Evidence) -> Table:
    tiers = evidence.by_tier.assign(group=evidence.by_tier["tier"].astype(str) + " tier")
    by_group = pd.concat([tiers, evidence.by_sector.rename(columns={"sector": "group"})])
    wide = across_horizons(by_group, "group")
    return table(wide, "Ratios by tier and sector", hidden=TESTS)


def directions_table(evidence: Evidence) -> Table:
    """Return the reliability of the probabilities of a rise, no change and a fall."""
    rows = evidence.calibration_of_directions
    bins = [f"{10 * place} to {10 * place + 10} %" for place in rows["bin"]]
    renamed = rows.assign(bin=bins).rename(columns={"bin": "probability", "seen": "happened"})
    return table(renamed, "Probabilities by direction, every horizon and tier")


def brier_table(evidence: Evidence) -> Table:
    """Return the Brier scores of all stocks and of each tier, by horizon."""
    names = ["group", "horizon", "n", *SCORES]
    everything = evidence.pooled.assign(group="all moving stocks")
    tiers = evidence.by_tier.assign(group=evidence.by_tier["tier"].astype(str) + " tier")
    rows = pd.concat([everything, tiers])[names]
    return table(rows[rows["brier"].notna()], "Brier scores by horizon and tier")


def coverage_table(evidence: Evidence) -> Table:
    """Return the coverage by horizon; no rows for a preset without intervals."""
    names = [f"cover{level}" for level in LEVELS]
    rows = evidence.pooled[["horizon", *names]].dropna(how="all", subset=names)
    return table(rows, "Coverage by horizon")


def stock_coverage_table(evidence: Evidence) -> Table:
    caption = "Stocks whose own 90 % intervals cover 85 to 95 %, beside perfect calibration"
    return table(stock_coverage(evidence.by_symbol), caption)


def factors_table(evidence: Evidence) -> Table:
    """Return the factors of the forecast changes by horizon; no rows for releases without them."""
    factors = evidence.factors
    frame = pd.DataFrame(
        {
            "horizon": factors.horizons if factors else (),
            "factor_published": factors.published if factors else (),
            "factor_raw": factors.raw if factors else (),
        }
    )
    return table(frame, "Factors of the forecast changes")


def across_horizons(figures: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return both ratios and their tests with a row per ``by``, in order, and columns for each horizon."""
    keys = [*RATIOS, *TESTS]
    names = [f"{key}_{horizon}d" for horizon in sorted(figures["horizon"].unique()) for key in keys]
    wide = figures.reindex(columns=[by, "horizon", *keys]).drop_duplicates([by, "horizon"], keep="last")
    wide = wide.set_index([by, "horizon"]).unstack("horizon")
    wide.columns = [f"{key}_{horizon}d" for key, horizon in wide.columns]
    return wide.reindex(index=figures[by].unique(), columns=names).rename_axis(by).reset_index()


def _key_and_horizon(name: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.+)_(\d+)d", name)
    return (match[1], int(match[2])) if match else (name, None)
