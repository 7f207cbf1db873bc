"""A half-done run continues only with the library versions it was started with."""

import json
import shutil
from pathlib import Path

import pytest
from support.releases.release import made_run

from common.errors import ConfigError
from train.cli.train import _print_outcome
from train.pipeline.training import Run, execute, plan_run
from train.run.plan import Plan, Task
from train.run.scores import unusual_weights
from train.run.versions import (
    DECIDING,
    FILE,
    describe_changes,
    installed,
    record_or_check_versions,
    trained_with,
)


def half_done(run: Run) -> None:
    """Remove the bundles, so that the run has to continue."""
    for folder in (run.folder / "tasks").glob("*/bundle"):
        shutil.rmtree(folder)


def started_with(run: Run, **other: str) -> None:
    (run.folder / FILE).write_text(json.dumps(installed() | other))


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Run:
    monkeypatch.setattr("train.pipeline.training._train", lambda *_: pytest.fail("the run continued"))
    return made_run(tmp_path)


def test_a_half_done_run_of_another_tensorflow_is_refused_with_both_versions_and_the_next_step(run):
    half_done(run)
    started_with(run, tensorflow="2.20.9", keras="3.14.0")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    with pytest.raises(ConfigError) as refused:
        execute(run, mode="silent", refit=False)
    now = installed()
    message = refused.value.message
    assert f"tensorflow 2.20.9 (now {now['tensorflow']})" in message and "keras 3.14.0" in message
    assert f"numpy {now['numpy']} (now" not in message, "only what differs"
    assert "tensorflow==2.20.9" in message and "--fresh" in message
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_a_half_done_run_of_unknown_versions_is_refused_too(run):
    half_done(run)
    with pytest.raises(ConfigError, match=r"unknown versions .* --fresh"):
        execute(run, mode="silent", refit=False)


def test_a_half_done_run_of_the_same_versions_continues(run, monkeypatch):
    half_done(run)
    started_with(run)
    record_or_check_versions(run.id, run.folder, run.plan)
    assert trained_with(run.folder) == installed()


def test_a_new_run_records_the_versions_of_everything_that_computes(tmp_path):
    record_or_check_versions(
        "new", tmp_path / "new", Plan((Task("general/seed-0", "general", "seed", 0, (), 1.0, 1),), {})
    )
    assert json.loads((tmp_path / "new" / FILE).read_bytes()) == installed()
    assert {"tensorflow", "keras", "numpy", "onnx"} <= set(DECIDING) == installed().keys()


def test_a_finished_run_of_other_versions_is_published_and_its_versions_are_named(run, capsys):
    started_with(run, tensorflow="2.20.9")
    result, before = execute(run, mode="silent", refit=False)
    assert not before and result.release.info["versions"]["tensorflow"] == "2.20.9"
    again, before = execute(run, mode="silent", refit=False)
    assert before and again.release == result.release
    _print_outcome(run, again, before, False, "")
    assert "It was trained with tensorflow 2.20.9 (now" in capsys.readouterr().out
    assert describe_changes(installed()) == "" == describe_changes({})


def test_only_a_run_whose_horizon_weights_differ_from_those_by_position_has_another_id():
    assert unusual_weights((1, 5, 10, 30)) == unusual_weights((1,)) == unusual_weights((1, 5)) == []
    assert unusual_weights((5, 10)) == [0.125, 0.0625]
    assert len(unusual_weights((1, 5, 10, 30, 60))) == 5


def test_the_versions_are_not_part_of_a_run_id(run, monkeypatch):
    monkeypatch.setattr("train.run.versions.version", lambda name: "9")
    spec = run.spec
    assert plan_run(spec.config, spec.universe, run.panel, run.home).id == run.id
