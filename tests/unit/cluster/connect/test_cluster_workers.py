"""Workers that fall silent, are replaced, or are requested from Ray."""

import socket
import threading
from pathlib import Path

import pytest

from train.run.plan import Plan, Task
from train.workers.queue import ATTEMPTS, TaskQueue


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def one_task(folder: Path, clock: Clock) -> TaskQueue:
    """A queue of one task, whose workers may be silent for ten seconds."""
    task = Task("general/seed-0", "general", "seed-0", 0, (), 1.0, 4)
    return TaskQueue(Plan((task,), {}), folder, silence_s=10.0, clock=clock)


def test_the_task_of_a_silent_worker_is_given_to_another(tmp_path, clock):
    queue = one_task(tmp_path, clock)
    queue.hello(0, 2, 10)
    queue.hello(1, 2, 11)
    assert queue.lease(0).id == "general/seed-0" and queue.lease(1) == "wait"
    for _ in range(3):  # longer than the silence, but heard of
        clock.go(9)
        queue.beat(0, 10)
        assert queue.lease(1) == "wait"
    clock.go(10)
    assert queue.lease(1) == "wait"
    clock.go(0.1)
    assert queue.lease(1).id == "general/seed-0"


def test_the_beats_of_a_process_that_was_replaced_do_not_count(tmp_path, clock):
    queue = one_task(tmp_path, clock)
    queue.hello(0, 2, 10)
    assert queue.lease(0).id == "general/seed-0"
    clock.go(11)
    queue.beat(0, 9)
    assert queue.lease(1).id == "general/seed-0"


def test_a_worker_that_was_silent_for_too_long_writes_nothing_once_its_task_is_anothers(tmp_path, clock):
    queue = one_task(tmp_path, clock)
    for rank in (0, 1):
        queue.hello(rank, 2, 10 + rank, f"key-{rank}")
    assert queue.lease(0, "key-0").id == "general/seed-0"
    clock.go(11)
    assert queue.progress("general/seed-0", 0, None, "key-0"), "no worker has leased it yet"
    clock.go(11)
    assert queue.lease(1, "key-1").id == "general/seed-0"
    assert not queue.progress("general/seed-0", 0, None, "key-0")
    queue.failed("general/seed-0", "its disk was unreachable", 0, "key-0")
    assert queue.progress("general/seed-0", 1, None, "key-1")
    assert queue.lease(0, "key-0") == "wait"


def test_a_process_whose_rank_was_given_to_another_gets_no_task_and_writes_nothing(tmp_path, clock):
    queue = one_task(tmp_path, clock)
    queue.hello(0, 1, 10, "before")
    assert queue.lease(0, "before").id == "general/seed-0"
    queue.hello(0, 1, 10, "after")
    assert not queue.progress("general/seed-0", 0, None, "before")
    assert queue.lease(0, "before") == "end"
    assert queue.lease(0, "after").id == "general/seed-0"


def test_restarts_because_a_node_joined_do_not_count_as_failures_of_tasks(tmp_path, clock):
    queue = one_task(tmp_path, clock)
    for size in range(1, 2 + ATTEMPTS):
        queue.hello(size - 1, size, 10, f"last of {size}")
        assert queue.lease(size - 1, f"last of {size}").id == "general/seed-0"
        assert not queue.progress("general/seed-0", size - 2, None, f"last of {size - 1}") or size == 1


def test_a_task_that_silences_every_worker_is_given_up(tmp_path, clock):
    queue = one_task(tmp_path, clock)
    for rank in range(ATTEMPTS):
        assert queue.lease(rank).id == "general/seed-0"
        clock.go(11)
    assert queue.lease(ATTEMPTS) == "end"
    assert queue.snapshot()[0]["reason"] == f"its worker died {ATTEMPTS} times"


def test_no_worker_is_requested_on_a_node_that_does_not_respond(monkeypatch):
    import ray
    from ray.train.v2._internal.execution.scaling_policy.scaling_policy import ResizeDecision

    from cluster.connect.ray_private import at_most
    from train.workers.elastic import room

    def node(port: int, alive: bool = True) -> dict[str, object]:
        address = {"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": port}
        return {"Alive": alive, "Resources": {"CPU": 2.0}, **address}

    def granted(wanted: int, *nodes: dict[str, object]) -> int:
        monkeypatch.setattr(ray, "nodes", lambda: list(nodes))
        decision = ResizeDecision(num_workers=wanted, resources_per_worker={"CPU": 1})
        at_most(room).before_controller_execute_resize_decision(decision)
        return decision.num_workers

    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as gone:
        answers, silent = there.getsockname()[1], gone.getsockname()[1]
        assert granted(4, node(answers), node(silent)) == 4
        gone.close()
        assert granted(4, node(answers), node(silent)) == 2
        assert granted(4, node(answers), node(answers, alive=False)) == 2
        assert granted(1, node(answers)) == 1
        assert granted(4, node(silent)) == 1


def test_a_call_that_never_ends_is_abandoned_once_its_result_is_not_needed():
    from train.workers.elastic import in_thread

    for_ever, needed = threading.Event(), iter([False, True])
    assert in_thread(for_ever.wait, enough=lambda: next(needed)) is False
    assert next(needed, None) is None and not for_ever.is_set()
    for_ever.set()
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 // 0, enough=lambda: False)
