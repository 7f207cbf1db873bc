"""The fleet on a real local Ray cluster, with workers that die."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from cluster.session import ray_session
from common.data.panel import Panel
from common.data.universe import Universe
from common.model.bundle import GENERAL, load_bundle
from common.model.presets import TrainConfig, train_config
from train.fleet import Fleet
from train.jobs import run_task
from train.plan import finished
from train.run import Run, plan_run
from train.workbench import Workbench

pytestmark = pytest.mark.integration
EPOCHS = 30


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_session(cpus=2):
        yield


@pytest.fixture
def settings() -> TrainConfig:
    return train_config(
        "residual",
        {
            "seeds": 1,
            "window": {"size": 20, "horizons": [1, 5]},
            "network": {"lstm_units": [16, 16], "dense_units": 8},
            "general": {"epochs": EPOCHS, "patience": EPOCHS, "batch_size": 64, "epoch_share": 1.0},
            "scratch": {"epochs": 3, "patience": 3},
            "finetune": {"epochs": 2, "patience": 2},
        },
    )


@pytest.fixture
def run(small_panel: Panel, settings: TrainConfig, tmp_path: Path) -> Run:
    counters = [symbol for symbol in small_panel.symbols if not symbol.startswith("^")]
    universe = Universe.from_symbols(counters, specific=["ABSA", "COOP"])
    run = plan_run(settings, universe, small_panel, tmp_path)
    prepare(run)
    return run


def prepare(run: Run) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    run.panel.save(run.folder / "panel.parquet")
    run.spec.save(run.folder)


def train(run: Run, during: Callable[[Fleet], None] = lambda fleet: None) -> list[dict[str, Any]]:
    fleet = Fleet(run.plan, run.folder, workers=2, log_dir=run.folder / "ray")
    side = threading.Thread(target=during, args=(fleet,), daemon=True)
    side.start()
    fleet.train()
    side.join(timeout=5)
    return fleet.snapshot()


def job_at_epoch(fleet: Fleet, job: str, epoch: int, *, timeout_s: float = 120) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = next(entry for entry in fleet.snapshot() if entry["job"] == job)
        if found["state"] == "running" and found["epoch"] >= epoch:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"{job} never reached epoch {epoch}")


def epochs_written(run: Run, task: str) -> Counter[int]:
    """How often each epoch of a task was finished, from its TensorBoard files."""
    counts: Counter[int] = Counter()
    for path in (run.folder / "tensorboard" / task).iterdir():
        for event in EventFileLoader(str(path)).Load():
            counts.update(event.step for value in event.summary.value if value.tag == "val_loss")
    return counts


def test_a_killed_worker_costs_at_most_its_running_epoch_and_changes_no_figure(run: Run, tmp_path: Path):
    killed: list[int] = []

    def kill_the_general_worker(fleet: Fleet) -> None:
        job = job_at_epoch(fleet, GENERAL, 3)
        os.kill(job["pid"], signal.SIGKILL)
        killed.append(job["pid"])

    jobs = train(run, kill_the_general_worker)
    assert killed
    assert {job["state"] for job in jobs} == {"done"}
    assert epochs_written(run, "general/seed-0") == Counter(range(1, EPOCHS + 1))

    quiet = Run(run.id, tmp_path / "quiet", run.home, run.spec, run.plan, run.panel)
    prepare(quiet)
    bench = Workbench(quiet.folder, quiet.spec, quiet.panel)
    for task in sorted(quiet.plan.tasks, key=lambda task: len(task.needs)):
        run_task(bench, task)
    for task in run.plan.tasks:
        disturbed, undisturbed = finished(run.folder, task.id), finished(quiet.folder, task.id)
        if task.epochs:
            for name in ("loss", "val_loss"):
                got = [epoch[name] for epoch in disturbed["history"]]
                assert got == pytest.approx([epoch[name] for epoch in undisturbed["history"]], rel=2e-3)
    for job in run.plan.jobs:
        assert finished(run.folder, f"{job}/bundle")["valid"]["total"] == pytest.approx(
            finished(quiet.folder, f"{job}/bundle")["valid"]["total"], abs=0.01
        )


def test_a_job_that_fails_loses_no_other_and_is_tried_again_by_the_same_command(run: Run):
    in_the_way = run.folder / "tasks" / "COOP" / "scratch-0" / "weights.npz"
    in_the_way.mkdir(parents=True)
    states = {job["job"]: job for job in train(run)}
    assert states["COOP"]["state"] == "failed"
    assert "IsADirectoryError" in states["COOP"]["reason"]
    assert "COOP-scratch-0.log" in states["COOP"]["reason"]
    assert states[GENERAL]["state"] == states["ABSA"]["state"] == "done"
    assert list((run.folder / "errors").glob("COOP-*.log"))

    before = (run.folder / "tasks/general/seed-0/result.json").stat().st_mtime_ns
    in_the_way.rmdir()
    assert {job["state"] for job in train(run)} == {"done"}
    assert (run.folder / "tasks/general/seed-0/result.json").stat().st_mtime_ns == before
    bundle = load_bundle(run.folder / "bundles", "residual", "COOP")
    bench = Workbench(run.folder, run.spec, run.panel)
    test = bench.parts_of("COOP", training=False)[2]
    prices = bundle.forecaster.forecast(test)
    assert np.isfinite(prices.raw).all() and (prices.low <= prices.high).all()
