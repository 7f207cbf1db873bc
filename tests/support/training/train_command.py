"""The command `nsecast train` with small settings, as a user runs it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest

import nsecast
from support.machine.processes import running


def settings(*, epochs: int, batch_size: int, scratch: int, finetune: int) -> str:
    """Settings of a training of small networks; ``scratch`` and ``finetune`` are epochs."""
    return f"""
seeds = 1
[window]
size = 20
horizons = [1, 5]
[network]
lstm_units = [16, 16]
dense_units = 8
[general]
epochs = {epochs}
patience = {epochs}
batch_size = {batch_size}
epoch_share = 1.0
[scratch]
epochs = {scratch}
[finetune]
epochs = {finetune}
"""


def universe(*specific: str) -> str:
    """A universe of four stocks; ``specific`` have a model of their own."""
    return f"""
specific = {json.dumps(specific)}
[sectors.Banking]
ABSA = "ABSA Bank Kenya Plc"
COOP = "Co-operative Bank of Kenya Ltd"
[sectors.Manufacturing]
EABL = "East African Breweries Ltd"
[sectors."Construction and Allied"]
ARM = "ARM Cement Plc"
"""


SETTINGS = settings(epochs=40, batch_size=64, scratch=3, finetune=2)
UNIVERSE = universe("ABSA", "ARM")


def running_in(place: dict[str, Any], *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running(
        [sys.executable, "-m", "nsecast", *arguments],
        cwd=place["folder"],
        env=os.environ | {"NSECAST_HOME": str(place["home"])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(place: dict[str, Any], *arguments: str, expect: int = 0) -> tuple[str, str]:
    with running_in(place, *arguments) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == expect, err
    return out, err


def call_here(place: dict[str, Any], *arguments: str, expect: int = 0) -> tuple[str, str]:
    """The same in this process, which has imported everything already: for commands that do not train."""
    out, err, code, terminate = io.StringIO(), io.StringIO(), None, signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(place["folder"])
        patch.setenv("NSECAST_HOME", str(place["home"]))
        patch.setattr(sys, "argv", ["nsecast", *arguments])
        try:
            nsecast.main()
        except SystemExit as stop:
            code = stop.code
        finally:
            signal.signal(signal.SIGTERM, terminate)
    assert (code or 0) == expect, err.getvalue()
    return out.getvalue(), err.getvalue()


def running_job(place: dict[str, Any], pid: int, epoch: int) -> dict[str, Any]:
    """The general network's job of the run that this process trains, with the run, once it is so far."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        for path in place["home"].glob("runs/*/run.json"):
            record = json.loads(path.read_text())
            for job in record["jobs"] if record["pid"] == pid else ():
                if job["job"] == "general" and job["epoch"] >= epoch and job["state"] == "running":
                    return job | {"run": path.parent.name}
        time.sleep(0.1)
    raise TimeoutError("the general model never got going")


@dataclass(frozen=True)
class Trained:
    """A run that was stopped by Ctrl-C, continued by the same command, and requested a third time."""

    stopped: tuple[int, str, str]
    """Exit code, stdout and stderr."""
    state: str
    """Of the run, then."""
    document: dict[str, Any]
    """What the second command printed."""
    again: str
    """What the third command printed."""


def predicted(place: dict[str, Any], *arguments: str) -> dict[str, Any]:
    return json.loads(call_here(place, "predict", *arguments, "--json")[0])


def production(place: dict[str, Any]) -> dict[str, Any]:
    (release,) = [r for r in json.loads(call_here(place, "models", "--json")[0]) if r["production"]]
    return release
