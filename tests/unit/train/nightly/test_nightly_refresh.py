"""Nights that refresh production with new prices, and train only when that is due."""

import datetime as dt
import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from support.training.night import (
    FIRST_END,
    LATER_END,
    after_the_first_night,
    retrain_request,
    trained_ahead,
    write_archive,
)
from typer.testing import CliRunner

import nsecast
from common.errors import Busy, TrainingError
from common.release.lock import hold_lock, lock_of, retraining_lock_of
from common.release.refresh_production import rejects_of
from common.release.refreshed import REFRESHED, trained_release
from common.release.registry import Registry
from train.nightly import steps as nightly_steps
from train.nightly.nightly import retrain
from train.nightly.nightly_record import records

WEEK = dt.timedelta(days=7)
SOON = date(2022, 10, 5)
"""A few sessions after ``FIRST_END``, less than a week."""


@pytest.fixture
def begun(tmp_path: Path) -> SimpleNamespace:
    """The first night is over."""
    home, archive = after_the_first_night(tmp_path)
    return SimpleNamespace(home=home, archive=archive, registry=Registry(home))


def night(place: SimpleNamespace, **changes):
    usual = {"overrides": {}, "universe": None, "retrain_every": WEEK}
    return retrain(retrain_request(place.archive, **(usual | changes)), place.home)


def grow(place: SimpleNamespace, until: date, *, train: bool, shift: float = 0.0) -> None:
    write_archive(place.archive, until)
    if train:
        request = retrain_request(place.archive, overrides={}, universe=None)
        trained_ahead(request, place.home, place.registry.production(), shift=shift)


def test_between_two_trainings_a_night_only_refreshes(begun):
    first = begun.registry.production()
    grow(begun, SOON, train=False)
    record = night(begun)
    after = begun.registry.resolve("production")
    assert record.values["state"] == "refreshed" and after.id == record.values["production_after"] != first
    assert after.info[REFRESHED]["from"] == first and after.info[REFRESHED]["to"] == f"{SOON}"
    assert record.values["refresh"]["sessions"] == 3 and record.values["release"] is None
    assert record.values["steps"]["train"]["state"] == "skipped"
    assert f"due from {FIRST_END + WEEK}" in record.values["reason"]
    assert begun.registry.history()[-1]["retrain"]["id"] == record.id
    again = night(begun)
    assert again.values["state"] == "current" and "nothing new" in again.values["reason"]
    assert begun.registry.production() == after.id and len(begun.registry.history()) == 2


def test_hours_that_are_no_whole_days_are_rounded_up(begun):
    grow(begun, SOON, train=False)
    record = night(begun, retrain_every=WEEK - dt.timedelta(hours=12))
    assert f"due from {FIRST_END + WEEK}" in record.values["reason"]


def test_when_a_training_is_due_the_refresh_comes_first_and_the_training_replaces_it(begun):
    first = begun.registry.production()
    grow(begun, LATER_END, train=True)
    record = night(begun)
    assert record.values["state"] == "promoted", record.values["reason"]
    refreshed = record.values["refresh"]["release"]
    moves = [move["release"] for move in begun.registry.history()]
    assert moves == [first, refreshed, record.values["release"]]
    assert record.decision("gate")["against"] == refreshed
    after = begun.registry.resolve("production")
    assert REFRESHED not in after.info and trained_release(after)["to"] == f"{LATER_END}"
    assert night(begun).values["state"] == "current"


def test_a_training_that_the_gate_refused_is_not_repeated_every_night(begun):
    grow(begun, date(2022, 12, 28), train=True, shift=1.0)
    refused = night(begun)
    assert refused.values["state"] == "closed" and refused.values["release"]
    assert begun.registry.production() == refused.values["refresh"]["release"]
    again = night(begun)
    assert again.values["state"] == "current" and "due from 2023-01-04" in again.values["reason"]
    grow(begun, LATER_END, train=False)
    record = night(begun)
    assert record.values["state"] == "refreshed" and "due from 2023-01-04" in record.values["reason"]


def test_prices_that_the_data_gate_refuses_close_the_night(begun):
    first = begun.registry.production()
    grow(begun, SOON, train=False)
    path = begun.archive / "NSE_data_all_stocks_2022.csv"
    lines = path.read_text().splitlines(keepends=True)
    day = lines[-1].split(",")[0]
    kept = [line for line in lines if not line.startswith(f"{day},") or ",ABSA," in line or ",^" in line]
    path.write_text("".join(kept))
    record = night(begun)
    assert record.values["state"] == "closed" and "stocks priced" in record.values["reason"]
    assert begun.registry.production() == first
    grow(begun, SOON, train=False)
    assert night(begun).values["state"] == "refreshed"


def test_a_refreshed_release_has_old_networks_so_that_a_plain_night_trains(begun):
    grow(begun, SOON, train=False)
    night(begun)
    grow(begun, SOON, train=True)
    record = night(begun, retrain_every=None, if_stale=True)
    assert record.decision("ingest")["why"].startswith("3 new sessions")
    assert record.values["steps"]["train"]["state"] == "done"


def test_a_refresh_that_fails_is_in_the_record_and_the_next_night_repeats_it(begun, monkeypatch):
    grow(begun, SOON, train=False)

    def fail(*_, **__):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(nightly_steps, "refresh_production", fail)
        with pytest.raises(TrainingError, match=r"refresh: .*the disk is full"):
            night(begun)
    assert next(records(begun.home)).values["reason"] == "refresh: OSError: the disk is full"
    assert night(begun).values["state"] == "refreshed"


def test_two_retrainings_exclude_each_other(begun):
    with (
        hold_lock(retraining_lock_of(begun.home)),
        pytest.raises(Busy, match="another refresh or retraining"),
    ):
        night(begun)


def test_a_night_waits_for_a_refresh_and_names_it_if_it_does_not_end(begun, monkeypatch):
    grow(begun, SOON, train=False)
    monkeypatch.setattr(nightly_steps, "REFRESH_WAIT_S", 0.0)
    with hold_lock(lock_of(begun.home)), pytest.raises(TrainingError, match=r"refresh: .*at work already"):
        night(begun)
    assert night(begun).values["state"] == "refreshed"


def test_rows_that_a_night_rejects_are_kept_as_those_of_the_command(begun):
    grow(begun, SOON, train=False)
    path = begun.archive / "NSE_data_all_stocks_2022.csv"
    lines = path.read_text().splitlines(keepends=True)
    bad = next(line for line in reversed(lines) if ",ARM," in line).split(",")
    path.write_text("".join([*lines, ",".join([*bad[:1], "not a symbol", *bad[2:]])]))
    night(begun)
    rejected = pd.read_csv(rejects_of(begun.home))
    assert rejected["reason"].str.startswith("not a symbol").sum() == 1
    by_night = rejects_of(begun.home).read_bytes()
    command(begun, "refresh", "--archive", str(begun.archive))
    assert rejects_of(begun.home).read_bytes() == by_night


def command(place: SimpleNamespace, *words: str):
    return CliRunner().invoke(nsecast.app, [*words, "--home", str(place.home)])


def test_the_command_refreshes_once_and_says_what_it_added(begun):
    first = begun.registry.production()
    grow(begun, SOON, train=False)
    words = ("refresh", "--archive", str(begun.archive))
    planned = command(begun, *words, "--dry-run")
    assert planned.exit_code == 0 and f"would be added to {first}" in planned.stdout
    assert begun.registry.production() == first
    answer = command(begun, *words)
    assert answer.exit_code == 0, answer.output
    assert f"added to {first} (prices to {FIRST_END}): 3 sessions, 2022-10-03 to {SOON}" in answer.stdout
    assert f"production: {begun.registry.production()} (was {first})" in answer.stdout
    again = command(begun, *words, "--json")
    document = json.loads(again.stdout)
    assert again.exit_code == 0 and document["state"] == "current"
    assert document["release"] == begun.registry.production()
    with hold_lock(lock_of(begun.home)):
        busy = command(begun, *words)
    assert busy.exit_code == 1 and isinstance(busy.exception, Busy)


def test_the_command_refuses_older_files_and_needs_something_in_production(begun, tmp_path):
    production = begun.registry.production()
    write_archive(begun.archive, date(2022, 9, 28))
    older = command(begun, "refresh", "--archive", str(begun.archive))
    assert older.exit_code == 1 and "the new prices are older" in older.exception.message
    assert begun.registry.production() == production
    empty = SimpleNamespace(home=tmp_path / "empty")
    nothing = command(empty, "refresh", "--archive", str(begun.archive))
    assert nothing.exit_code == 1 and "nsecast train" in nothing.exception.message
    assert command(begun, "refresh").exit_code == 2


@pytest.mark.parametrize("text", ["7", "d", "1w", "-1d", "9999999999d"])
def test_an_interval_without_a_unit_is_refused(begun, text):
    answer = command(begun, "retrain", "--archive", str(begun.archive), f"--retrain-every={text}")
    assert answer.exit_code == 1 and "such as 7d" in answer.exception.message
