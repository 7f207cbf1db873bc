"""Specific models fitted from scratch with other widths than the general model."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.tuning.search import PANEL, SETTINGS, UNIVERSE

from common.presets import train_config
from common.release.bundle import GENERAL, load_bundle
from train.pipeline.training import plan_run
from train.run.dataset import RunDataset
from train.run.factors import fit_factors
from train.workers.tasks import run_task

OWN = {"lstm_units": [6, 5], "embedding_dim": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDataset:
    """A run with all tasks done."""
    fits = {name: {"epochs": 1, "patience": 1} for name in ("general", "scratch", "finetune")}
    settings = {**SETTINGS, "seeds": 1, "scratch_network": OWN}
    settings |= {name: {**SETTINGS.get(name, {}), **fit} for name, fit in fits.items()}
    run = plan_run(
        train_config("residual", settings), UNIVERSE, PANEL, tmp_path_factory.mktemp("home"), only=("MOVES",)
    )
    run.spec.save(run.folder)
    dataset = RunDataset(run.folder, run.spec, run.panel)
    for task in sorted(run.plan.tasks, key=lambda task: len(task.needs)):
        run_task(dataset, task)
    return dataset


def widths(dataset: RunDataset, task: str) -> list[tuple[int, ...]]:
    with np.load(dataset.task_dir(task) / "weights.npz") as stored:
        return [stored[name].shape for name in sorted(stored.files)]


def test_only_the_fit_from_scratch_has_its_own_widths(trained):
    general, scratch = widths(trained, "general/seed-0"), widths(trained, "MOVES/scratch-0")
    assert general[0] == (14, 4 * 4) and scratch[0] == (14, 4 * 6)
    assert widths(trained, "MOVES/finetune-0") == general != scratch


def test_all_candidates_are_compared_and_the_chosen_one_is_written_with_its_widths(trained, monkeypatch):
    folder = trained.run_dir / "bundles"
    metadata = json.loads(next(Path(folder).glob("stock_specific*/MOVES/metadata.json")).read_text())
    assert set(metadata["candidates"]) == {"general", "fine-tuned", "average", "scratch"}
    test = trained.parts_of("MOVES", training=False)[2]
    monkeypatch.setattr("train.workers.tasks.choose", lambda totals: "scratch")
    (trained.task_dir("MOVES/bundle") / "result.json").unlink()
    plan = plan_run(trained.config, UNIVERSE, PANEL, trained.run_dir.parent.parent, only=("MOVES",)).plan
    (task,) = [task for task in plan.tasks if task.id == "MOVES/bundle"]
    assert run_task(trained, task)["choice"] == "scratch"
    metadata = json.loads(next(Path(folder).glob("stock_specific*/MOVES/metadata.json")).read_text())
    assert metadata["network"]["lstm_units"] == [6, 5] and metadata["network"]["dense_units"] == 4
    prices = load_bundle(folder, "residual", "MOVES").forecaster.forecast(test)
    assert np.isfinite(prices.raw).all()
    general = load_bundle(folder, "residual", GENERAL)
    assert np.isfinite(general.forecaster.forecast(test).raw).all()


def test_a_stocks_own_model_takes_over_the_factors_of_the_general_one(trained):
    general, own = (
        load_bundle(trained.run_dir / "bundles", "residual", job).forecaster for job in (GENERAL, "MOVES")
    )
    valid = trained.parts[1]
    assert general.factors == own.factors is not None
    fitted = fit_factors(trained.representation, valid, general.outputs(valid))
    assert np.allclose(fitted.values, general.factors.values, atol=1e-3)


def test_the_epochs_of_a_fit_carry_the_score_that_candidates_are_chosen_by(trained):
    stored = json.loads((trained.task_dir("general/seed-0") / "result.json").read_text())
    assert all(0.5 < epoch["total"] < 2 for epoch in stored["history"])
