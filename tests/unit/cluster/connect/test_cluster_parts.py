"""Code that travels, nodes that differ, processes that are ended, workers that fall silent."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from cluster.connect.code_package import LIMIT_BYTES, code_files, digest, stage
from cluster.connect.match import describe_process, differences
from cluster.connect.processes import MARK, end, processes_with_mark, start_time, still_running
from common.errors import ConfigError
from train.run.plan import Plan, Task
from train.workers.queue import ATTEMPTS, TaskQueue


def test_the_code_that_travels_is_small_and_holds_no_data_environment_or_history(tmp_path):
    sent = stage(tmp_path)
    assert 300_000 < sent < 3_000_000
    assert {path.name for path in tmp_path.iterdir()} == {
        *("common", "train", "serve", "tune", "cluster", "nsecast.py")
    }
    assert not [path for path in tmp_path.rglob("*") if path.name in ("__pycache__", ".git", ".venv")]


def test_the_command_runs_from_the_code_that_travelled(tmp_path):
    stage(tmp_path)
    code = (
        "import nsecast, cluster.connect.code_package as package; print(nsecast.__file__, package.digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [str(tmp_path / "nsecast.py"), digest()]


TOLD_TO_END = """
import os, signal
import ray._private.node as node
from cluster.connect.session import ray_session

def end(number, frame):
    raise KeyboardInterrupt

def begin(self, *args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, end)
node.Node.__init__ = begin
try:
    with ray_session(cpus=1):
        pass
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_command_terminated_while_ray_starts_counts_as_interrupted():
    done = subprocess.run([sys.executable, "-c", TOLD_TO_END], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_one_changed_byte_or_name_changes_the_digest(tmp_path):
    stage(tmp_path)
    assert digest(tmp_path) == digest()
    path = tmp_path / "common" / "errors.py"
    path.write_bytes(path.read_bytes() + b"#")
    changed = digest(tmp_path)
    path.rename(path.with_name("mistakes.py"))
    assert len({digest(), changed, digest(tmp_path)}) == 3


def test_data_left_in_a_package_is_named_and_not_sent(tmp_path):
    (tmp_path / "train").mkdir()
    with (tmp_path / "train" / "prices.parquet").open("wb") as stream:
        stream.truncate(LIMIT_BYTES + 1)
    with pytest.raises(ConfigError, match=r"prices\.parquet"):
        stage(tmp_path / "out", tmp_path)
    assert list(code_files(tmp_path / "out")) == []


def test_a_node_like_this_one_has_no_difference(tmp_path):
    probe = tmp_path / "probe"
    probe.write_text("here")
    need = describe_process(None)
    assert need["python"] == sys.version.split()[0] and need["numpy"].count(".") == 2
    assert differences(need, {"10.0.0.2": describe_process((str(probe), "here"))}, str(tmp_path)) == []


def test_every_difference_names_node_package_what_it_is_and_what_is_needed(tmp_path):
    need = describe_process(None)
    other = need | {"keras": "3.0.0", "nsecast code": "beef", "code at": "/opt/old"}
    lines = differences(need, {"10.0.0.3": other, "10.0.0.2": "no answer in 120 s"}, "/shared/nse")
    assert lines == [
        "node 10.0.0.2 cannot run our code: no answer in 120 s",
        f"node 10.0.0.3: keras is 3.0.0, need {need['keras']}",
        f"node 10.0.0.3: nsecast code is beef (from /opt/old), need {need['nsecast code']}",
    ]


def test_an_unshared_storage_root_is_distinguished_from_a_missing_one(tmp_path):
    probe = tmp_path / "probe"
    probe.write_text("of another disk")
    need = describe_process(None)
    seen = {
        "a": describe_process((str(probe), "of this disk")),
        "b": describe_process((str(tmp_path / "nothing"), "x")),
        "c": describe_process((str(tmp_path / "none" / "nothing"), "x")),
    }
    assert differences(need, seen, "/shared/nse") == [
        "node a: sees another folder as /shared/nse",
        "node b: cannot see the storage root /shared/nse",
        "node c: there is no folder /shared/nse",
    ]


def sleeper(mark: str) -> subprocess.Popen:
    return subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: mark}, start_new_session=True)


def test_exactly_the_marked_processes_are_found_and_ended_even_without_their_parent():
    mark = uuid4().hex
    bystander = sleeper(f"x{mark}")
    subprocess.run(  # the parent ends at once and leaves a child behind
        ["sh", "-c", "sleep 60 & sleep 60 &"],
        env=os.environ | {MARK: f"{mark}/node-1"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    try:
        processes = processes_with_mark(f"{mark}/node-1")
        assert len(processes) == 2 and processes == processes_with_mark(mark)
        assert processes_with_mark(f"{mark}/node-2") == {}
        assert end(processes) == 2
        assert processes_with_mark(mark) == {} and bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_merely_has_the_number_of_one_of_ours_is_left_alone():
    other = sleeper(uuid4().hex)
    try:
        assert still_running({other.pid: "born at another time"}) == []
        assert end({other.pid: "born at another time"}) == 0
        assert other.poll() is None and still_running({other.pid: start_time(other.pid)}) == [other.pid]
    finally:
        other.kill()
        other.wait()


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


def test_what_a_silent_worker_held_goes_to_one_that_asks(tmp_path, clock):
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


def test_a_process_whose_rank_another_has_by_now_gets_nothing_and_writes_nothing(tmp_path, clock):
    queue = one_task(tmp_path, clock)
    queue.hello(0, 1, 10, "before")
    assert queue.lease(0, "before").id == "general/seed-0"
    queue.hello(0, 1, 10, "after")
    assert not queue.progress("general/seed-0", 0, None, "before")
    assert queue.lease(0, "before") == "end"
    assert queue.lease(0, "after").id == "general/seed-0"


def test_workers_that_are_started_anew_because_a_node_joined_did_not_die_of_their_tasks(tmp_path, clock):
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
