"""Dependencies point one way, imports are cheap, and errors travel whole."""

import ast
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import nsecast
from common import errors

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"keras", "tensorflow"}
PACKAGES = ("common", "train", "tune", "serve", "cluster")
KERAS_BELOW_TRAINING = ROOT / "common" / "model" / "network.py"
FORBIDDEN = {
    "common": {"train", "serve", "tune", "cluster", "ray", "bench"},
    "train": {"serve", "tune", "bench"},
    "tune": {"serve", "bench"},
    "serve": {"train", "tune", "bench", *HEAVY},
    "cluster": {"bench"},
}
"""Top-level packages that may not be imported from each of ours, at any depth of a function."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> list[tuple[str, int]]:
    """Dotted names of all imports, those inside functions and conditions too, with their lines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"a relative import in line {node.lineno}"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            found += [(arg.value, node.lineno) for arg in node.args if isinstance(arg, ast.Constant)]
    return found


def offences(package: str, code: str, where: str) -> list[str]:
    forbidden = FORBIDDEN.get(package, set())
    return [
        f"{where}:{line} imports {name}"
        for name, line in imported(ast.parse(code))
        if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_dependencies_point_one_way(package):
    found = [line for path in sources(package) for line in offences(package, path.read_text(), str(path))]
    assert found == []


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("common", "def f():\n    from train.plan import Plan"),
        ("common", "import ray"),
        ("common", "if True:\n    import ray.serve as s"),
        ("serve", "from train import jobs"),
        ("serve", "import tensorflow as tf"),
        ("cluster", "from bench.chaos.home import copied"),
        ("train", "import importlib\nimportlib.import_module('serve.app')"),
    ],
)
def test_an_import_against_the_direction_is_caught(package, code):
    assert len(offences(package, code, "x.py")) == 1


def test_below_training_keras_is_imported_in_one_module_only():
    users = {
        path
        for path in sources("common")
        if any(name.split(".")[0] in HEAVY for name, _ in imported(ast.parse(path.read_text())))
    }
    assert users == {KERAS_BELOW_TRAINING}


def test_nothing_is_imported_from_ray_itself_nor_keras_from_tensorflow():
    found = []
    for path in [ROOT / "nsecast.py", *(path for package in PACKAGES for path in sources(package))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (
                node.module == "ray" or (node.module or "").startswith("tensorflow")
            ):
                found.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("tf.keras", "tensorflow.keras"):
                found.append(f"{path}:{node.lineno}")
    assert found == []


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


def test_what_serving_needs_of_common_loads_no_tensorflow_and_no_ray():
    names = ("bundle", "forecaster", "mixture", "presets", "registry", "release", "representation", "scaling")
    loaded = modules_after("; ".join(f"import common.model.{name}" for name in names))
    assert "scipy" in loaded and not loaded & (HEAVY | {"ray", "onnxruntime"})


def test_importing_writes_nothing_and_changes_no_environment(tmp_path):
    """Ray itself sets a variable of its own when it is imported."""
    (tmp_path / "here").mkdir()
    code = (
        "import os, ray; before = dict(os.environ); import nsecast, train.fleet; "
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


def every_error(kind: type = errors.NsecastError) -> list[type]:
    return [kind, *(found for below in kind.__subclasses__() for found in every_error(below))]


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
