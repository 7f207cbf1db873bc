"""The plan of a run and its queue, without Ray."""

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.panel import SPEC, SYMBOLS, history, made_panel

from common.errors import TrainingError
from common.exchange.universe import Universe
from common.network.channels import frozen
from common.presets import FitConfig, TrainConfig, train_config
from common.prices.panel import Panel
from common.prices.series import UNKNOWN_MARKET, series_from_histories, series_from_panel
from common.prices.windows import Boundaries, make_windows
from train.fit.state import FitState
from train.run.plan import EpochProgress, Plan, Task, make_plan, windows_per_epoch
from train.workers.queue import ATTEMPTS, TaskQueue

PANEL = made_panel()
DATES = PANEL.dates.to_numpy().astype("datetime64[D]")
LIMITS = Boundaries(DATES[90], DATES[115], DATES[-1])
WINDOWS = make_windows(series_from_panel(PANEL, SYMBOLS), SPEC)
CONFIG = TrainConfig(window=SPEC, minimum_windows=50)
UNIVERSE = Universe.from_symbols(SYMBOLS, specific=SYMBOLS)


def plan_of(config: TrainConfig = CONFIG, universe: Universe = UNIVERSE, windows=WINDOWS, only=()) -> Plan:
    return make_plan(config, universe, windows, LIMITS, only=only)


def task(name: str, cost: float = 1.0, needs: tuple[str, ...] = (), epochs: int = 4) -> Task:
    job, phase = name.split("/")
    return Task(name, job, phase, 0, needs, cost, epochs)


SMALL = Plan(
    (
        task("general/seed-0", 100),
        task("general/seed-1", 100),
        task("general/bundle", 5, ("general/seed-0", "general/seed-1"), 0),
        task("KCB/scratch-0", 30),
        task("KCB/finetune-0", 10, ("general/seed-0",)),
        task("KCB/bundle", 5, ("KCB/scratch-0", "KCB/finetune-0", "general/seed-0", "general/seed-1"), 0),
        task("SCOM/scratch-0", 60),
        task("SCOM/finetune-0", 12, ("general/seed-0",)),
        task("SCOM/bundle", 5, ("SCOM/scratch-0", "SCOM/finetune-0", "general/seed-0", "general/seed-1"), 0),
    ),
    {"ARM": "frozen: it never moves"},
)


@pytest.fixture
def queue(tmp_path: Path) -> TaskQueue:
    return TaskQueue(SMALL, tmp_path)


def drain(queue: TaskQueue, rank: int = 0) -> list[str]:
    done = []
    while isinstance(lease := queue.lease(rank), Task):
        done.append(lease.id)
        queue.done(lease.id)
    assert lease == "end"
    return done


def job(queue: TaskQueue, name: str) -> dict:
    return next(row for row in queue.snapshot() if row["job"] == name)


def progress(epoch: int, epochs: int = 4) -> EpochProgress:
    return EpochProgress(epoch, epochs, 0.5, 0.4, 0.98, 0.97, epoch, 7.5)


def slow_chain(plan: Plan, start: Task) -> float:
    """Cost of the most expensive chain, by following every path."""
    paths, longest = [(start, start.cost)], 0.0
    while paths:
        here, cost = paths.pop()
        longest = max(longest, cost)
        paths += [(other, cost + other.cost) for other in plan.tasks if here.id in other.needs]
    return longest


@pytest.mark.parametrize("plan", [SMALL, plan_of()], ids=["by hand", "planned"])
def test_the_priority_of_a_task_is_the_cost_of_its_longest_chain(plan):
    for one in plan.tasks:
        assert plan.priorities[one.id] == pytest.approx(slow_chain(plan, one))


def test_tasks_without_needs_are_leased_longest_chain_first(queue):
    leased = [queue.lease(rank) for rank in range(4)]
    assert [lease.id for lease in leased[:2]] == ["general/seed-0", "general/seed-1"]
    assert [lease.id for lease in leased[2:]] == ["SCOM/scratch-0", "KCB/scratch-0"]
    assert queue.lease(4) == "wait"


def test_a_lone_worker_gets_every_task_once_and_none_before_its_needs(queue):
    order = drain(queue)
    assert sorted(order) == sorted(one.id for one in SMALL.tasks)
    for one in SMALL.tasks:
        assert all(order.index(need) < order.index(one.id) for need in one.needs)


def test_a_blocked_task_waits_until_the_last_of_its_needs_is_done(queue):
    for rank in range(4):
        queue.lease(rank)
    queue.done("general/seed-0")
    assert {queue.lease(0).id, queue.lease(5).id} == {"KCB/finetune-0", "SCOM/finetune-0"}
    for name in ("KCB/finetune-0", "KCB/scratch-0"):
        queue.done(name)
    assert queue.lease(6) == "wait"
    queue.done("general/seed-1")
    assert {queue.lease(7).id, queue.lease(6).id} == {"general/bundle", "KCB/bundle"}


def test_a_new_worker_frees_the_task_of_the_one_that_had_its_rank(queue):
    lost = queue.lease(0)
    other = queue.lease(1)
    queue.hello(0, 2, 4711)
    assert queue.lease(0) == lost
    assert job(queue, "general")["state"] == "running" and queue.lease(2).id != other.id


def test_ranks_beyond_a_smaller_world_lose_their_tasks(queue):
    leased = {rank: queue.lease(rank).id for rank in range(3)}
    queue.hello(0, 2, 4711)
    freed = {queue.lease(rank).id for rank in (0, 3)}
    assert freed == {leased[0], leased[2]}


def test_a_task_whose_worker_dies_three_times_fails_with_a_reason(queue):
    for _ in range(ATTEMPTS):
        assert queue.lease(0).id == "general/seed-0"
        queue.hello(0, 1, 4711)
    row = job(queue, "general")
    assert row["state"] == "failed" and f"died {ATTEMPTS} times" in row["reason"]
    assert queue.lease(0).id == "general/seed-1"


def test_when_a_general_network_fails_its_dependents_fail_and_scratch_tasks_still_run(queue):
    assert queue.lease(0).id == "general/seed-0"
    queue.failed("general/seed-0", "ValueError: no")
    assert drain(queue) == ["general/seed-1", "SCOM/scratch-0", "KCB/scratch-0"]
    for name in ("general", "KCB", "SCOM"):
        assert job(queue, name)["state"] == "failed" and "ValueError: no" in job(queue, name)["reason"]


def test_one_failed_stock_does_not_affect_the_others(queue):
    while (lease := queue.lease(0)) != "end":
        if lease.id == "KCB/scratch-0":
            queue.failed(lease.id, "broken")
        else:
            queue.done(lease.id)
    states = {row["job"]: row["state"] for row in queue.snapshot()}
    assert states == {"general": "done", "KCB": "failed", "SCOM": "done", "ARM": "skipped"}


def test_a_late_message_of_a_replaced_worker_does_not_reopen_a_task(queue):
    queue.lease(0)
    queue.done("general/seed-0")
    queue.progress("general/seed-0", 1, progress(2))
    assert {lease.id for rank in range(6) if isinstance(lease := queue.lease(rank), Task)} >= {
        "KCB/finetune-0",
        "SCOM/finetune-0",
    }
    queue.hello(1, 4, 4711)
    names = [lease.id for rank in range(4, 9) if isinstance(lease := queue.lease(rank), Task)]
    assert "general/seed-0" not in names


def test_a_failed_task_stays_failed_when_a_replaced_worker_reports_progress(queue):
    queue.lease(0)
    queue.failed("general/seed-0", "broken")
    queue.progress("general/seed-0", 0, progress(2))
    assert job(queue, "general")["state"] == "failed"
    queue.hello(0, 1, 4711)
    assert "general/seed-0" not in drain(queue)


def test_a_message_of_a_worker_that_died_does_not_block_the_run(queue):
    assert queue.lease(0).id == "general/seed-0"
    queue.hello(0, 1, 4712)
    queue.progress("general/seed-0", 0, progress(2))
    assert sorted(drain(queue)) == sorted(one.id for one in SMALL.tasks)


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


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["work", "die", "fail", "shrink"]), st.integers(0, 3)), max_size=60)
)
def test_no_task_is_leased_twice_or_too_early_or_after_it_ended(steps):
    """Four workers lease, finish, fail, die, are replaced and change in number, in any order."""
    queue = TaskQueue(SMALL, Path("/nowhere"))
    leases: dict[int, Task] = {}
    done, failed, deaths = set(), set(), dict.fromkeys((one.id for one in SMALL.tasks), 0)
    world = 4
    queue.hello(0, world, 4711)

    for step, rank in [*steps, *[("work", rank) for _ in range(40) for rank in range(4)]]:
        if step == "die" and world == 4:
            if one := leases.pop(rank, None):
                deaths[one.id] += 1
            queue.hello(rank, world, 4711)
        elif step in ("die", "shrink"):
            world = 4 if step == "die" else 1 + world % 3
            leases.clear()
            queue.hello(0, world, 4711)
        elif rank in leases:
            one = leases.pop(rank)
            if step == "fail":
                queue.failed(one.id, "broken")
                failed.add(one.id)
            else:
                queue.done(one.id)
                done.add(one.id)
        elif isinstance(lease := queue.lease(rank), Task):
            assert lease.id not in {one.id for one in leases.values()}, "leased twice"
            assert lease.id not in done | failed and deaths[lease.id] < ATTEMPTS
            assert set(lease.needs) <= done, "leased before its needs were done"
            leases[rank] = lease
    assert not leases and queue.lease(0) == "end"
    given_up = failed | {name for name, times in deaths.items() if times >= ATTEMPTS}
    for one in SMALL.tasks:
        blocked = any(need not in done for need in one.needs)
        assert (one.id in done) != (one.id in given_up or blocked)


def test_a_plan_skips_frozen_and_short_stocks_with_a_reason():
    plan = plan_of()
    assert plan.skipped["FROZEN"].startswith("frozen: no price change in its last 116 sessions up to")
    assert plan.skipped["GAPS"].startswith("too little history: ")
    assert set(plan.skipped) == {"FROZEN", "GAPS", "SHORT"}
    assert plan.jobs[0] == "general" and set(plan.jobs) == {"general", *SYMBOLS}
    assert {one.job for one in plan.tasks} == {"general", "MOVES", "SPLITS", "THIN"}


def test_a_stock_listed_after_validation_has_too_little_history_and_is_not_frozen():
    assert plan_of().skipped["SHORT"].startswith("too little history: 0 moving training windows")


def test_a_stock_that_is_not_in_the_data_is_skipped_and_named():
    universe = Universe.from_symbols([*SYMBOLS, "NEWCO"], specific=["NEWCO", "MOVES"])
    plan = plan_of(universe=universe)
    assert plan.skipped == {"NEWCO": "not in the data"} and "MOVES" in plan.jobs


def test_a_stock_without_a_moving_validation_window_is_skipped():
    """It was suspended before validation: no epoch and no candidate could be chosen."""
    rows = PANEL.frame
    gone = (rows["symbol"] == "MOVES") & (rows["date"] > pd.Timestamp(LIMITS.train_end))
    panel = Panel.from_frame(rows[~gone], PANEL.source)
    plan = plan_of(windows=make_windows(series_from_panel(panel, SYMBOLS), SPEC))
    assert plan.skipped["MOVES"].startswith("nothing to choose by: 0 moving validation windows")


def test_every_task_needs_only_earlier_tasks_of_the_plan():
    plan, seen = plan_of(), set()
    for one in plan.tasks:
        assert set(one.needs) <= seen
        seen.add(one.id)
    assert len(seen) == len(plan.tasks)


def test_a_specific_model_has_one_network_from_scratch_and_one_fine_tuned_per_general_network():
    plan = plan_of(train_config("residual", {"window": SPEC.model_dump(), "minimum_windows": 50, "seeds": 3}))
    needs = {one.id: one.needs for one in plan.tasks if one.job == "MOVES"}
    general = tuple(f"general/seed-{number}" for number in range(3))
    tuned = tuple(f"MOVES/finetune-{number}" for number in range(3))
    assert needs == {
        "MOVES/scratch-0": (),
        **{name: (seed,) for name, seed in zip(tuned, general, strict=True)},
        "MOVES/bundle": ("MOVES/scratch-0", *tuned, *general, "general/bundle"),
    }


def test_without_fine_tuning_a_specific_model_does_not_wait_for_the_general_one():
    config = train_config("v4_log", {"window": {"size": 12, "horizons": [1]}, "minimum_windows": 50})
    plan = plan_of(config, Universe.from_symbols(SYMBOLS, specific=["THIN"]))
    assert {one.id: one.needs for one in plan.tasks if one.job == "THIN"} == {
        "THIN/scratch-0": (),
        "THIN/bundle": ("THIN/scratch-0",),
    }


def test_an_archive_without_a_moving_stock_for_the_general_model_is_refused():
    config = train_config("v4_log", {"window": {"size": 12, "horizons": [1]}})
    with pytest.raises(TrainingError, match="got 0 training"):
        plan_of(config, Universe.from_symbols(SYMBOLS, specific=SYMBOLS))


def test_only_the_chosen_specific_models_are_planned_or_reported():
    plan = plan_of(only=("THIN", "FROZEN"))
    assert set(plan.jobs) == {"general", "THIN", "FROZEN"} and set(plan.skipped) == {"FROZEN"}


def test_the_cost_of_a_fit_is_the_moving_training_windows_it_draws():
    train = LIMITS.parts(WINDOWS)[0]
    moving = train.take(~frozen(train))
    own = sum(1 for place in moving.symbol if WINDOWS.series.symbols[place] == "THIN")
    costs = {one.id: one.cost for one in plan_of().tasks}
    assert costs["THIN/scratch-0"] == CONFIG.scratch.epochs * own
    assert costs["general/seed-0"] == CONFIG.general.epochs * round(len(moving) / 3)


@pytest.mark.parametrize(
    ("share", "most", "available", "expected"),
    [(1.0, None, 500, 500), (1 / 3, None, 900, 300), (1.0, 64, 900, 64), (0.01, None, 3, 1), (1.0, 64, 9, 9)],
)
def test_an_epoch_draws_its_share_up_to_the_maximum(share, most, available, expected):
    assert windows_per_epoch(FitConfig(epoch_share=share, windows_per_epoch=most), available) == expected


def test_a_queue_of_a_thousand_specific_stocks_starts_within_seconds():
    rows = history(20 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.02, 160))))
    names = tuple(f"S{number:03}" for number in range(1000))
    series = series_from_histories(dict.fromkeys(names, rows), UNKNOWN_MARKET)
    days = np.unique(series.dates)
    config = TrainConfig(window=SPEC, minimum_windows=5)
    universe = Universe.from_symbols(names, specific=names)
    plan = make_plan(config, universe, make_windows(series, SPEC), Boundaries(days[60], days[120], days[-1]))
    assert len(plan.tasks) == config.seeds + 1 + (config.seeds + 2) * 1000
    started = time.process_time()
    TaskQueue(plan, Path("/nowhere"))
    assert time.process_time() - started < 5
