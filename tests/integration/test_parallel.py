"""The general model trained by two Ray workers together, one of which dies."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_runs import epochs_written, prepared

from cluster.session import ray_session
from common.data.panel import Panel
from common.data.universe import Universe
from common.model.presets import train_config
from train.fleet import Fleet
from train.jobs import run_task, weights_of
from train.parallel import train_general
from train.plan import finished, history
from train.queue import TaskQueue
from train.run import Run, plan_run
from train.workbench import Workbench

pytestmark = pytest.mark.integration
EPOCHS = 25
TASK = "general/seed-0"
MARK = "NSECAST_TEST_MARK"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, f"{os.getpid()}")
        with ray_session(cpus=2):
            yield


@pytest.fixture
def run(small_panel: Panel, tmp_path: Path) -> Run:
    counters = [symbol for symbol in small_panel.symbols if not symbol.startswith("^")]
    settings = {
        "seeds": 1,
        "window": {"size": 20, "horizons": [1, 5]},
        "network": {"lstm_units": [16, 16], "dense_units": 8},
        "general": {"epochs": EPOCHS, "patience": EPOCHS, "batch_size": 64, "learning_rate": 2e-4},
    }
    universe = Universe.from_symbols(counters)
    return prepared(plan_run(train_config("residual", settings), universe, small_panel, tmp_path))


def training_workers() -> list[int]:
    """The processes of this test's cluster that train."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={os.getpid()}".encode() in (process / "environ").read_bytes().split(b"\0")
            if ours and b"RayTrainWorker" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def kill_one_after(run: Run, epoch: int, killed: list[int]) -> None:
    deadline = time.monotonic() + 120
    while len(history(run.folder, TASK)) < epoch and time.monotonic() < deadline:
        time.sleep(0.05)
    killed += training_workers()
    os.kill(killed[-1], signal.SIGKILL)


def test_two_workers_of_which_one_is_killed_end_with_the_losses_of_one_worker(run: Run, tmp_path: Path):
    fleet = Fleet(run.plan, run.folder, workers=2, log_dir=run.folder / "ray")
    bench = Workbench(run.folder, run.spec, run.panel)
    killed: list[int] = []
    threading.Thread(target=kill_one_after, args=(run, 3, killed), daemon=True).start()
    train_general(bench, run.plan, fleet.queue, workers=2, log_dir=run.folder / "ray")
    assert len(killed) == 2
    once = Counter((TASK, epoch) for epoch in range(1, EPOCHS + 1))
    assert epochs_written(run.folder) == once, "an epoch on storage is not repeated"
    assert not (run.folder / "tasks" / TASK / "state.npz").exists()
    (general,) = fleet.snapshot()
    assert (general["epoch"], general["work_done"]) == (EPOCHS, run.plan.tasks[0].cost)

    alone = prepared(Run(run.id, tmp_path / "alone", run.home, run.spec, run.plan, run.panel))
    other = Workbench(alone.folder, alone.spec, alone.panel)
    run_task(other, run.plan.tasks[0])
    two, one = finished(run.folder, TASK), finished(alone.folder, TASK)
    assert two.keys() == one.keys()
    for name in ("loss", "val_loss"):
        mine, theirs = ([epoch[name] for epoch in result["history"]] for result in (two, one))
        assert mine == pytest.approx(theirs, rel=1e-5)
    for mine, theirs in zip(weights_of(bench, TASK), weights_of(other, TASK), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)

    before = (run.folder / "tasks" / TASK / "result.json").stat().st_mtime_ns
    train_general(bench, run.plan, fleet.queue, workers=2, log_dir=run.folder / "ray")
    assert (run.folder / "tasks" / TASK / "result.json").stat().st_mtime_ns == before
    assert TaskQueue(run.plan, run.folder).lease(0).phase == "bundle", "what is left is the fleet's"
