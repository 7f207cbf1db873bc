import json
import os
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from train.progress.runs import list_runs, read_run, runs, write_progress

JOBS = [{"job": "general", "state": "done"}, {"job": "SCOM", "state": "running", "loss": float("nan")}]


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(runs)
    return app


def record(home, run_id="run-1", **values):
    snapshot = {
        "run": run_id,
        "source": "synthetic",
        "preset": "residual",
        "started": time.time() - 5,
        "workers": 2,
        "state": "training",
        "jobs": JOBS,
    } | values
    write_progress(home / "runs" / run_id, snapshot)


def amend(home, run_id="run-1", **values):
    path = home / "runs" / run_id / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_running_run_is_listed_with_its_jobs_and_process(tmp_path):
    record(tmp_path)
    [run] = list_runs(tmp_path)
    assert (run["id"], run["state"], run["preset"], run["source"]) == (
        "run-1",
        "training",
        "residual",
        "synthetic",
    )
    assert (run["jobs_done"], run["jobs_total"], run["pid"]) == (1, 2, os.getpid())


def test_numbers_that_json_cannot_hold_become_null(tmp_path):
    record(tmp_path)
    assert read_run(tmp_path / "runs" / "run-1")["jobs"][1]["loss"] is None


def test_a_run_whose_process_is_gone_is_interrupted(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    record(tmp_path)
    amend(tmp_path, pid=process.pid)
    assert list_runs(tmp_path)[0]["state"] == "interrupted"
    amend(tmp_path, host="another-host")
    assert list_runs(tmp_path)[0]["state"] == "training"


def test_a_run_silent_for_a_minute_is_interrupted_wherever_it_ran(tmp_path):
    record(tmp_path)
    amend(tmp_path, updated=time.time() - 61, host="another-host")
    assert list_runs(tmp_path)[0]["state"] == "interrupted"


@pytest.mark.parametrize("state", ["done", "failed"])
def test_a_run_that_ended_keeps_its_state(tmp_path, state):
    record(tmp_path, state=state)
    amend(tmp_path, updated=0.0, pid=2**22 + 1)
    assert list_runs(tmp_path)[0]["state"] == state


def test_runs_are_listed_newest_first_and_a_broken_record_does_not_hide_the_others(tmp_path):
    record(tmp_path, "old", started=100.0)
    record(tmp_path, "new", started=200.0)
    record(tmp_path, "broken")
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    (tmp_path / "runs" / "no-record-yet").mkdir()
    assert [(run["id"], run["state"]) for run in list_runs(tmp_path)] == [
        ("new", "training"),
        ("old", "training"),
        ("broken", "unreadable"),
    ]


def test_the_command_prints_json_for_machines_and_a_table_for_people(app, tmp_path):
    record(tmp_path)
    answer = CliRunner().invoke(app, ["--json", "--home", str(tmp_path)])
    assert answer.exit_code == 0 and json.loads(answer.stdout) == list_runs(tmp_path)
    answer = CliRunner().invoke(app, ["--home", str(tmp_path)])
    assert answer.exit_code == 0 and "run-1" in answer.stdout and "SYNTHETIC" in answer.stdout


def test_an_empty_home_says_what_to_do_and_stays_empty(app, tmp_path):
    answer = CliRunner().invoke(app, ["--home", str(tmp_path / "none")])
    assert answer.exit_code == 0 and answer.stdout == "" and "nsecast train" in answer.stderr
    assert not (tmp_path / "none").exists()


def test_json_and_watch_exclude_each_other(app, tmp_path):
    assert CliRunner().invoke(app, ["--json", "--watch", "--home", str(tmp_path)]).exit_code == 2


def test_watching_writes_changes_until_ctrl_c_and_exits_zero(app, tmp_path, monkeypatch):
    record(tmp_path)
    ticks = iter([None, None])

    def sleep(_):
        if next(ticks, "stop") == "stop":
            raise KeyboardInterrupt
        record(tmp_path, state="done")

    monkeypatch.setattr("train.progress.runs.time.sleep", sleep)
    answer = CliRunner().invoke(app, ["--watch", "--home", str(tmp_path)])
    assert answer.exit_code == 0
    assert ["state=training" in answer.stdout, "run=run-1 state=done" in answer.stdout] == [True, True]
