"""Where a command runs, and how it reads as a job."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.machine.processes import running

from cluster.connect.address import resolve_address, without_address
from cluster.connect.jobs import _Log, job_command
from cluster.connect.local_cluster import read
from cluster.connect.processes import MARK, name_of
from common.errors import ConfigError


@pytest.fixture(autouse=True)
def no_cluster_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def head(tmp_path: Path) -> Iterator[list[int]]:
    """Processes that look like those of the head of a cluster ``abc``."""
    programs = [tmp_path / name for name in ("raylet", "gcs_server")]
    for program in programs:
        program.symlink_to(shutil.which("sleep"))
    environment = os.environ | {MARK: "abc/node-0"}
    with ExitStack() as stack:
        yield [stack.enter_context(running([program, "600"], env=environment)).pid for program in programs]


def write_cluster(home: Path, name: str = "abc") -> None:
    """The record of a storage root's cluster of one node."""
    record = {"id": name, "address": "127.0.0.2:4242", "dashboard": "http://127.0.0.1:8265"}
    record |= {"folder": str(home), "nodes": 1, "cpus": 1}
    (home / "cluster").mkdir(parents=True)
    (home / "cluster" / "cluster.json").write_text(json.dumps(record))


def test_the_record_of_a_cluster_that_an_earlier_version_started_is_read(tmp_path):
    write_cluster(tmp_path)
    path = tmp_path / "cluster" / "cluster.json"
    record = json.loads(path.read_text())
    del record["cpus"]
    path.write_text(
        json.dumps(record | {"nodes": [{"name": "node-0", "ip": "127.0.0.2", "cpus": 2, "processes": {}}]})
    )
    cluster = read(tmp_path)
    assert cluster is not None and (cluster.nodes, cluster.cpus) == (1, 2)


def test_without_an_address_ray_runs_on_this_machine(tmp_path):
    assert resolve_address(None, tmp_path) is None


def test_a_driver_outside_the_cluster_is_told_to_submit_a_job(tmp_path):
    with pytest.raises(ConfigError, match="http://HEAD:8265"):
        resolve_address("ray://head:10001", tmp_path)


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port"])
def test_an_address_of_no_known_form_is_refused(address, tmp_path):
    with pytest.raises(ConfigError, match="need auto, HOST:PORT"):
        resolve_address(address, tmp_path)


def test_host_and_port_are_taken_as_they_are(tmp_path):
    assert resolve_address("10.0.0.1:6379", tmp_path) == "10.0.0.1:6379"


def test_auto_is_the_cluster_of_this_storage_root_while_its_head_runs(tmp_path, head):
    write_cluster(tmp_path)
    assert resolve_address("auto", tmp_path) == "127.0.0.2:4242"


def test_auto_is_rays_own_search_once_that_cluster_is_gone(tmp_path, head):
    write_cluster(tmp_path, "another")
    assert resolve_address("auto", tmp_path) == "auto"


@pytest.mark.parametrize("program", ["raylet", "gcs_server"])
def test_a_head_of_which_only_a_part_is_left_does_not_run(tmp_path, head, program):
    pid = next(pid for pid in head if name_of(pid) == program)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    write_cluster(tmp_path)
    assert resolve_address("auto", tmp_path) == "auto"


def test_a_job_that_names_no_storage_root_is_refused_before_it_writes_into_a_folder_that_goes(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("NSECAST_HOME", raising=False)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match="NSECAST_HOME"):
        resolve_address("auto", tmp_path)
    monkeypatch.setenv("NSECAST_HOME", str(tmp_path))
    assert resolve_address("auto", tmp_path) == "auto"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--address", "http://head:8265", "--quick"],
        ["train", "--quick", "--address=http://head:8265"],
        ["train", "--quick"],
    ],
)
def test_a_command_line_loses_its_address_and_nothing_else(command):
    assert without_address(command) == ["train", "--quick"]


def test_a_job_joins_the_cluster_it_is_in():
    assert job_command(["train", "--quick"]) == ["train", "--address", "auto", "--quick"]
    assert job_command(["models"]) == ["models"]
    assert job_command(["serve", "status"]) == ["serve", "status"]


def test_a_job_gets_paths_in_full_and_leaves_everything_else_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SCOM").mkdir()
    sent = job_command(
        ["train", "--only", "SCOM", "--archive", "data", "--config=my.toml", "--home", "/shared/x"]
    )
    here = str(tmp_path)
    assert sent[3:] == [
        "--only",
        "SCOM",
        "--archive",
        f"{here}/data",
        f"--config={here}/my.toml",
        "--home",
        "/shared/x",
    ]


@pytest.mark.parametrize("command", [[], ["train", "--address", "auto"], ["train", "--address=auto"]])
def test_a_job_of_no_command_or_with_an_address_of_its_own_is_refused(command):
    with pytest.raises(ConfigError, match="submit"):
        job_command(command)


def test_a_log_that_is_read_again_from_its_beginning_is_printed_once_and_without_rays_lines(capsys):
    complete = "INFO setting up\nRunning entrypoint for job j1: exec python\nepoch 1\nepoch 2\nerror: x\n"
    for cut in range(len(complete)):
        log = _Log("j1")
        log.show(complete[:cut])
        log.show("")  # as it is for a moment after the server was away
        log.show(complete)
        assert capsys.readouterr().out == "epoch 1\nepoch 2\nerror: x\n"
