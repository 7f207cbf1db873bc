"""The fleet on a real local Ray cluster, with workers that die."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.machine.cluster import EPOCHS, epochs_written, prepared, small_run

from cluster.connect.session import ray_session
from common.prices.panel import Panel
from common.release.bundle import GENERAL, load_bundle
from train.pipeline.training import Run
from train.run.dataset import RunDataset
from train.run.plan import stored_result
from train.workers.fleet import Fleet
from train.workers.tasks import run_task

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_session(cpus=2):
        yield


@pytest.fixture
def run(small_panel: Panel, tmp_path: Path) -> Run:
    return small_run(small_panel, tmp_path, scratch=3, specific=("ABSA", "COOP"))


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
        result = next(entry for entry in fleet.snapshot() if entry["job"] == job)
        if result["state"] == "running" and result["epoch"] >= epoch:
            return result
        time.sleep(0.02)
    raise TimeoutError(f"{job} never reached epoch {epoch}")


@pytest.mark.long
def test_a_killed_worker_costs_at_most_its_running_epoch_and_changes_no_figure(run: Run, tmp_path: Path):
    killed: list[int] = []

    def kill_the_general_worker(fleet: Fleet) -> None:
        job = job_at_epoch(fleet, GENERAL, 3)
        os.kill(job["pid"], signal.SIGKILL)
        killed.append(job["pid"])

    jobs = train(run, kill_the_general_worker)
    assert killed
    assert {job["state"] for job in jobs} == {"done"}
    written = {key: times for key, times in epochs_written(run.folder).items() if key[0] == "general/seed-0"}
    assert written == {("general/seed-0", epoch): 1 for epoch in range(1, EPOCHS + 1)}

    quiet = prepared(Run(run.id, tmp_path / "quiet", run.home, run.spec, run.plan, run.panel))
    dataset = RunDataset(quiet.folder, quiet.spec, quiet.panel)
    for task in sorted(quiet.plan.tasks, key=lambda task: len(task.needs)):
        run_task(dataset, task)
    for task in run.plan.tasks:
        disturbed, undisturbed = stored_result(run.folder, task.id), stored_result(quiet.folder, task.id)
        if task.epochs:
            for name in ("loss", "val_loss"):
                got = [epoch[name] for epoch in disturbed["history"]]
                assert got == pytest.approx([epoch[name] for epoch in undisturbed["history"]], rel=2e-3)
    for job in run.plan.jobs:
        assert stored_result(run.folder, f"{job}/bundle")["valid"]["total"] == pytest.approx(
            stored_result(quiet.folder, f"{job}/bundle")["valid"]["total"], abs=0.01
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
    dataset = RunDataset(run.folder, run.spec, run.panel)
    test = dataset.parts_of("COOP", training=False)[2]
    prices = bundle.forecaster.forecast(test)
    assert np.isfinite(prices.raw).all() and (prices.low <= prices.high).all()
