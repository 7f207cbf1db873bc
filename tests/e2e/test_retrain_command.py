"""The nightly command as a user runs it: killed, stopped and continued, new files, broken files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.machine.processes import running
from support.training.night import (
    LATER_END,
    after_the_first_night,
    retrain_request,
    trained_ahead,
    write_archive,
)
from support.training.train_command import settings

from common.release.registry import Registry
from train.nightly.nightly_record import STEPS

pytestmark = [pytest.mark.e2e, pytest.mark.long]
SETTINGS = settings(epochs=80, batch_size=32, scratch=2, finetune=1)
UNIVERSE = """
specific = ["ABSA"]
[sectors.Banking]
ABSA = "ABSA Bank Kenya Plc"
COOP = "Co-operative Bank of Kenya Ltd"
[sectors.Manufacturing]
EABL = "East African Breweries Ltd"
"""
FIRST, LATER = date(2022, 6, 30), date(2022, 11, 30)


def started(home: Path, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running(
        [sys.executable, "-m", "nsecast", *arguments],
        cwd=home.parent,
        env=os.environ | {"NSECAST_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(home: Path, *arguments: str, expect: int = 0) -> tuple[str, str]:
    with started(home, *arguments) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == expect, out + err
    assert "Traceback" not in out + err
    return out, err


def newest(home: Path) -> dict[str, Any] | None:
    paths = sorted(home.glob("retrains/*/record.json"))
    return json.loads(paths[-1].read_bytes()) if paths else None


def wait_until(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never got there"
        time.sleep(0.002)


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def test_after_a_kill_inside_every_step_the_same_command_ends_with_one_complete_release_in_production(
    tmp_path,
):
    home, archive = after_the_first_night(tmp_path)
    registry = Registry(home)
    production, releases = registry.production(), {release.id for release in registry.releases()}
    write_archive(archive, LATER_END)
    trained_ahead(retrain_request(archive, overrides={}, universe=None), home, production)
    command = ("retrain", "--archive", str(archive), "--no-refit")
    for step in STEPS[:-1]:
        with started(home, *command) as process:

            def inside(step: str = step, pid: int = process.pid) -> bool:
                record = newest(home) or {}
                return record.get("pid") == pid and record["steps"][step]["state"] == "running"

            wait_until(process, inside)
            kill(process)
        states = {name: entry["state"] for name, entry in newest(home)["steps"].items()}
        assert [name for name in STEPS if states[name] == "done"] == [*STEPS[: STEPS.index(step)]]
        assert registry.production() == production
    assert json.loads(call(home, "retrain", "--status", "--json")[0])[0]["state"] == "interrupted"
    out, err = call(home, *command, "--json")
    record = json.loads(out)
    assert record["state"] == "promoted" and "[1/4] ingest" in err
    assert registry.production() == record["release"] and len(registry.history()) == 2
    assert {release.id for release in registry.releases() if release.state == "ok"} == releases | {
        record["release"]
    }
    assert len(list(home.glob("retrains/*/record.json"))) == 1 + len(STEPS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("operator")
    (folder / "settings.toml").write_text(SETTINGS)
    (folder / "universe.toml").write_text(UNIVERSE)
    archive = write_archive(folder / "archive", FIRST)
    command = ["retrain", "--archive", str(archive), "--config", "settings.toml", "--no-refit"]
    return {
        "home": folder / "home",
        "archive": archive,
        "command": [*command, "--universe", "universe.toml", "--workers", "2"],
    }


def epochs(home: Path, pid: int) -> int:
    """Epochs the general network of this process' run has behind it."""
    results = [json.loads(path.read_bytes()) for path in home.glob("runs/*/run.json")]
    jobs = [job for run in results if run.get("pid") == pid for job in run["jobs"]]
    return max(
        (job["epoch"] or 0 for job in jobs if job["job"] == "general" and job["state"] == "running"),
        default=0,
    )


@dataclass(frozen=True)
class Night:
    """A first night that was killed and stopped in training, continued, and requested again."""

    states: tuple[str, str]
    """Of the step that was killed, and of the record once it was stopped."""
    refused: tuple[int, str]
    """The running process, and the output of a second one started meanwhile."""
    stopped: tuple[int, str]
    """Exit code and output of the stopped process."""
    record: dict[str, Any]
    histories: list[list[dict[str, Any]]]
    """Of every general network that was trained."""
    again: str
    """What the last command printed."""
    releases: tuple[list[Any], list[Any]]
    """Before and after it."""


@pytest.fixture(scope="module")
def first_night(place: dict[str, Any]) -> Night:
    home, command = place["home"], place["command"]
    with started(home, *command) as process:
        wait_until(process, lambda: epochs(home, process.pid) >= 1)
        kill(process)
    killed = newest(home)["steps"]["train"]["state"]
    with started(home, *command) as again:
        wait_until(again, lambda: epochs(home, again.pid) >= 1)
        _, refused = call(home, *command, expect=1)
        os.kill(again.pid, signal.SIGTERM)
        _, err = again.communicate(timeout=60)
    stopped = newest(home)["state"]
    record = json.loads(call(home, *command, "--json")[0])
    histories = [
        json.loads(path.read_text())["history"]
        for path in home.glob("runs/*/tasks/general/seed-0/result.json")
    ]
    before = Registry(home).releases()
    out, _ = call(home, *command)
    return Night(
        (killed, stopped),
        (again.pid, refused),
        (again.returncode, err),
        record,
        histories,
        out,
        (before, Registry(home).releases()),
    )


def test_killed_and_stopped_in_training_it_continues_and_a_night_with_nothing_new_does_nothing(first_night):
    night = first_night
    assert night.states == ("running", "interrupted")
    pid, err = night.refused
    assert f"process {pid} on {os.uname().nodename} since" in err and "--wait" in err
    code, err = night.stopped
    assert code == 130 and "the same command continues" in err and "Traceback" not in err
    assert night.record["state"] == "promoted"
    (history,) = night.histories
    assert [epoch["epoch"] for epoch in history] == list(range(1, len(history) + 1)) and len(history) == 80
    assert night.again.startswith("nothing to do: ") and night.releases[0] == night.releases[1]


@pytest.mark.usefixtures("first_night")
def test_new_sessions_are_trained_on_and_forecasts_come_from_the_new_release(place):
    home, command = place["home"], place["command"]
    before = Registry(home).production()
    write_archive(place["archive"], LATER)
    out, err = call(home, *command)
    after = Registry(home).production()
    assert after != before and after.startswith(f"{LATER:%Y%m%d}-")
    assert f"production: {after}" in out and before in out and "naive" in out
    assert "state=training" in err and "[4/4] promote" in err
    answer = json.loads(call(home, "predict", "ABSA", "--json")[0])
    assert answer["release"] == after
    assert all(prediction["last_date"] == f"{LATER}" for prediction in answer["predictions"])


@pytest.mark.usefixtures("first_night")
def test_a_broken_archive_leaves_production_as_it_was(place):
    home, command = place["home"], place["command"]
    production, history = Registry(home).production(), Registry(home).history()
    path = place["archive"] / "NSE_data_all_stocks_2021.csv"
    content = path.read_bytes()
    path.write_bytes(content[:20_000])
    _, err = call(home, *command, expect=1)
    path.write_bytes(content)
    assert "sessions of production" in err and f"still {production}" in err
    assert newest(home)["state"] == "failed"
    assert Registry(home).history() == history
