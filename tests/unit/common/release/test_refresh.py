"""A refresh: the same networks, newer prices, and nothing known before its time."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from obstore.store import MemoryStore
from support.releases.refresh import current, longer, refreshed
from support.storage.store import machine

from common.archive.flags import Flag
from common.errors import Busy
from common.prices.panel import Panel
from common.release.learning import learn_outcomes
from common.release.lock import hold_lock, lock_of
from common.release.manifest import MANIFEST
from common.release.refresh import CALIBRATION, PANEL, add_rows
from common.release.refreshed import REFRESHED, trained_release
from common.release.registry import Registry
from common.release.released_models import Forecast, ReleasedModels
from common.release.sanity import no_look_ahead
from common.release.subject import Subject
from train.pipeline.backtest_period import plan_backtest, run_backtest


def all_forecasts(models: ReleasedModels) -> list[Forecast]:
    return [answer for symbol in ("MOVES", "GAPS", "SPLITS", "THIN") for answer in models.forecast(symbol)]


def as_row(answer: Forecast) -> dict[str, object]:
    bounds = {
        f"{side}{level}": pair[place]
        for level, pair in answer.intervals.items()
        for place, side in enumerate(("lo", "hi"))
    }
    names = ("symbol", "horizon", "last_price", "published", "raw", "frozen", "source", "model_type")
    return {name: getattr(answer, name) for name in names} | {"cutoff": answer.last_date} | bounds


def different(rows: list[dict[str, object]], table: pd.DataFrame) -> list[str]:
    """Values that differ from the table's rows, to the last digit."""
    keyed = table.assign(cutoff=table["cutoff"].dt.date).set_index(["symbol", "cutoff", "horizon"])
    return [
        f"{row['symbol']} {row['cutoff']} {name}: {value}, {stored[name]}"
        for row in rows
        for stored in [keyed.loc[(row["symbol"], row["cutoff"], row["horizon"])]]
        for name, value in row.items()
        if name not in ("symbol", "cutoff", "horizon") and value != stored[name]
    ]


def test_a_refreshed_release_has_the_same_networks_and_figures_and_newer_prices(home):
    before = current(home)
    result = refreshed(home, longer(before.panel, 2))
    after = current(home)
    assert result.state == "refreshed" and after.release.id == result.release != before.release.id
    assert (result.sessions, result.rows) == (2, 2 * len(before.panel.symbols))
    assert result.first == f"{after.panel.dates[-2]:%Y-%m-%d}"
    assert result.last == f"{after.panel.dates[-1]:%Y-%m-%d}"
    same = {name: entry for name, entry in after.release.files.items() if name not in (PANEL, CALIBRATION)}
    assert same == {n: entry for n, entry in before.release.files.items() if n not in (PANEL, CALIBRATION)}
    assert after.release.files.keys() == before.release.files.keys()
    assert {**after.release.info, "data_sha256": 0, REFRESHED: 0} == {
        **before.release.info,
        "data_sha256": 0,
        REFRESHED: 0,
    }
    assert after.release.info["data_sha256"] == after.panel.fingerprint()
    assert after.seen_until == before.seen_until
    assert trained_release(after.release) == trained_release(before.release)
    assert after.release.info[REFRESHED]["from"] == before.release.id
    assert result.forecasts == 3 * result.stocks > 0
    move = Registry(home).history()[-1]
    assert move["release"] == result.release and move["refresh"]["before"] == before.release.id


def test_all_files_but_prices_and_levels_are_hard_links_that_survive_the_old_release(home):
    before = current(home).release
    refreshed(home, longer(current(home).panel, 1))
    after = current(home).release
    for name in after.files:
        one_file = (before.path / name).stat().st_ino == (after.path / name).stat().st_ino
        assert one_file == (name not in (PANEL, CALIBRATION)), name
    shutil.rmtree(before.path)
    Registry(home).verify(after.id)


def test_files_are_copied_where_there_are_no_hard_links(home, monkeypatch):
    def refuse(*_):
        raise PermissionError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    before = current(home).release
    refreshed(home, longer(current(home).panel, 1))
    after = Registry(home).verify("production")
    assert all(after.files[name] == before.files[name] for name in before.files if name.endswith(".onnx"))


def test_what_was_served_each_evening_equals_the_backtest_to_the_last_digit(home):
    base, served = current(home), []
    full = longer(base.panel, 5)
    for day in full.dates[-5:]:
        refreshed(home, full.as_of(day))
        served += [as_row(answer) for answer in all_forecasts(current(home))]
    after = current(home)
    start = full.dates[-5].to_numpy().astype("datetime64[D]")
    plans = [
        plan_backtest(after, None, home, start=start),
        plan_backtest(base, full, home, start=start),
    ]
    for plan in plans:
        assert plan.models.networks == "served"
        assert different(served, run_backtest(plan).table) == []
    evaluated = run_backtest(plan_backtest(after, None, home, start=start, networks="evaluated")).table
    assert different(served, evaluated)  # other networks, so the comparison can fail


def test_the_levels_learn_from_the_served_networks_and_only_what_is_new(home):
    before = current(home)
    refreshed(home, longer(before.panel, 4))
    old, new = before.calibration, current(home).calibration
    count = len(old.dates)
    assert len(new.dates) == count + 4
    assert (new.dates[:count] == old.dates).all() and (new.levels[:count] == old.levels).all()
    assert not (new.levels[-1] == old.levels[-1]).all()


def test_a_planted_future_changes_nothing_before_it(home):
    base = current(home)
    honest = longer(base.panel, 3)
    planted = longer(honest, 2, factor=40)
    day = honest.dates[-1]
    assert (
        add_rows(base.panel, planted).as_of(day).fingerprint() == add_rows(base.panel, honest).fingerprint()
    )
    known, later = learn_outcomes(base, honest), learn_outcomes(base, planted)
    until = later.dates <= day.to_datetime64().astype("datetime64[D]")
    assert (later.dates[until] == known.dates).all() and (later.levels[until] == known.levels).all()
    assert len(later.dates) > len(known.dates)
    assert no_look_ahead(Subject(base.release))[0]
    refreshed(home, honest)
    passed, found = no_look_ahead(Subject(current(home).release))
    assert passed, found


def test_corrected_and_added_old_rows_are_counted_and_wait_for_the_next_training(home):
    before = current(home)
    frame = longer(before.panel, 1).frame.copy()
    old = frame.index[(frame["symbol"] == "MOVES") & (frame["date"] == before.panel.dates[-40])]
    frame.loc[old, "close"] *= 1.01
    added = frame.loc[old].assign(symbol="LATE")
    result = refreshed(home, Panel.from_frame(pd.concat([frame, added]), before.panel.source))
    end = before.panel.dates[-1]
    assert result.differences == 2
    assert current(home).panel.as_of(end).fingerprint() == before.panel.as_of(end).fingerprint()


def test_a_repair_by_the_session_that_followed_is_taken(home):
    before = current(home)
    frame = longer(before.panel, 1).frame.copy()
    end, new = before.panel.dates[-1], longer(before.panel, 1).dates[-1]
    row = frame.index[(frame["symbol"] == "MOVES") & (frame["date"] == end)]
    frame.loc[row, ["flags", "known"]] = [int(Flag.REPAIRED), new]
    frame.loc[row, "close"] += 0.1
    refreshed(home, Panel.from_frame(frame, before.panel.source))
    history = current(home).panel.history("MOVES")
    assert history["known"].iloc[-2] == new and history["close"].iloc[-2] == frame.loc[row[0], "close"]


def test_the_same_prices_again_change_nothing(home):
    panel = longer(current(home).panel, 1)
    first = refreshed(home, panel)
    registry = Registry(home)
    history, releases = registry.history(), registry.releases()
    again = refreshed(home, panel)
    assert (again.state, again.release, again.rows) == ("current", first.release, 0)
    assert registry.history() == history and registry.releases() == releases


@pytest.mark.parametrize("step", ["publish", "promote"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stop_at_any_step_leaves_a_whole_release_in_production_and_the_same_call_ends_it(
    home, monkeypatch, step, when
):
    before, panel = current(home).release, longer(current(home).panel, 1)
    work = getattr(Registry, step)

    def stopped(*arguments, **options):
        if when == "after":
            work(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, step, stopped)
        with pytest.raises(KeyboardInterrupt):
            refreshed(home, panel)
    moved = (step, when) == ("promote", "after")
    assert (Registry(home).verify("production").id == before.id) != moved
    assert refreshed(home, panel).state == ("current" if moved else "refreshed")
    assert len(Registry(home).history()) == 2 and len(Registry(home).releases()) == 2
    assert not list((home / "releases").glob(".staging-*"))


def test_a_dry_run_writes_nothing(home):
    before, panel = sorted(home.rglob("*")), longer(current(home).panel, 1)
    result = refreshed(home, panel, dry_run=True)
    lock = {home / "retrains", home / "retrains" / ".lock"}
    assert result.state == "planned" and {*home.rglob("*")} - lock == {*before} - lock


def test_a_result_is_plain_json(home):
    result = refreshed(home, longer(current(home).panel, 1))
    document = json.loads(json.dumps(result.as_dict()))
    assert document["release"] == result.release and all(check["passed"] for check in document["checks"])
    assert np.isfinite(document["forecasts"])


@pytest.mark.usefixtures("no_mirrors")
def test_in_an_object_store_another_machine_gets_a_whole_copy(home, tmp_path):
    store = MemoryStore()
    here, there = (machine(tmp_path / name, store) for name in ("a", "b"))
    staging = Registry(here).stage("base")
    shutil.copytree(current(home).release.path, staging, dirs_exist_ok=True)
    (staging / MANIFEST).unlink()
    base = Registry(here).publish(staging, "base", info=current(home).release.info)
    Registry(here).promote("base")
    result = refreshed(here, longer(current(home).panel, 1))
    with pytest.raises(Busy), hold_lock(lock_of(here)), hold_lock(lock_of(there)):
        pass
    copy = Registry(there).verify("production")
    assert copy.id == result.release and copy.files.keys() == base.files.keys()
    assert all_forecasts(ReleasedModels(copy)) == all_forecasts(current(here))
