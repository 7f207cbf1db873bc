"""The queue of tasks: order, leases, failures, progress."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.prices.panel import SPEC, history
from support.training.plan import plan_of
from support.training.queue_tasks import SMALL, drain, job, progress

from common.exchange.universe import Universe
from common.presets import TrainConfig
from common.prices.market_days import UNKNOWN_MARKET
from common.prices.series import series_from_histories
from common.prices.windows import Boundaries, make_windows
from train.run.plan import Plan, Task, make_plan
from train.workers.queue import ATTEMPTS, TaskQueue


@pytest.fixture
def queue(tmp_path: Path) -> TaskQueue:
    return TaskQueue(SMALL, tmp_path)


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


def test_a_queue_of_a_thousand_specific_stocks_starts_within_seconds():
    rows = history(20 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.02, 160))))
    names = tuple(f"S{number:03}" for number in range(1000))
    series = series_from_histories(dict.fromkeys(names, rows), UNKNOWN_MARKET)
    days = np.unique(series.dates)
    config = TrainConfig(window=SPEC, minimum_windows=5)
    universe = Universe.from_symbols(names, specific=names)
    limits = Boundaries(days[60], days[120], days[-1])
    plan = make_plan(config, universe, [make_windows(series, SPEC)], limits)
    assert len(plan.tasks) == config.seeds + 1 + (config.finetuned_seeds + 2) * 1000
    started = time.process_time()
    TaskQueue(plan, Path("/nowhere"))
    assert time.process_time() - started < 5
