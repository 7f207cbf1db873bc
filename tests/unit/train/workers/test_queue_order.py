"""The queue leases what a plain search would, and its work does not grow with the square of the tasks."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.run.plan import EpochProgress, Plan, Task
from train.workers.queue import ATTEMPTS, TaskQueue

NOWHERE, SILENCE_S, WORLD = Path("/nowhere"), 30.0, 3


class PlainQueue:
    """The same rule without a heap: every lease looks at every task."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.now = plan, 0.0
        self.state = {task.id: "waiting" for task in plan.tasks}
        self.holder: dict[str, int] = {}
        self.deaths = dict.fromkeys(self.state, 0)
        self.heard: dict[int, float] = {}

    def hello(self, rank: int) -> None:
        for task in [task for task, holder in self.holder.items() if holder == rank]:
            self._lose(task)
        self.heard[rank] = self.now

    def lease(self, rank: int) -> Task | str:
        self.heard[rank] = self.now
        for task in sorted(self.holder, key=[*self.state].index):
            if self.now - self.heard[self.holder[task]] > SILENCE_S:
                self._lose(task)
        for task in [task for task, holder in self.holder.items() if holder == rank]:
            del self.holder[task]
            self.state[task] = "waiting"
        best = None
        for task in self.plan.tasks:
            ready = self.state[task.id] == "waiting" and all(
                self.state[need] == "done" for need in task.needs
            )
            if ready and (best is None or self.plan.priorities[task.id] > self.plan.priorities[best.id]):
                best = task
        if best is None:
            return "wait" if {"waiting", "running"} & set(self.state.values()) else "end"
        self.state[best.id], self.holder[best.id] = "running", rank
        return best

    def progress(self, task: str, rank: int) -> bool:
        mine = self.state[task] == "waiting" or self.holder.get(task) == rank
        if mine:
            self.state[task], self.holder[task], self.deaths[task] = "running", rank, 0
        return mine

    def done(self, task: str) -> None:
        self.holder.pop(task, None)
        self.state[task] = "done"

    def failed(self, task: str) -> None:
        self.holder.pop(task, None)
        self.state[task] = "failed"
        for other in self.plan.tasks:
            if task in other.needs and self.state[other.id] == "waiting":
                self.failed(other.id)

    def _lose(self, task: str) -> None:
        del self.holder[task]
        self.state[task] = "waiting"
        self.deaths[task] += 1
        if self.deaths[task] >= ATTEMPTS:
            self.failed(task)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Tasks with few different costs, so that priorities tie, each needing some of those before it."""
    tasks: list[Task] = []
    for number in range(draw(st.integers(1, 9))):
        needs = tuple(task.id for task in tasks if draw(st.integers(0, 3)) == 0)
        cost = float(draw(st.integers(1, 3)))
        tasks.append(Task(f"S{number}/scratch-0", f"S{number}", "scratch", 0, needs, cost, 4))
    return Plan(tuple(tasks), {})


STEPS = st.tuples(
    st.sampled_from(["lease", "lease", "lease", "done", "failed", "progress", "hello", "silence"]),
    st.integers(0, WORLD - 1),
    st.integers(0, 8),
)


@settings(max_examples=400, deadline=None)
@given(plans(), st.lists(STEPS, max_size=60))
def test_every_lease_equals_that_of_the_plain_search(plan, steps):
    ids, plain = [task.id for task in plan.tasks], PlainQueue(plan)
    queue = TaskQueue(plan, NOWHERE, silence_s=SILENCE_S, clock=lambda: plain.now)
    for rank in range(WORLD):
        queue.hello(rank, WORLD, rank)
        plain.hello(rank)
    leases = [("lease", rank, 0) for rank in range(WORLD)]
    for step, rank, number in [*steps, *leases * len(ids)]:
        task = ids[number % len(ids)]
        plain.now += 40.0 if step == "silence" else 0.5
        if step == "lease":
            assert queue.lease(rank) == plain.lease(rank)
        elif step == "progress":
            epoch = EpochProgress(1, 4, 1.0, 1.0, 1.0, 1.0, 1, 1.0)
            assert queue.progress(task, rank, epoch) == plain.progress(task, rank)
        elif step == "hello":
            queue.hello(rank, WORLD, rank)
            plain.hello(rank)
        elif step == "done":
            queue.done(task)
            plain.done(task)
        elif step == "failed":
            queue.failed(task, "broken")
            plain.failed(task)
        states = {task: entry.state for task, entry in queue._entries.items()}
        assert states == plain.state


def specific_models(count: int) -> Plan:
    """A general network, and for each of ``count`` stocks one from scratch, one fine-tuned and the bundle."""
    general = "general/seed-0"
    tasks = [Task(general, "general", "seed", 0, (), 1e6, 1)]
    for number in range(count):
        job, cost = f"S{number:05}", float(1 + number * 7919 % count)
        fits = [
            Task(f"{job}/scratch-0", job, "scratch", 0, (), cost, 1),
            Task(f"{job}/finetune-0", job, "finetune", 0, (general,), cost / 2, 1),
        ]
        needs = (*(fit.id for fit in fits), general)
        tasks += [*fits, Task(f"{job}/bundle", job, "bundle", 0, needs, 1.0, 0)]
    return Plan(tuple(tasks), {})


def operations(count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Count comparisons of priorities and states while one worker does all tasks."""
    comparisons = 0

    class Counted(float):
        def _count(name):
            def compare(self, other):
                nonlocal comparisons
                comparisons += 1
                return getattr(float, name)(self, other)

            return compare

        __lt__, __gt__, __eq__ = _count("__lt__"), _count("__gt__"), _count("__eq__")
        __hash__ = float.__hash__

        def __neg__(self) -> "Counted":
            return Counted(float.__neg__(self))

    class Looked(str):
        def __eq__(self, other):
            nonlocal comparisons
            comparisons += 1
            return str.__eq__(self, other)

        def __ne__(self, other):
            return not self == other

        __hash__ = str.__hash__

    plan = specific_models(count)
    priorities = {task: Counted(value) for task, value in plan.priorities.items()}
    monkeypatch.setattr(Plan, "priorities", property(lambda _: priorities))
    queue = TaskQueue(plan, NOWHERE)
    for entry in queue._entries.values():
        entry.state = Looked(entry.state)
    comparisons = 0
    handed_out = 0
    while isinstance(task := queue.lease(0), Task):
        queue.done(task.id)
        queue._entries[task.id].state = Looked("done")
        handed_out += 1
    monkeypatch.undo()
    assert task == "end" and handed_out == len(plan.tasks)
    return comparisons


def test_ten_times_the_specific_models_take_little_more_than_ten_times_the_work(monkeypatch):
    few, many = operations(40, monkeypatch), operations(400, monkeypatch)
    assert few > 200 * 3 and many / few < 20, "n log n; the square would be 100 times"


def test_ten_thousand_specific_models_can_be_leased(monkeypatch):
    few, many = operations(1_000, monkeypatch), operations(10_000, monkeypatch)
    assert many / few < 16
