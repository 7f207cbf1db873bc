"""Publish a finished run as a release: bundles, panel, test forecasts, matrix and report."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from common import storage
from common.engine import IN_PROCESS, Engine
from common.forecast.conformal import Calibration
from common.forecast.groups import Groups
from common.prices.panel import Panel
from common.release.bundle import EVALUATED, GENERAL, BundleFiles
from common.release.learning import window_blocks
from common.release.models import ModelFolder
from common.release.registry import Registry
from common.release.released_models import MODEL_CARD
from train.evaluation.backtest import backtest_blocks
from train.evaluation.base_rates import base_rates, with_base_rates
from train.evaluation.embedding_search import find_search
from train.evaluation.evidence import Evidence
from train.evaluation.forecasts import Forecasts, write_forecasts
from train.evaluation.matrix import newest_rows, performance_matrix, write_matrix
from train.evaluation.questions import answers
from train.evaluation.summary import summarise
from train.evaluation.worth_sentences import worth_document
from train.publish.insights import FILE as INSIGHTS
from train.publish.insights import insights
from train.publish.model_card import model_card
from train.publish.results import RESULT_COLUMNS, TrainingResult, result_rows
from train.report.page import write_report
from train.run.arrays import mapped_blocks, save_arrays
from train.run.dataset import RunDataset, RunSpec, bundles_dir
from train.run.plan import Plan, stored_result
from train.run.refit import RefitResult
from train.run.versions import trained_with

WORTH = "worth.json"
"""What the forecasts are worth after costs, see `train.evaluation.worth_sentences.worth_document`."""
HIDDEN = shutil.ignore_patterns(".*")
"""Files that a killed worker may have left incomplete."""


def publish_run(
    run_dir: Path,
    spec: RunSpec,
    panel: Panel,
    plan: Plan,
    failed: dict[str, str],
    registry: Registry,
    release_id: str,
    engine: Engine = IN_PROCESS,
    refit: RefitResult | None = None,
) -> TrainingResult:
    """Publish the models of a run, which must include the general one.

    All figures are measured on the run's own networks. If it was refitted, the release serves the refitted
    ones and keeps the others in its folder ``evaluated``.

    The general model covers the stocks whose specific model failed or was skipped. ``engine`` makes and
    summarises the forecasts in blocks of symbols.
    """
    jobs = [job for job in plan.jobs if job not in plan.skipped and job not in failed]
    results = {job: stored_result(run_dir, f"{job}/bundle") or {} for job in jobs}
    choices = {job: result["choice"] for job, result in results.items()}
    staging = registry.stage(release_id)
    try:
        evaluated = bundles_dir(run_dir)
        served = refit.bundles if refit and refit.bundles else evaluated
        _copy_bundles(served, spec, jobs, staging)
        if served != evaluated:
            _copy_bundles(evaluated, spec, jobs, staging / EVALUATED)
        tested = _tested(run_dir, spec, panel, frozenset(jobs) - {GENERAL}, engine, staging)
        matrix = performance_matrix(tested.newest, spec.universe, panel, choices, tested.by_symbol)
        _write_data(run_dir, spec, tested, staging)
        write_matrix(staging, matrix)
        info = {
            "run": run_dir.name,
            "preset": spec.config.preset,
            "quick": spec.config.quick,
            "source": spec.source,
            "versions": trained_with(run_dir),
            "data_sha256": spec.data_sha256,
            "models": len(jobs),
            "jobs": jobs,
            "skipped": plan.skipped,
            "failed": failed,
            **test_info(tested.forecasts.pooled),
            **tested.borders,
            **_refit_info(refit),
        }
        evidence = Evidence(
            release=release_id,
            info=info,
            folder=staging,
            universe=spec.universe,
            panel=panel,
            forecasts=tested.forecasts,
            shared=tested.shared,
            matrix=matrix,
            figures=tested.by_symbol,
            tuning=find_search(registry.folder.parent, info, spec.config.network.embedding_dim),
        )
        answered = answers(evidence)
        write_report(staging / "report.html", evidence, answered)
        storage.write_json(staging / INSIGHTS, insights(evidence, answered))
        storage.write_json(staging / WORTH, worth_document(evidence))
        storage.write_bytes(staging / MODEL_CARD, model_card(evidence).encode())
        near = tested.forecasts.read(RESULT_COLUMNS, horizon=tested.forecasts.horizons[0])
        rows = result_rows(plan, near, choices, failed)
        release = registry.publish(staging, release_id, info=info)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return TrainingResult(release, rows, matrix, failed)


@dataclass(frozen=True)
class _Tested:
    """Forecasts of a run's models on the test part."""

    borders: dict[str, str]
    """Last dates of the parts."""
    forecasts: Forecasts
    shared: pd.DataFrame | None
    """The general model's forecasts of the stocks with a specific model; None if there are none."""
    by_symbol: pd.DataFrame
    """``forecasts`` summarised by horizon and symbol."""
    newest: pd.DataFrame
    """See `train.evaluation.matrix.newest_rows`."""
    calibration: Calibration


def _copy_bundles(bundles: Path, spec: RunSpec, jobs: list[str], target: Path) -> None:
    for job in jobs:
        folder = BundleFiles.of(spec.config.preset, job).folder
        storage.fetch_matching(bundles / folder, "*")
        shutil.copytree(bundles / folder, target / folder, ignore=HIDDEN)


def _refit_info(refit: RefitResult | None) -> dict[str, Any]:
    """Return the manifest's entry of a refit: the last date of its data, or why it failed."""
    if refit is None:
        return {}
    return {"refit": {"failed": refit.reason} if refit.reason else {"train_end": refit.train_end}}


def _tested(
    run_dir: Path, spec: RunSpec, panel: Panel, own: frozenset[str], engine: Engine, staging: Path
) -> _Tested:
    """Forecast the test part; the interval levels learn from the end of training on.

    The blocks' forecasts are files until they are joined in ``test_forecasts.parquet``; only a summary of
    each block stays in memory.
    """
    models = ModelFolder(bundles_dir(run_dir), spec.config.preset, spec.universe, own)
    metadata = models.bundle(GENERAL).metadata
    borders = {key: metadata[key] for key in ("train_end", "valid_end", "test_end")}
    train = window_blocks(panel, models, np.datetime64(borders["train_end"]))
    nominal = Calibration.nominal(models.window.horizons, Groups.fit(train))
    period = (np.datetime64(borders["train_end"]), np.datetime64(borders["test_end"]))
    dataset, folder = RunDataset(run_dir, spec, panel), run_dir / "forecasts"
    save_arrays(dataset)
    calibration, parts = backtest_blocks(
        models,
        mapped_blocks(dataset),
        nominal,
        period,
        engine=engine,
        finish=functools.partial(write_block, storage.address_of(folder), borders),
        given=[engine.share(base_rates(models, panel, np.datetime64(borders["valid_end"])))],
    )
    summaries = list(parts)
    path = staging / "test_forecasts.parquet"
    write_forecasts(path, (read_block(folder, number) for number in range(len(summaries))))
    storage.remove_tree(folder)
    shared = None
    if own:
        blocks = window_blocks(panel, models, period[1], own)
        finish = functools.partial(_test_part, borders)
        options: dict[str, Any] = {"general_only": True, "engine": engine, "finish": finish}
        shared = pd.concat(backtest_blocks(models, blocks, nominal, period, **options)[1], ignore_index=True)
    figures, newest = (pd.concat(tables) for tables in zip(*summaries, strict=True))
    by_symbol = figures.sort_values(["horizon", "symbol"], ignore_index=True)
    return _Tested(borders, Forecasts(path, spec.universe), shared, by_symbol, newest, calibration)


def write_block(
    address: str, borders: dict[str, str], number: int, table: pd.DataFrame, rates: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write a block's forecasts of the test part into the folder at ``address``, with their base rates.

    Returns
    -------
    (DataFrame, DataFrame)
        The figures of the block's stocks by horizon and symbol, and its `newest_rows`.
    """
    table = with_base_rates(test_part(table, borders), rates)
    rows = pa.Table.from_pandas(table, preserve_index=False)
    options = pa.ipc.IpcWriteOptions(compression="zstd")

    def write(path: Path) -> None:
        with pa.ipc.new_file(str(path), rows.schema, options=options) as file:
            file.write_table(rows)

    storage.write_with(storage.locate(address) / f"{number}.arrow", write)
    return summarise(table, ["horizon", "symbol"]), newest_rows(table)


def read_block(folder: Path, number: int) -> pa.Table:
    """Read what `write_block` wrote."""
    with pa.ipc.open_file(storage.up_to_date(folder / f"{number}.arrow").read_bytes()) as file:
        return file.read_all()


def _write_data(run_dir: Path, spec: RunSpec, tested: _Tested, staging: Path) -> None:
    """Write the other data that reproduce the figures and forecasts of the release."""
    shutil.copyfile(storage.up_to_date(run_dir / "panel.parquet"), staging / "panel.parquet")
    storage.write_json(staging / "universe.json", spec.universe.as_dict())
    storage.write_json(staging / "config.json", spec.config.model_dump(mode="json"))
    storage.write_json(staging / "calibration.json", tested.calibration.as_dict())
    if tested.shared is not None:
        tested.shared.to_parquet(staging / "general_test_forecasts.parquet", index=False)


def _test_part(borders: dict[str, str], number: int, table: pd.DataFrame) -> pd.DataFrame:
    return test_part(table, borders)


def test_part(table: pd.DataFrame, borders: dict[str, str]) -> pd.DataFrame:
    """Return the forecasts whose outcome is known and lies after the training and validation parts."""
    inside = (table["cutoff"] >= borders["valid_end"]) & (table["target_date"] <= borders["test_end"])
    return table[inside & np.isfinite(table["actual"])].reset_index(drop=True)


def test_info(pooled: pd.DataFrame) -> dict[str, Any]:
    """Return the manifest's figures of the test part, from the summary by horizon over moving stocks."""
    figures = pooled.set_index("horizon")
    test = {str(horizon): storage.finite(row.to_dict()) for horizon, row in figures.iterrows()}
    nearest: dict[str, Any] = next(iter(test.values()), {})
    return {
        "test": test,
        "test_relMAE": nearest.get("rel_mae"),
        "test_MAPE": nearest.get("mape"),
        "test_naive_MAPE": nearest.get("naive_mape"),
    }
