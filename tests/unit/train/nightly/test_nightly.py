"""Whole nights: what is new is trained, judged and promoted; what fails or is worse changes nothing."""

import asyncio
import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support.night import (
    FIRST_END,
    LATER_END,
    after_the_first_night,
    retrain_request,
    trained_ahead,
    write_archive,
)
from support.release import REAL, made_release
from typer.testing import CliRunner

import nsecast
from common.errors import BundleError, TrainingError
from common.release.registry import Registry
from serve.inference.release_watcher import ReleaseWatcher
from serve.observability.metrics import Observer
from train.cli import retrain as nightly_cli
from train.gate.comparison import MARGIN
from train.nightly.nightly import retrain
from train.nightly.nightly_record import STEPS, listed, records
from train.nightly.split import MINIMUM_TEST
from train.run.price_source import load_panel

WORSE = 1.0
"""A shift of a fresh network's forecasts that is clearly worse than naive."""


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    """A storage root and an archive up to ``FIRST_END``; nothing is trained yet."""
    archive = write_archive(tmp_path / "archive", FIRST_END)
    return SimpleNamespace(home=tmp_path / "home", archive=archive, registry=Registry(tmp_path / "home"))


def night(place: SimpleNamespace, **changes):
    return retrain(retrain_request(place.archive, **changes), place.home)


def later_nights(place: SimpleNamespace, **changes):
    """The same command without settings: production's are kept."""
    return night(place, **({"overrides": {}, "universe": None} | changes))


@pytest.fixture
def begun(tmp_path: Path) -> SimpleNamespace:
    """The first night is over."""
    home, archive = after_the_first_night(tmp_path)
    return SimpleNamespace(home=home, archive=archive, registry=Registry(home), first=next(records(home)))


def grow(place: SimpleNamespace, until: date = LATER_END, *, shift: float = 0.0):
    """New files, and what they will train is trained."""
    write_archive(place.archive, until)
    request = retrain_request(place.archive, overrides={}, universe=None)
    return trained_ahead(request, place.home, place.registry.production(), shift=shift)


def states(record) -> dict[str, str]:
    return {step: entry["state"] for step, entry in record.values["steps"].items()}


def sessions_between(place: SimpleNamespace, after: str, until: str) -> int:
    days = load_panel(place.archive, place.home).frame["date"].drop_duplicates()
    return int(((days > pd.Timestamp(after)) & (days <= pd.Timestamp(until))).sum())


def test_the_first_night_begins_from_nothing_and_keeps_every_decision(begun):
    values = begun.first.values
    assert values["state"] == "promoted" and states(begun.first) == dict.fromkeys(STEPS, "done")
    assert begun.registry.production() == values["release"] == values["production_after"]
    ingest = begun.first.decision("ingest")
    lines = sum(
        len(path.read_text().splitlines()) - 1 for path in begun.archive.glob("NSE_data_all_stocks_*.csv")
    )
    listed_stocks = len((begun.archive / "NSE_data_stock_market_sectors.csv").read_text().splitlines()) - 1
    assert ingest["read"] == lines + listed_stocks
    assert ingest["read"] == ingest["accepted"] + ingest["repaired"] + ingest["rejected"]
    assert ingest["last"] == f"{FIRST_END}" and ingest["verdict"] == "new"
    (move,) = begun.registry.history()
    assert move["gate"] == {"checks": "15 of 15", "comparison": None, "best": None}
    assert move["anchor"] == values["release"]
    assert move["retrain"]["id"] == begun.first.id
    assert move["retrain"]["backtest"] == begun.first.decision("backtest")
    assert json.loads((begun.first.folder / "record.json").read_text()) == values
    assert not (begun.first.folder / "panel.parquet").exists()


def test_a_second_night_with_nothing_new_trains_nothing_and_moves_nothing(begun):
    history, releases = begun.registry.history(), begun.registry.releases()
    for again in (night(begun), later_nights(begun)):
        assert again.values["state"] == "current" and "same data and settings" in again.values["reason"]
        assert states(again) == {"ingest": "done"} | dict.fromkeys(STEPS[1:], "skipped")
    assert begun.registry.history() == history and begun.registry.releases() == releases


def test_new_sessions_make_a_release_of_the_same_settings_whose_parts_keep_their_length(begun):
    before = begun.registry.resolve("production")
    grow(begun)
    record = later_nights(begun)
    after = begun.registry.resolve("production")
    assert record.values["state"] == "promoted" and after.id == record.values["release"] != before.id
    result = record.decision("ingest")
    assert result["new_sessions"] == sessions_between(begun, f"{FIRST_END}", f"{LATER_END}") > 20
    assert (result["rows_lost"], result["sessions_lost"]) == (0, 0)
    old, new = (json.loads(item.file("config.json").read_bytes()) for item in (before, after))
    assert {**old, "split": None} == {**new, "split": None}
    for first, last in (("train_end", "valid_end"), ("valid_end", "test_end")):
        lengths = [sessions_between(begun, item.info[first], item.info[last]) for item in (before, after)]
        assert lengths[0] == lengths[1] >= MINIMUM_TEST
    assert after.info["valid_end"] > before.info["valid_end"]


def test_a_server_takes_the_promoted_release_up_by_itself(begun):
    async def ready(loaded) -> None:
        pass

    watcher = ReleaseWatcher(begun.home, Observer(), ready)
    assert asyncio.run(watcher.check()).outcome == "taken"
    grow(begun)
    release = later_nights(begun).values["release"]
    result = asyncio.run(watcher.check())
    assert (result.outcome, result.release) == ("taken", release)
    assert asyncio.run(watcher.check()).outcome == "unchanged"


def test_both_releases_are_measured_on_the_days_that_neither_was_trained_or_chosen_on(begun):
    grow(begun)
    record = later_nights(begun)
    result, release = record.decision("backtest"), begun.registry.resolve("production")
    assert result["production"] == record.values["production"] and result["left_out"] is None
    assert result["from"] == release.info["valid_end"] and result["to"] == f"{LATER_END}"
    table = pd.read_parquet(release.file("test_forecasts.parquet"))
    for horizon, figures in result["horizons"].items():
        near = table[(table["horizon"] == int(horizon)) & ~table["frozen"]]
        naive = (near["last_price"] - near["actual"]).abs().mean()
        assert figures["n"] == len(near) and figures["naive"]["mae"] == pytest.approx(naive)
        for who in ("candidate", "production"):  # fresh networks say "no change"
            assert figures[who]["mae"] == pytest.approx(naive) and figures[who]["rel_mae"] == pytest.approx(1)
    comparison = record.decision("gate")["comparison"]
    assert comparison["release"]["mae"] == result["horizons"]["1"]["candidate"]["mae"]
    assert comparison["cutoffs"] == result["horizons"]["1"]["cutoffs"]
    kept = {path.parent.name for path in record.folder.glob("backtest/*/nsecast.parquet")}
    assert kept == {record.values["production"], record.values["release"]}


def test_a_worse_release_is_refused_once_and_not_trained_or_judged_again(begun):
    production = begun.registry.production()
    grow(begun, shift=WORSE)
    record = later_nights(begun)
    assert record.values["state"] == "closed" and begun.registry.production() == production
    comparison = record.decision("gate")["comparison"]
    assert comparison["release"]["rel_mae"] > comparison["production"]["rel_mae"] + MARGIN
    assert "relMAE of the published price" in record.values["reason"]
    assert states(record)["promote"] == "skipped" and len(begun.registry.history()) == 1
    again = later_nights(begun)
    assert again.values["state"] == "closed" and record.id in again.values["reason"]
    assert states(again) == {"ingest": "done"} | dict.fromkeys(STEPS[1:], "skipped")


def test_what_was_rolled_back_does_not_come_back_by_itself(begun):
    first = begun.registry.production()
    grow(begun)
    second = later_nights(begun).values["release"]
    begun.registry.rollback()
    record = later_nights(begun)
    assert record.values["state"] == "closed" and "was rolled back" in record.values["reason"]
    assert f"nsecast models promote {second}" in record.values["reason"]
    assert begun.registry.production() == first


@pytest.mark.parametrize(
    "damage", ["a year is gone", "it ends early", "closes differ", "no archive", "unread"]
)
def test_damaged_files_fail_the_night_and_leave_production(begun, damage):
    production, history = begun.registry.production(), begun.registry.history()
    path = begun.archive / "NSE_data_all_stocks_2022.csv"
    if damage == "a year is gone":
        (begun.archive / "NSE_data_all_stocks_2021.csv").unlink()
        message = r"nothing is left of 2021"
    elif damage == "it ends early":
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-30]))
        message = r"archive: 3 of the 452 sessions"
    elif damage == "closes differ":
        rows = [line.split(",") for line in path.read_text().splitlines()]
        for row in rows[1::20]:
            row[7] = "77.77"
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")
        message = r"have another close, more than 1%"
    elif damage == "no archive":
        begun.archive.rename(begun.archive.with_name("elsewhere"))
        message = r"cannot be read as a folder"
    else:
        path.unlink()
        path.mkdir()
        message = r"cannot be read: it is a folder"
    with pytest.raises(TrainingError, match=message) as failed:
        later_nights(begun)
    assert f"In production is still {production}" in failed.value.message
    newest = next(records(begun.home))
    assert newest.values["state"] == "failed" and newest.values["steps"]["ingest"]["error"]
    assert begun.registry.history() == history
    write_archive(begun.archive, FIRST_END)
    assert later_nights(begun).values["state"] == "current"


def test_a_few_corrected_closes_are_new_data_unless_only_new_sessions_count(begun):
    path = begun.archive / "NSE_data_all_stocks_2022.csv"
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if ",ABSA," in line and i > 1000)
    fields = lines[place].split(",")
    fields[7] = f"{float(fields[7]) + 0.05:.2f}"
    lines[place] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    stale = later_nights(begun, if_stale=True)
    assert stale.values["state"] == "current" and f"newest session, {FIRST_END}" in stale.values["reason"]
    request = retrain_request(begun.archive, overrides={}, universe=None)
    trained_ahead(request, begun.home, begun.registry.production())
    record = later_nights(begun)
    assert record.decision("ingest")["rows_changed"] == 1
    assert record.decision("ingest")["why"] == "0 new sessions, 0 new rows"
    assert record.values["state"] == "promoted"


def test_other_settings_are_a_reason_to_train_and_become_productions(begun):
    changes = {"overrides": {"network": {"dropout": 0.1}}, "universe": None}
    trained_ahead(retrain_request(begun.archive, **changes), begun.home, begun.registry.production())
    record = night(begun, **changes)
    assert record.decision("ingest")["why"] == "settings differ from production's"
    stored = json.loads(begun.registry.resolve("production").file("config.json").read_bytes())
    assert stored["network"]["dropout"] == 0.1 and stored["network"]["lstm_units"] == [4]
    assert night(begun, **changes).values["state"] == "current"
    assert later_nights(begun, if_stale=True).values["state"] == "current"


def test_synthetic_prices_never_follow_real_ones(place):
    real = place.registry.promote(made_release(place.home, "real", source=REAL).id)
    with pytest.raises(TrainingError, match=r"production \(real\) uses real prices and these are synthetic"):
        night(place)
    assert place.registry.production() == real.id


def test_damaged_production_is_named_and_given_settings_replace_it(begun):
    path = begun.registry.resolve("production").file("config.json")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(
        TrainingError, match=r"config\.json: got .* `nsecast models rollback`, or give the settings"
    ):
        later_nights(begun)
    with pytest.raises(BundleError):
        begun.registry.open("production")
    grown = write_archive(begun.archive, LATER_END)
    trained_ahead(retrain_request(grown), begun.home, begun.registry.production())
    assert night(begun).values["state"] == "promoted"


def test_a_step_that_failed_is_continued_without_repeating_those_before_it(begun):
    run = grow(begun)
    in_the_way = run.folder.with_suffix(".lock")
    in_the_way.mkdir()
    with pytest.raises(TrainingError, match=r"retrain .*: train: .*Is a directory.* run the same command to"):
        later_nights(begun)
    failed = next(records(begun.home))
    assert states(failed) == {"ingest": "done", "train": "failed"} | dict.fromkeys(STEPS[2:], "waiting")
    in_the_way.rmdir()
    record = later_nights(begun)
    assert (
        record.id == failed.id
        and record.values["state"] == "promoted"
        and not record.values["steps"]["train"]["error"]
    )
    assert record.values["steps"]["ingest"] == failed.values["steps"]["ingest"]
    assert record.values["steps"]["train"]["attempts"] == 2


def test_files_that_changed_before_a_night_was_done_supersede_it(begun):
    run = grow(begun, date(2022, 11, 30))
    run.folder.with_suffix(".lock").mkdir()
    with pytest.raises(TrainingError):
        later_nights(begun)
    unfinished = next(records(begun.home)).id
    grow(begun)
    record = later_nights(begun)
    assert record.values["state"] == "promoted" and record.id != unfinished
    assert {item.id: item.values["state"] for item in records(begun.home)}[unfinished] == "superseded"


def test_a_stop_between_the_move_and_its_record_is_continued_without_a_second_move(begun, monkeypatch):
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
    assert record.id == interrupted.id and record.values["state"] == "promoted"
    assert record.values["production_after"] == begun.registry.production()
    assert len(begun.registry.history()) == 2


def test_a_stop_between_two_steps_is_in_the_record(begun):
    grow(begun)

    def stop(step, record):
        if step == "train" and record.values["steps"][step]["state"] == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(retrain_request(begun.archive, overrides={}, universe=None), begun.home, watch=stop)
    record = next(records(begun.home))
    assert record.values["state"] == "interrupted" and states(record)["backtest"] == "waiting"
    again = later_nights(begun)
    assert again.id == record.id and again.values["state"] == "promoted"
    assert again.values["steps"]["train"]["attempts"] == 1


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
    return CliRunner().invoke(nsecast.app, ["retrain", "--home", str(place.home), *words])


def test_the_command_says_each_step_its_figures_and_what_is_in_production(begun):
    grow(begun)
    answer = command(begun, "--archive", str(begun.archive))
    assert answer.exit_code == 0, answer.output
    for number, step in enumerate(STEPS, start=1):
        assert f"[{number}/5] {step}" in answer.stderr
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
    assert again.exit_code == 3 and again.stdout.startswith("not promoted: nothing new since ")
    (begun.archive / "NSE_data_all_stocks_2021.csv").unlink()
    failed = command(begun, "--archive", str(begun.archive))
    assert failed.exit_code == 1
    (line,) = [line for line in failed.stderr.splitlines() if line]
    assert line.startswith("error: retrain ") and f"still {production}" in line
    assert begun.registry.production() == production
    assert command(begun, "--fetch").exit_code == 2


def test_the_list_says_how_every_night_ended(begun):
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
    assert np.isfinite(json.loads(text)["steps"]["backtest"]["decision"]["horizons"]["1"]["candidate"]["mae"])
