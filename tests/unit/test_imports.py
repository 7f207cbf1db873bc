"""Imports are cheap and without side effects, and errors survive pickling."""

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from support.architecture import HEAVY
from support.errors import every_error

import nsecast

ROOT = Path(__file__).resolve().parents[2]


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_the_command_starts_without_loading_tensorflow_or_keras():
    every = "[import_module(place.partition(':')[0]) for place in nsecast.COMMANDS.values()]"
    loaded = modules_after(f"import nsecast; from importlib import import_module; {every}")
    assert loaded >= {"train", "serve", "tune", "cluster", "ray"} and not loaded & HEAVY


def test_a_command_loads_no_more_than_it_needs():
    assert not modules_after("import nsecast") & {"train", "serve", "tune", "cluster", "ray", "pandas"}


def test_a_stopped_command_says_that_it_can_go_on(monkeypatch, capsys):
    def stopped() -> None:
        raise SystemExit(130)

    monkeypatch.setattr(sys, "argv", ["nsecast", "train"])
    monkeypatch.setattr(nsecast, "app", stopped)
    monkeypatch.setattr(nsecast.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        nsecast.main()
    assert capsys.readouterr().err.endswith("same command continues.\n")


def test_modules_of_common_used_by_serving_load_neither_tensorflow_nor_ray():
    names = (
        "forecast.forecaster",
        "network.mixture",
        "forecast.representation",
        "network.scaling",
        "presets",
        "release.bundle",
        "release.manifest",
        "release.registry",
    )
    loaded = modules_after("; ".join(f"import common.{name}" for name in names))
    assert "scipy" in loaded and not loaded & (HEAVY | {"ray", "onnxruntime"})


def test_importing_writes_nothing_and_changes_no_environment(tmp_path):
    """Ray itself sets a variable of its own when it is imported."""
    (tmp_path / "here").mkdir()
    code = (
        "import os, ray; before = dict(os.environ); import nsecast, train.workers.fleet; "
        "print(dict(os.environ) == before, os.listdir('.'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "here",
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1] == "True []"


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_survives_a_pickle_round_trip(kind):
    error = kind("KCB: need 60 closes, got 3.", symbol="KCB", need=60, got=3)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error) == "KCB: need 60 closes, got 3."
    assert again.message == error.message and again.args == error.args
    assert again.context == {"symbol": "KCB", "need": 60, "got": 3}


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_docstring_and_an_http_status(kind):
    assert inspect.getdoc(kind) and kind.__dict__.get("__doc__")
    assert "http_status" in kind.__dict__ and 400 <= kind.http_status < 600
