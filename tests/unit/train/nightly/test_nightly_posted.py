"""Days that were posted: nights keep them while the archive lacks them, and trainings do not stop posting."""

import datetime as dt
from datetime import date
from types import SimpleNamespace

import pandas as pd
import pytest
from support.training.night import LATER_END, post, retrain_request, trained_ahead, write_archive
from typer.testing import CliRunner

import nsecast
from common.errors import TrainingError
from common.prices.panel import Panel
from common.release.refresh_production import refresh_production
from common.release.refreshed import networks_of, trained_release
from common.release.sanity import CHECKS
from common.release.subject import Subject, run_check
from train.nightly.nightly import retrain
from train.nightly.nightly_record import NightlyRecord
from train.nightly.steps import Steps
from train.pipeline.refresh import read_newer
from train.pipeline.training import Run
from train.run.price_source import load_panel

MONDAY, TUESDAY, WEDNESDAY = date(2022, 10, 3), date(2022, 10, 4), date(2022, 10, 5)
"""The sessions after ``FIRST_END``."""
BEFORE_LAST = date(2022, 12, 29)


def night(place: SimpleNamespace, **changes):
    usual = {"overrides": {}, "universe": None}
    return retrain(retrain_request(place.archive, **(usual | changes)), place.home)


def panel_of(place: SimpleNamespace) -> Panel:
    return Panel.load(place.registry.resolve("production").file("panel.parquet"))


def rows_on(panel: Panel, day: date) -> pd.DataFrame:
    return panel.frame[panel.frame["date"] == pd.Timestamp(day)].reset_index(drop=True)


def drop_day(place: SimpleNamespace, day: date) -> None:
    (path,) = place.archive.glob(f"*_{day.year}.csv")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(f"{day.day}-{day:%b}-")))


def refresh_to(place: SimpleNamespace, day: date) -> None:
    """Bring production, which is older, to the archive's last session, as `nsecast refresh` does."""
    result, _ = refresh_production(place.home, lambda before: read_newer(place.archive, place.home, before))
    assert result.last == f"{day}"


def test_posted_days_that_the_archive_does_not_reach_are_kept_and_named(begun):
    for day in (MONDAY, TUESDAY):
        assert post(begun.home, day).state == "refreshed"
    after = begun.registry.production()
    record = night(begun, retrain_every=dt.timedelta(days=7))
    assert record.values["state"] == "current" and "nothing new" in record.values["reason"]
    assert record.decision("ingest")["posted"] == [f"{MONDAY}", f"{TUESDAY}"]
    assert record.decision("ingest")["last"] == f"{TUESDAY}"
    assert list(record.values["refresh"]["posted"]) == [f"{MONDAY}", f"{TUESDAY}"]
    words = ["refresh", "--archive", str(begun.archive), "--home", str(begun.home)]
    by_hand = CliRunner().invoke(nsecast.app, words)
    assert by_hand.exit_code == 0, by_hand.output
    assert f"that the archive lacks, kept: {MONDAY}, {TUESDAY}" in by_hand.stdout
    assert begun.registry.production() == after


def test_a_posted_day_in_a_gap_of_the_archive_is_trained_on_until_the_archive_has_it(begun):
    post(begun.home, MONDAY)
    posted = rows_on(panel_of(begun), MONDAY)
    write_archive(begun.archive, LATER_END)
    drop_day(begun, MONDAY)
    run = trained_with_posted(begun)
    record = night(begun)
    assert record.values["state"] == "promoted", record.values["reason"]
    assert record.decision("ingest")["posted"] == [f"{MONDAY}"]
    assert record.values["release"].endswith(run.id)
    kept = rows_on(panel_of(begun), MONDAY)
    pd.testing.assert_frame_equal(kept.drop(columns="flags"), posted.drop(columns="flags"))
    assert panel_of(begun).dates[-1] == pd.Timestamp(LATER_END)
    assert night(begun).values["state"] == "current"  # still lacks the day, and nothing is lost
    write_archive(begun.archive, LATER_END)
    complete = load_panel(begun.archive, begun.home)
    again = night(begun, if_stale=True)
    assert again.decision("ingest")["posted"] == [] and again.values["state"] == "current"
    assert (rows_on(complete, MONDAY)["close"].to_numpy() == kept["close"].to_numpy()).all()


def trained_with_posted(place: SimpleNamespace) -> Run:
    """Finish every task of the run that the next night plans, posted days included."""
    production, home = place.registry.production(), place.home
    request = retrain_request(place.archive, overrides={}, universe=None)
    record = NightlyRecord.new(home, archive=place.archive, production=production)
    steps = Steps(request, home, record)
    steps.ingest()
    return trained_ahead(request, home, production, panel=steps.panel)


def test_a_session_that_was_never_posted_and_is_missing_is_still_refused(begun):
    write_archive(begun.archive, WEDNESDAY)
    night(begun, retrain_every=dt.timedelta(days=7))
    drop_day(begun, WEDNESDAY)
    with pytest.raises(TrainingError, match=rf"1 of the .* sessions .* {WEDNESDAY} the first"):
        night(begun)


def test_a_day_posted_during_a_training_is_published_at_once_and_is_in_the_new_release(begun):
    write_archive(begun.archive, BEFORE_LAST)
    request = retrain_request(begun.archive, overrides={}, universe=None)
    trained_ahead(request, begun.home, begun.registry.production())
    posted = []

    def post_meanwhile(step, record):
        if step == "gate" and not posted:
            refresh_to(begun, BEFORE_LAST)
            posted.append(post(begun.home, LATER_END))

    record = retrain(request, begun.home, watch=post_meanwhile)
    assert record.values["state"] == "promoted", record.values["reason"]
    assert posted[0].state == "refreshed"
    production = begun.registry.resolve("production")
    release = record.values["release"]
    assert networks_of(begun.registry, production.id) == release != production.id
    assert record.values["production_after"] == production.id
    assert record.decision("promote")["was"] == posted[0].release
    assert record.decision("promote")["refresh"]["last"] == f"{LATER_END}"
    (move,) = [move for move in begun.registry.history() if move["release"] == production.id]
    assert move["retrain"]["id"] == record.id
    before = Panel.load(begun.registry.resolve(posted[0].release).file("panel.parquet"))
    after = panel_of(begun)
    pd.testing.assert_frame_equal(rows_on(after, LATER_END), rows_on(before, LATER_END))
    assert trained_release(production)["to"] == f"{BEFORE_LAST}"
    subject = Subject(begun.registry.open("production"))
    assert all(run_check(subject, *check).passed for check in CHECKS)
    again = night(begun, retrain_every=dt.timedelta(days=7))
    assert again.values["state"] == "current" and again.decision("ingest")["posted"] == [f"{LATER_END}"]
    assert begun.registry.production() == production.id
