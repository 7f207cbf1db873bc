"""Progress of a run: stored epochs, restarts, and the snapshot that is shown."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from support.training.queue_tasks import SMALL, drain, job, progress

from train.fit.state import FitState
from train.run.plan import Task
from train.workers.queue import TaskQueue


@pytest.fixture
def queue(tmp_path: Path) -> TaskQueue:
    return TaskQueue(SMALL, tmp_path)


def test_a_task_with_a_stored_result_is_not_leased(tmp_path):
    for name in ("general/seed-0", "KCB/scratch-0"):
        folder = tmp_path / "tasks" / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"epochs": 4}))
    queue = TaskQueue(SMALL, tmp_path)
    order = drain(queue)
    assert "general/seed-0" not in order and "KCB/scratch-0" not in order and len(order) == 7
    rows = {row["job"]: row for row in queue.snapshot()}
    assert (rows["general"]["work_resumed"], rows["KCB"]["work_resumed"]) == (100, 30)
    assert rows["SCOM"]["work_resumed"] == 0


def stored(folder: Path, epochs: int) -> None:
    history = [
        {"epoch": n, "loss": 0.5 / n, "val_loss": abs(n - 2) / 10, "rel_mae": 0.98, "total": 0.97}
        for n in range(1, epochs + 1)
    ]
    FitState(epoch=epochs, history=history).save(folder / "state.npz")


def test_stored_epochs_are_shown_at_once_and_count_as_resumed(tmp_path):
    stored(tmp_path / "tasks" / "general" / "seed-0", 3)
    queue = TaskQueue(SMALL, tmp_path)
    row = job(queue, "general")
    assert (row["state"], row["epoch"], row["epochs"], row["best_epoch"]) == ("waiting", 3, 4, 2)
    assert (row["work_done"], row["work_resumed"]) == (75.0, 75.0)
    queue.hello(0, 1, 4711)
    assert queue.lease(0).id == "general/seed-0"
    queue.progress("general/seed-0", 0, progress(4))
    assert (job(queue, "general")["work_done"], job(queue, "general")["work_resumed"]) == (100.0, 75.0)


def test_a_fit_that_starts_over_has_no_resumed_work(tmp_path):
    stored(tmp_path / "tasks" / "general" / "seed-0", 3)
    queue = TaskQueue(SMALL, tmp_path)
    queue.hello(0, 1, 4711)
    queue.lease(0)
    queue.progress("general/seed-0", 0, progress(1))
    assert (job(queue, "general")["work_done"], job(queue, "general")["work_resumed"]) == (25.0, 0.0)


def test_a_waiting_job_shows_its_next_fit_and_not_a_finished_one(queue):
    queue.hello(0, 1, 4711)
    assert queue.progress("KCB/scratch-0", 0, progress(4))
    queue.done("KCB/scratch-0")
    assert (job(queue, "KCB")["state"], job(queue, "KCB")["epoch"]) == ("waiting", 0)
    assert job(queue, "KCB")["work_done"] == 30


def test_a_queue_that_restarts_leases_the_rest_and_ends(tmp_path):
    first = TaskQueue(SMALL, tmp_path)
    for _ in range(2):
        lease = first.lease(0)
        (tmp_path / "tasks" / lease.id).mkdir(parents=True)
        (tmp_path / "tasks" / lease.id / "result.json").write_text("{}")
        first.done(lease.id)
    assert len(drain(TaskQueue(SMALL, tmp_path))) == len(SMALL.tasks) - 2


def test_a_snapshot_names_worker_phase_and_progress_of_a_job(queue):
    queue.hello(3, 4, 4711)
    queue.lease(3)
    queue.progress("general/seed-0", 3, progress(1))
    row = job(queue, "general")
    assert row == {
        "job": "general",
        "state": "running",
        "phase": "seed-0",
        "worker": 3,
        "pid": 4711,
        "epoch": 1,
        "epochs": 4,
        "loss": 0.5,
        "val_loss": 0.4,
        "mae": 0.98,
        "best_epoch": 1,
        "eta_s": 7.5,
        "work_done": 25.0,
        "work_total": 205.0,
        "work_resumed": 0,
        "reason": None,
    }
    assert job(queue, "KCB")["state"] == "waiting" and job(queue, "KCB")["worker"] is None
    skipped = job(queue, "ARM")
    assert (skipped["state"], skipped["reason"], skipped["work_total"]) == (
        "skipped",
        "frozen: it never moves",
        0,
    )
    json.dumps(queue.snapshot(), allow_nan=False)


def test_work_done_never_decreases_with_one_worker_and_ends_at_the_total(queue):
    done = [sum(row["work_done"] for row in queue.snapshot())]
    while isinstance(lease := queue.lease(0), Task):
        for epoch in range(1, lease.epochs + 1):
            queue.progress(lease.id, 0, progress(epoch))
            done.append(sum(row["work_done"] for row in queue.snapshot()))
        queue.done(lease.id)
        done.append(sum(row["work_done"] for row in queue.snapshot()))
    assert all(later >= earlier for earlier, later in pairwise(done))
    assert done[-1] == sum(one.cost for one in SMALL.tasks)
    assert {row["state"] for row in queue.snapshot()} == {"done", "skipped"}
