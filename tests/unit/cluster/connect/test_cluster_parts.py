"""Code that travels, nodes that differ, processes that are ended, workers that fall silent."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest
from support.machine.waiting import until

from cluster.connect import ray_private
from cluster.connect.code_package import digest, stage
from cluster.connect.match import describe_process, differences
from cluster.connect.processes import MARK, end, name_of, processes_with_mark, start_time, still_running
from cluster.connect.session import start
from common.errors import RayUnavailable


def test_the_code_that_travels_is_small_and_holds_no_data_environment_or_history(tmp_path):
    stage(tmp_path)
    assert 300_000 < sum(path.stat().st_size for path in tmp_path.rglob("*")) < 4_000_000
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


def test_ray_that_starts_too_slowly_is_started_once_more_and_then_refused_in_a_sentence(monkeypatch):
    slow = [Exception("The current node timed out during startup.")] * 3

    def init(**options):
        if slow:
            raise slow.pop()

    monkeypatch.setattr(ray_private, "init", init)
    with pytest.raises(
        RayUnavailable, match=r"timed out during startup\. Check memory .* repeat the command"
    ):
        start(1)


def test_one_changed_byte_or_name_changes_the_digest(tmp_path):
    stage(tmp_path)
    assert digest(tmp_path) == digest()
    path = tmp_path / "common" / "errors.py"
    path.write_bytes(path.read_bytes() + b"#")
    changed = digest(tmp_path)
    path.rename(path.with_name("mistakes.py"))
    assert len({digest(), changed, digest(tmp_path)}) == 3


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
        until(lambda: [name_of(pid) for pid in processes_with_mark(mark)] == ["sleep"] * 2)  # no fork is left
        processes = processes_with_mark(f"{mark}/node-1")
        assert len(processes) == 2 and processes == processes_with_mark(mark)
        assert processes_with_mark(f"{mark}/node-2") == processes_with_mark(f"{mark}/node") == {}
        assert end(processes) == 2
        assert processes_with_mark(mark) == {} and bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_only_reuses_the_id_of_one_of_ours_is_left_alone():
    other = sleeper(uuid4().hex)
    try:
        assert still_running({other.pid: "born at another time"}) == []
        assert end({other.pid: "born at another time"}) == 0
        assert other.poll() is None and still_running({other.pid: start_time(other.pid)}) == [other.pid]
    finally:
        other.kill()
        other.wait()
