"""From a finished run to a release: matrix, report, settings and panel around the bundles."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common import storage
from common.model.bundle import GENERAL, BundleFiles
from common.model.registry import Registry
from common.model.release import Release
from train.matrix import moving, performance_matrix, served_forecasts, table_errors
from train.plan import Plan, finished
from train.report import write_report
from train.workbench import RunSpec, bundles_dir

HIDDEN = shutil.ignore_patterns(".*")
"""What a killed worker may have left half-written."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    release: Release
    rows: list[dict[str, Any]]
    """One dict per job and ``pooled``, as `train.console.result_table` takes them."""
    matrix: pd.DataFrame
    failed: dict[str, str]
    """Reason by job."""


def publish_run(
    run_dir: Path, spec: RunSpec, plan: Plan, failed: dict[str, str], registry: Registry, release_id: str
) -> Outcome:
    """Publish what a run trained; the caller has made sure that the general model is among it.

    A specific model that failed or was skipped is simply not there: the general one covers its stock.
    """
    jobs = [job for job in plan.jobs if job not in plan.skipped and job not in failed]
    specific = tuple(job for job in jobs if job != GENERAL)
    forecasts = served_forecasts(run_dir, specific)
    results = {job: finished(run_dir, f"{job}/bundle") or {} for job in jobs}
    choices = {job: result["choice"] for job, result in results.items()}
    matrix = performance_matrix(forecasts, spec, choices)
    rows = result_rows(plan, forecasts, choices, failed)
    staging = registry.stage(release_id)
    try:
        for job in jobs:
            folder = BundleFiles.of(spec.config.preset, job).folder
            shutil.copytree(bundles_dir(run_dir) / folder, staging / folder, ignore=HIDDEN)
        shutil.copyfile(run_dir / "panel.parquet", staging / "panel.parquet")
        storage.write_json(staging / "universe.json", spec.universe.as_dict())
        storage.write_json(staging / "config.json", spec.config.model_dump(mode="json"))
        matrix.to_csv(staging / "performance_matrix.csv", index=False)
        forecasts.to_parquet(staging / "test_forecasts.parquet", index=False)
        write_report(staging / "report.html", release_id, spec, rows, matrix)
        info = _info(run_dir, spec, plan, jobs, failed, forecasts)
        release = registry.publish(staging, release_id, info=info)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Outcome(release, rows, matrix, failed)


def published_outcome(plan: Plan, release: Release) -> Outcome:
    """The outcome of a run that was published before."""
    forecasts = pd.read_parquet(release.file("test_forecasts.parquet"))
    matrix = pd.read_csv(release.file("performance_matrix.csv"))
    choices = dict(zip(matrix["symbol"], matrix["model"], strict=True)) | {GENERAL: GENERAL}
    failed = release.info["failed"]
    return Outcome(release, result_rows(plan, forecasts, choices, failed), matrix, failed)


def result_rows(
    plan: Plan, forecasts: pd.DataFrame, choices: dict[str, str], failed: dict[str, str]
) -> list[dict[str, Any]]:
    """Test errors one day ahead (the shortest horizon) of every job and of all moving stocks together.

    The general model's row pools the stocks it answers for.
    """
    near = moving(forecasts[forecasts["horizon"] == forecasts["horizon"].min()])
    rows = []
    for job in plan.jobs:
        own = near[near["model_type"] == GENERAL] if job == GENERAL else near[near["symbol"] == job]
        reason = plan.skipped.get(job) or failed.get(job)
        state = "skipped" if job in plan.skipped else "failed" if job in failed else "done"
        model = choices.get(job, GENERAL) if state == "done" else "skipped" if state == "skipped" else None
        rows.append({"job": job, "model": model, "state": state, "reason": reason, **_cells(own)})
    return [*rows, {"job": "pooled", **_cells(near)}]


def _cells(forecasts: pd.DataFrame) -> dict[str, Any]:
    found = table_errors(forecasts)
    return {
        "n": found.n,
        "mae_kes": found.mae,
        "naive_mae_kes": found.naive_mae,
        "rel_mae": found.rel_mae,
        "rel_rmse": found.rel_rmse,
    }


def _info(
    run_dir: Path, spec: RunSpec, plan: Plan, jobs: list[str], failed: dict[str, str], forecasts: pd.DataFrame
) -> dict[str, Any]:
    pooled = {
        str(horizon): table_errors(moving(group)).as_dict() for horizon, group in forecasts.groupby("horizon")
    }
    nearest = pooled[str(forecasts["horizon"].min())]
    general = bundles_dir(run_dir) / BundleFiles.of(spec.config.preset, GENERAL).folder / "metadata.json"
    metadata = json.loads(general.read_bytes())
    return {
        "run": run_dir.name,
        "preset": spec.config.preset,
        "quick": spec.config.quick,
        "source": spec.source,
        "data_sha256": spec.data_sha256,
        "models": len(jobs),
        "jobs": jobs,
        "skipped": plan.skipped,
        "failed": failed,
        "test": pooled,
        "test_relMAE": nearest["rel_mae"],
        **{key: metadata[key] for key in ("train_end", "valid_end", "test_end")},
    }
