"""Releases of somebody who can write the storage root: whole, hashed, and meant to do harm.

Every harm has a canary: a file that its payload would make, or a file outside that must not be read. That the
payloads are live is tested too.
"""

import ast
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.releases.hostile import assert_refused_everywhere, call, served
from support.releases.loaded_release import SETTINGS
from support.releases.release import doctored, made_release

from common.errors import BundleError
from common.release.bundle import GENERAL, BundleFiles, load_bundle
from common.release.manifest import MANIFEST, Release, _digest
from common.release.registry import Registry

ROOT = Path(__file__).resolve().parents[4]
NETWORK, SCALERS, DATA = (
    f"general_residual/{name}" for name in ("model.onnx", "scalers.json", "metadata.json")
)
DEEP = "[" * 100_000 + "]" * 100_000
Change = Callable[[Path], object]


class Payload:
    """Makes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return made_release(tmp_path / "home", **SETTINGS | {"shift": 0.0})


# Files that would run code
def pickled(canary: Path) -> Change:
    return lambda folder: joblib.dump(Payload(canary), folder / "general_residual" / "scalers.joblib")


def with_lambda(canary: Path) -> Change:
    import keras

    name, network = str(canary), keras.Sequential([keras.Input((1,))])
    network.add(keras.layers.Lambda(lambda x: (open(name, "w").close(), x)[1], output_shape=(1,)))
    canary.unlink(missing_ok=True)  # making it ran it once
    return lambda folder: network.save(folder / "general_residual" / "general_residual_best.h5")


def in_parquet(canary: Path) -> Change:
    """A column of the kind that pyarrow before 14.0.1 unpickled."""
    kind = {"ARROW:extension:name": "arrow.py_extension_type"}
    kind["ARROW:extension:metadata"] = pickle.dumps(Payload(canary), 0).decode()

    def change(folder: Path) -> None:
        for name in ("panel.parquet", "test_forecasts.parquet"):
            table = pq.read_table(folder / name)
            column = pa.field("extra", pa.int64(), metadata=kind)
            pq.write_table(table.append_column(column, pa.array([0] * len(table))), folder / name)

    return change


@pytest.mark.parametrize("make", [pickled, with_lambda, in_parquet])
def test_a_file_that_would_run_code_is_never_run_by_anything_that_reads_a_release(release, canary, make):
    home = release.path.parents[1]
    doctored(release, make(canary))
    for command in (("predict", "MOVES"), ("validate",)):
        assert call(home, *command, "--release", "made")[0] == 0
    for command in (("models", "verify", "made"), ("models", "promote", "made"), ("models",)):
        assert call(home, *command)[0] == 0
    assert served(home).outcome == "taken"
    assert not canary.exists()


def test_those_payloads_are_live(release, canary):
    import keras

    doctored(release, pickled(canary))
    joblib.load(release.path / "general_residual" / "scalers.joblib")
    assert canary.exists()
    canary.unlink()
    doctored(release, with_lambda(canary))
    path = release.path / "general_residual" / "general_residual_best.h5"
    with pytest.raises(Exception, match="safe_mode"):
        keras.models.load_model(path)
    keras.models.load_model(path, safe_mode=False)(np.zeros((1, 1), "float32"))
    assert canary.exists()


RUNS_CODE = {
    *(
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "joblib.load",
        "cloudpickle.load",
        "cloudpickle.loads",
    ),
    *("marshal.loads", "dill.load", "torch.load", "yaml.load", "yaml.unsafe_load", "pd.read_pickle"),
    *("keras.models.load_model", "keras.saving.load_model", "eval", "exec", "os.system", "shelve.open"),
}


def test_our_code_calls_no_function_that_runs_code_from_a_file():
    calls = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), ast.unparse(node))
        for package in ("common", "train", "tune", "serve", "cluster")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    assert [place for place, name, _ in calls if name in RUNS_CODE or name.endswith("load_model")] == []
    arrays = [(place, text) for place, name, text in calls if name in ("np.load", "numpy.load")]
    assert arrays and all("allow_pickle=False" in text for _, text in arrays), arrays


# Paths and links
@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every path that Python opens from now on."""
    seen: list[str] = []
    active = [True]
    sys.addaudithook(lambda event, args: seen.append(str(args[0])) if active and event == "open" else None)
    yield seen
    active.clear()


@pytest.mark.parametrize("path", ["../../canary", "{canary}", "general_residual/../../../canary"])
def test_a_manifest_that_names_a_file_outside_is_refused_and_the_file_not_opened(
    release, tmp_path, canary, opened, path
):
    home, name = release.path.parents[1], path.format(canary=canary)
    canary.write_bytes(b"secret")
    manifest = json.loads((release.path / MANIFEST).read_bytes())
    manifest["files"][name] = {
        "bytes": 6,
        "sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    }
    (release.path / MANIFEST).write_text(json.dumps(manifest | {"digest": _digest(manifest)}))
    opened.clear()
    assert_refused_everywhere(home, "outside the release", hashes_fit=False)
    assert opened and str(canary) not in opened and str(release.path / name) not in opened


@pytest.mark.parametrize("what", [NETWORK, SCALERS, "universe.json", "panel.parquet", "general_residual"])
def test_a_link_in_a_release_is_refused_and_not_followed(release, tmp_path, opened, what):
    path, target = release.path / what, tmp_path / "elsewhere"
    path.rename(target)
    path.symlink_to(target)
    opened.clear()
    assert_refused_everywhere(release.path.parents[1], "a symbolic link", hashes_fit=False)
    assert opened and not any(item.startswith((str(target), str(path))) for item in opened)


def test_a_release_that_is_itself_a_link_is_refused(release, tmp_path):
    release.path.rename(tmp_path / "made")
    release.path.symlink_to(tmp_path / "made")
    assert_refused_everywhere(release.path.parent.parent, "a link or no folder", hashes_fit=False)


@pytest.mark.parametrize("name", ["../../outside", "a/b", "/etc", "..", ".", "", "a\0b", None, 3])
def test_a_preset_or_symbol_that_is_no_plain_name_makes_no_path(tmp_path, name):
    for preset, job in ((name, GENERAL), ("residual", name)):
        with pytest.raises(BundleError, match="need a plain name"):
            BundleFiles.of(preset, job)
        with pytest.raises(BundleError, match="need a plain name"):
            load_bundle(tmp_path, preset, job)


@pytest.mark.parametrize("info", [{"preset": "../../x"}, {"preset": None}, {"jobs": ["../../x"]}])
def test_a_release_with_such_a_name_in_its_metadata_is_not_promoted(release, info):
    home = release.path.parents[1]
    doctored(release, **info)
    status, output = call(home, "models", "promote", "made")
    assert status == 1 and "need a plain name" in output and Registry(home).production() is None
    assert call(home, "validate", "--release", "made")[0] == 1


# Files that cannot be understood
def with_fields(name: str, **values) -> Change:
    def change(folder: Path) -> None:
        stored = json.loads((folder / name).read_bytes())
        (folder / name).write_text(json.dumps(stored | values))

    return change


def written(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        written("universe.json", "x"),
        written("universe.json", DEEP),
        written("calibration.json", DEEP),
        written(DATA, DEEP),
        written(DATA, "[]"),
        written("panel.parquet", "x"),
        written("performance_matrix.csv", "no,symbols\n1,2\n"),
        with_fields(SCALERS, mean="x"),
        with_fields(SCALERS, mean=[0.0]),
        with_fields(SCALERS, spread=[10**400] * 14),
        with_fields(DATA, stock_ids=3),
        with_fields(DATA, stock_ids={"THIN": 10**30}),
        with_fields(DATA, stock_ids={"THIN": 10**6}),
    ],
    ids=range(13),
)
def test_invalid_files_are_refused_with_a_reason_and_not_promoted(release, change):
    home = release.path.parents[1]
    doctored(release, change)
    status, output = call(home, "predict", "THIN", "--release", "made")
    assert status == 1 and "Traceback" not in output and output
    assert call(home, "models", "promote", "made")[0] == 1 and Registry(home).production() is None


@pytest.mark.parametrize("valid_end", [None, "x", 3])
def test_a_manifest_without_its_dates_is_refused_before_it_reaches_a_server(release, valid_end):
    home = release.path.parents[1]
    doctored(release, valid_end=valid_end)
    assert_refused_everywhere(home, "valid_end", hashes_fit=True)
