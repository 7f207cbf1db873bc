"""Nights that fail or stop, and the command that shows them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from support.releases.release import made_release
from support.training.night import LATER_END, retrain_request
from support.training.retrainings import WORSE, grow, later_nights, states
from typer.testing import CliRunner

import nsecast
from common.errors import TrainingError
from common.release.registry import Registry
from train.cli import retrain as nightly_cli
from train.nightly.nightly import retrain
from train.nightly.nightly_record import STEPS, listed, records


def test_a_night_that_failed_is_repeated_by_the_same_command(begun):
    run = grow(begun)
    in_the_way = run.folder.with_suffix(".lock")
    in_the_way.mkdir()
    with pytest.raises(TrainingError, match=r"retrain .*: train: .*Is a directory.* run the same command to"):
        later_nights(begun)
    failed = next(records(begun.home))
    assert failed.values["state"] == "failed"
    assert states(failed) == {"ingest": "done", "train": "failed"} | dict.fromkeys(STEPS[2:], "waiting")
    in_the_way.rmdir()
    record = later_nights(begun)
    assert record.id != failed.id and record.values["state"] == "promoted"
    assert record.decision("train")["run"] == run.id


def test_a_stop_between_the_move_and_its_record_leads_to_no_second_move(begun, monkeypatch):
    grow(begun)
    promote = Registry.promote

    def stopped(*arguments, **options):
        promote(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "promote", stopped)
        with pytest.raises(KeyboardInterrupt):
            later_nights(begun)
    interrupted = next(records(begun.home))
    assert interrupted.values["state"] == "interrupted" and len(begun.registry.history()) == 2
    record = later_nights(begun)
    assert record.values["state"] == "current"
    assert record.values["production_after"] == begun.registry.production() == interrupted.values["release"]
    assert len(begun.registry.history()) == 2


def test_a_stop_between_two_steps_is_in_the_record_and_the_training_is_not_repeated(begun):
    grow(begun)

    def stop(step, record):
        if step == "train" and record.values["steps"][step]["state"] == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(retrain_request(begun.archive, overrides={}, universe=None), begun.home, watch=stop)
    stopped = next(records(begun.home))
    assert stopped.values["state"] == "interrupted" and states(stopped)["gate"] == "waiting"
    record = later_nights(begun)
    assert record.values["state"] == "promoted"
    trained = record.decision("train")
    assert trained["published_before"] and trained["release"] == stopped.values["release"]


def test_a_release_that_went_to_production_meanwhile_is_not_replaced_unjudged(begun, monkeypatch):
    grow(begun)
    rival = made_release(begun.home, "rival")
    from train.nightly import steps as nightly_steps

    judge = nightly_steps.judge

    def meanwhile(*arguments, **options):
        verdict = judge(*arguments, **options)
        begun.registry.promote(rival.id)
        return verdict

    monkeypatch.setattr(nightly_steps, "judge", meanwhile)
    with pytest.raises(TrainingError, match=r"promote: .*rival has gone to production meanwhile"):
        later_nights(begun)
    assert begun.registry.production() == "rival"


def command(place: SimpleNamespace, *words: str):
    return CliRunner().invoke(nsecast.app, ["retrain", "--no-refit", "--home", str(place.home), *words])


def test_the_command_prints_each_step_its_figures_and_the_release_in_production(begun):
    grow(begun)
    answer = command(begun, "--archive", str(begun.archive))
    assert answer.exit_code == 0, answer.output
    for number, step in enumerate(STEPS, start=1):
        assert f"[{number}/4] {step}" in answer.stderr
    release = begun.registry.production()
    assert "SYNTHETIC DATA" in answer.stdout and "naive" in answer.stdout
    assert f"production: {release}" in answer.stdout
    assert command(begun, "--archive", str(begun.archive), "--if-stale").stdout.startswith("nothing to do: ")


def test_the_command_ends_with_3_if_the_gate_refuses_and_with_1_if_a_step_fails(begun):
    production = begun.registry.production()
    grow(begun, shift=WORSE)
    document = command(begun, "--archive", str(begun.archive), "--json")
    assert document.exit_code == nightly_cli.REFUSED == 3
    assert json.loads(document.stdout)["production_after"] == production
    again = command(begun, "--archive", str(begun.archive))
    assert again.exit_code == 3 and "not promoted: " in again.stdout
    assert "relMAE of the published price" in again.stdout.replace("\n", " ")
    (begun.archive / "NSE_data_all_stocks_2021.csv").unlink()
    failed = command(begun, "--archive", str(begun.archive))
    assert failed.exit_code == 1
    (line,) = [line for line in failed.stderr.splitlines() if line]
    assert line.startswith("error: retrain ") and f"still {production}" in line
    assert begun.registry.production() == production
    assert command(begun, "--fetch").exit_code == 2


def test_the_list_shows_the_result_of_every_night(begun):
    grow(begun, shift=WORSE)
    later_nights(begun)
    (begun.archive / "NSE_data_all_stocks_2021.csv").unlink()
    with pytest.raises(TrainingError):
        later_nights(begun)
    assert [values["state"] for values in listed(begun.home)] == ["failed", "closed", "promoted"]
    shown = json.loads(command(begun, "--status", "--json").stdout)
    assert shown == list(listed(begun.home))
    table = command(begun, "--status").stdout
    assert all(word in table for word in ("failed", "closed", "promoted", f"{LATER_END}"))


def test_a_night_whose_process_is_gone_is_listed_as_interrupted(begun):
    begun.first.save(state="running")
    assert [values["state"] for values in listed(begun.home)] == ["interrupted"]


def test_no_figure_of_a_record_is_nan(begun):
    grow(begun)
    text = (later_nights(begun).folder / "record.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert np.isfinite(json.loads(text)["steps"]["gate"]["decision"]["comparison"]["release"]["mae"])
