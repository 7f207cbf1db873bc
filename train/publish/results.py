"""The result of a run: its release, its matrix, and a row of errors for each job."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common.release.bundle import GENERAL
from common.release.manifest import Release
from common.scoring.forecast_errors import errors
from train.evaluation.summary import PRICES
from train.run.plan import Plan

RESULT_COLUMNS = ["symbol", "horizon", "frozen", "model_type", *PRICES]
"""What `result_rows` needs of the forecasts."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run."""

    release: Release
    rows: list[dict[str, Any]]
    """One dict for each job and ``pooled``, see `train.progress.console.result_table`."""
    matrix: pd.DataFrame
    failed: dict[str, str]
    """Reason by job."""
    gate: str | None = None
    """Why the gate to production stayed closed; None if it opened or was not tried."""


def published_result(plan: Plan, release: Release) -> TrainingResult:
    """Return the result of a run that was published before."""
    table = pd.read_parquet(release.file("test_forecasts.parquet"), columns=RESULT_COLUMNS)
    matrix = pd.read_csv(release.file("performance_matrix.csv"))
    choices = dict(zip(matrix["symbol"], matrix["model"], strict=True)) | {GENERAL: GENERAL}
    failed = release.info["failed"]
    return TrainingResult(release, result_rows(plan, table, choices, failed), matrix, failed)


def result_rows(
    plan: Plan, table: pd.DataFrame, choices: dict[str, str], failed: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the test errors at the shortest horizon of every job and of all moving stocks together.

    The general model's row pools the stocks that it forecasts.
    """
    near = table[(table["horizon"] == table["horizon"].min()) & ~table["frozen"].astype(bool)]
    own, none, rows = near.groupby("symbol").indices, np.empty(0, np.intp), []
    for job in plan.jobs:
        mine = near[near["model_type"] == GENERAL] if job == GENERAL else near.iloc[own.get(job, none)]
        reason = plan.skipped.get(job) or failed.get(job)
        state = "skipped" if job in plan.skipped else "failed" if job in failed else "done"
        model = choices.get(job, GENERAL) if state == "done" else "skipped" if state == "skipped" else None
        rows.append({"job": job, "model": model, "state": state, "reason": reason, **_cells(mine)})
    return [*rows, {"job": "pooled", **_cells(near)}]


def _cells(table: pd.DataFrame) -> dict[str, Any]:
    names = {"last": "last_price", "raw": "raw", "published": "published", "actual": "actual"}
    scored = errors(**{name: table[column].to_numpy(float) for name, column in names.items()})
    return {
        "n": scored.n,
        "mae_kes": scored.mae,
        "naive_mae_kes": scored.naive_mae,
        "rel_mae": scored.rel_mae,
        "rel_rmse": scored.rel_rmse,
    }
