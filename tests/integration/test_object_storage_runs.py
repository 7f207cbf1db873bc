"""Fits and runs whose storage root is in an S3 server: another machine continues and serves them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.machine.cluster import small_plan
from support.machine.processes import Killed
from support.storage.store import objects
from typer.testing import CliRunner

from cluster.local.cluster import down, up
from common import storage
from common.prices.panel import Panel
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from nsecast import app
from train.pipeline.training import Run, execute
from train.run.dataset import RunDataset, RunSpec
from train.run.plan import EpochProgress, stored_result
from train.workers.tasks import run_task, weights_of

pytestmark = pytest.mark.integration
EPOCHS = 6
both = pytest.mark.parametrize("place", ["moto", "rclone"], indirect=True)


def planned(panel: Panel, home: Path) -> Run:
    return small_plan(panel, home, general=EPOCHS, scratch=3, specific=("ABSA", "COOP"))


@both
def test_a_fit_continues_on_a_machine_without_local_files_and_repeats_no_epoch(place, small_panel, tmp_path):
    run = planned(small_panel, place.machine("driver"))
    run.panel.save(run.folder / "panel.parquet")
    run.spec.save(run.folder)
    task = next(task for task in run.plan.tasks if task.id == "general/seed-0")
    seen: list[int] = []

    def note(progress: EpochProgress) -> None:
        seen.append(progress.epoch)
        if len(seen) in (1, 4):
            raise Killed

    for name in ("first", "second"):
        with pytest.raises(Killed):
            run_task(bench_of(place.machine(name) / "runs" / run.id), task, note)
    third = bench_of(place.machine("third") / "runs" / run.id)
    run_task(third, task, note)
    assert seen == list(range(1, EPOCHS + 1))
    assert stored_result(run.folder, task.id)["epochs"] == EPOCHS
    keys = objects(run.home)
    assert f"runs/{run.id}/tasks/{task.id}/weights.npz" in keys
    assert f"runs/{run.id}/tasks/{task.id}/state.npz" not in keys

    dataset = RunDataset(tmp_path / "plain", run.spec, run.panel)
    run_task(dataset, task)
    for one, other in zip(
        weights_of(third.run_dir, task.id), weights_of(dataset.run_dir, task.id), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def bench_of(folder: Path) -> RunDataset:
    return RunDataset(folder, RunSpec.load(folder), Panel.load(storage.up_to_date(folder / "panel.parquet")))


@pytest.mark.long
def test_a_fleet_trains_apart_from_its_driver_and_a_machine_with_nothing_answers_from_the_store(
    place, small_panel, monkeypatch
):
    """Two nodes and the driver have folders of their own, as on different machines; another process reads.

    The release is refitted: its tasks read the evaluated weights from the store.
    """
    run = planned(small_panel, place.machine("driver"))
    with two_nodes(place.folder, monkeypatch) as address:
        outcome, before = execute(run, workers=2, mode="silent", address=address)
    assert not before and not outcome.failed
    assert "failed" not in outcome.release.info["refit"]
    first, second = (
        {
            path.parent.parts[-2:]: path.parent
            for path in (place.folder / node).glob("*/runs/*/tasks/*/*/result.json")
        }
        for node in ("node-0", "node-1")
    )
    assert first.keys() - second.keys() and second.keys() - first.keys(), "each node has tasks of its own"
    for seed in filter(None, (item.get(("general", "seed-0")) for item in (first, second))):
        assert {path.name for path in seed.iterdir()} == {"result.json", "weights.npz"}
    assert list((run.folder / "tensorboard").rglob("events.*")), "what workers logged is with the driver"

    there = place.machine("there")
    assert Registry(there).production() == run.release_id
    again, before = execute(planned(small_panel, there), workers=2, mode="silent")
    assert before and again.release.files == outcome.release.files
    assert (again.rows == outcome.rows) or json.dumps(again.rows) == json.dumps(outcome.rows)

    answered = elsewhere(place, "reader", "predict", "ABSA", "COOP", "--home", place.url, "--json")
    results = {prediction["symbol"]: prediction for prediction in json.loads(answered.stdout)["predictions"]}
    assert {result["release"] for result in results.values()} == {run.release_id}
    mine = ReleasedModels(outcome.release)
    assert {symbol: result["prediction"] for symbol, result in results.items()} == {
        symbol: mine.forecast(symbol)[0].published for symbol in results
    }
    assert (place.folder / "reader" / "cache").is_dir()
    last = small_panel.history("ABSA")["close"].iloc[-1]
    assert results.keys() == {"ABSA", "COOP"} and results["ABSA"]["last_price"] == pytest.approx(last)
    listed = CliRunner().invoke(app, ["runs", "--home", place.url, "--json"])
    assert [(item["id"], item["state"]) for item in json.loads(listed.stdout)] == [(run.id, "done")]


@contextmanager
def two_nodes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Ray cluster whose two nodes keep their files in folders of their own."""
    home = folder / "cluster"
    home.mkdir()
    try:
        for number in range(2):
            monkeypatch.setenv("NSECAST_CACHE", str(folder / f"node-{number}"))
            cluster, _ = up(home, number + 1, 1)
        yield cluster.address
    finally:
        down(home)


def elsewhere(place: SimpleNamespace, name: str, *words: str) -> SimpleNamespace:
    """The command in a process of its own that shares nothing with this one but the store."""
    folder = place.folder / name
    folder.mkdir()
    there = {"HOME": str(folder), "NSECAST_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "nsecast", *words],
        cwd=folder,
        env=os.environ | there,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(stdout=done.stdout)
