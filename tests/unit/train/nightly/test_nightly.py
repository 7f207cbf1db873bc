"""Whole nights: what is new is trained, judged and promoted; what fails or is worse changes nothing."""

import asyncio
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from support.releases.release import REAL, made_release
from support.training.night import (
    FIRST_END,
    LATER_END,
    retrain_request,
    trained_ahead,
    write_archive,
)
from support.training.retrainings import WORSE, grow, later_nights, night, states

from common.errors import BundleError, TrainingError
from serve.inference.release_watcher import ReleaseWatcher
from serve.observability.metrics import Observer
from train.gate.comparison import MARGIN
from train.nightly.nightly_record import STEPS, records
from train.nightly.split import MINIMUM_TEST
from train.run.price_source import load_panel


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
    assert ingest["read"] == lines
    assert ingest["read"] == ingest["accepted"] + ingest["repaired"] + ingest["rejected"]
    assert ingest["last"] == f"{FIRST_END}" and ingest["verdict"] == "new"
    (move,) = begun.registry.history()
    assert move["gate"] == {"checks": "9 of 9", "comparison": None}
    assert move["retrain"] == {"id": begun.first.id}
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


def test_a_server_loads_the_promoted_release_by_itself(begun):
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
    result, release = record.decision("gate")["comparison"], begun.registry.resolve("production")
    assert result["against"] == record.values["production"]
    table = pd.read_parquet(release.file("test_forecasts.parquet"))
    scored = table[~table["frozen"] & table["actual"].notna()]
    assert result["first"] == f"{scored['cutoff'].min():%Y-%m-%d}" >= release.info["valid_end"]
    for horizon, figures in result["horizons"].items():
        near = scored[scored["horizon"] == int(horizon)]
        naive = (near["last_price"] - near["actual"]).abs().mean()
        assert figures["n"] == len(near) and figures["naive"]["mae"] == pytest.approx(naive)
        for who in ("release", "production"):  # fresh networks say "no change"
            assert figures[who]["mae"] == pytest.approx(naive) and figures[who]["rel_mae"] == pytest.approx(1)


def test_a_worse_release_is_refused_and_not_trained_again(begun):
    production = begun.registry.production()
    grow(begun, shift=WORSE)
    record = later_nights(begun)
    assert record.values["state"] == "closed" and begun.registry.production() == production
    comparison = record.decision("gate")["comparison"]
    assert comparison["release"]["rel_mae"] > comparison["production"]["rel_mae"] + MARGIN
    assert "relMAE of the published price" in record.values["reason"]
    assert states(record)["promote"] == "skipped" and len(begun.registry.history()) == 1
    again = later_nights(begun)
    assert again.values["state"] == "closed" and again.values["reason"] == record.values["reason"]
    assert again.decision("train")["published_before"] and len(begun.registry.history()) == 1


def test_a_rolled_back_release_is_not_promoted_again_automatically(begun):
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
