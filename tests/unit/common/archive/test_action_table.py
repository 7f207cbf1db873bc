"""The table of corporate actions: what it says, what an archive's own file changes, what follows from it."""

import datetime as dt
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.prices.archive import SYMBOLS, at, market, weekdays, write
from support.prices.panel import history
from typer.testing import CliRunner

from common.archive.action_table import FILE_NAME, load_actions, shipped_actions
from common.archive.flags import Flag
from common.archive.reader import read_archive
from common.errors import ConfigError
from common.presets import WindowSpec
from common.prices.market_days import market_days
from common.prices.panel import Panel
from common.prices.series import series_from_histories, series_from_panel
from common.prices.windows import last_window, make_windows
from train.cli.data import app

DAYS = weekdays("2023-03-06", 40)
EX = DAYS[20]
SPEC = WindowSpec(size=10, horizons=(1, 4))


def table(folder: Path, *entries: str, head: str = "") -> Path:
    (folder / FILE_NAME).write_text(head + "\n".join(f"[[action]]\n{entry}\n" for entry in entries))
    return folder


def entry(symbol="AAA", day=EX, kind="bonus", ratio="10/11") -> str:
    terms = f'ratio = "{ratio}"\n' if ratio else ""
    return f'symbol = "{symbol}"\nex_date = {day:%Y-%m-%d}\nkind = "{kind}"\n{terms}evidence = "announced"'


def fallen(ratio: float, symbol: str = "AAA") -> pd.DataFrame:
    """The market, one share of it at ``ratio`` times its price from the ex-date on."""
    frame = market(DAYS)
    for name in ("close", "low", "high"):
        later = (frame["symbol"] == symbol) & (frame["date"] >= EX)
        frame[name] = frame[name].mask(later, (frame[name].astype(float) * ratio).round(2))
    first = at(frame, EX, symbol)
    later = (frame["symbol"] == symbol) & (frame["date"] > EX)
    frame.loc[later, "previous"] = frame.loc[frame["symbol"] == symbol, "close"].shift()[later]
    assert first.sum() == 1
    return frame


def test_a_listed_bonus_inside_the_daily_band_is_no_return_and_no_forecast_across_it_is_scored(tmp_path):
    folder = write(tmp_path, fallen(10 / 11))
    series = series_from_panel(Panel.from_archive(read_archive(folder)), ("AAA",))
    assert series.log_return[20] != 0
    panel = Panel.from_archive(read_archive(table(folder, entry())))
    series = series_from_panel(panel, ("AAA",))
    assert series.log_return[20] == 0 and series.action.nonzero()[0].tolist() == [20]
    windows = make_windows(series, SPEC)
    unscored = {
        (int(end), horizon)
        for end, row in zip(windows.end, windows.counted, strict=True)
        for horizon, counted in zip(SPEC.horizons, row, strict=True)
        if not counted and end + horizon < 40
    }
    assert unscored == {(19, 1), (16, 4), (17, 4), (18, 4), (19, 4)}
    assert (panel.history("BBB")["flags"] == 0).all()


def test_an_action_on_an_archives_first_day_counts_once_older_prices_are_put_before_it(tmp_path):
    frame = fallen(10 / 11)
    older, newer = (
        Panel.from_archive(read_archive(table(write(tmp_path / name, part), entry())))
        for name, part in (("old", frame[frame["date"] < EX]), ("new", frame[frame["date"] >= EX]))
    )
    series = series_from_panel(older.merge(newer), ("AAA",))
    assert series.log_return[20] == 0 and series.action.nonzero()[0].tolist() == [20]
    windows = make_windows(series_from_panel(newer, ("AAA",)), SPEC)
    assert windows.counted[: -max(SPEC.horizons)].all()


def test_the_market_s_breadth_counts_no_listed_step(tmp_path):
    folder = write(tmp_path, fallen(10 / 11))
    before = market_days(Panel.from_archive(read_archive(folder)))
    after = market_days(Panel.from_archive(read_archive(table(folder, entry()))))
    differs = [date for date in before.index if before.loc[date, "breadth"] != after.loc[date, "breadth"]]
    assert differs == [EX]


def test_a_forecast_of_any_evening_sees_the_same_inputs_as_the_backtest_does(tmp_path):
    panel = Panel.from_archive(read_archive(table(write(tmp_path, fallen(10 / 11)), entry())))
    windows = make_windows(series_from_panel(panel, ("AAA",)), SPEC)
    returns = windows.cut(windows.series.log_return)
    for day in (18, 19, 20, 21, 23, 26):
        known = panel.as_of(DAYS[day])
        own = last_window(series_from_histories({"AAA": known.history("AAA")}, market_days(known)), SPEC)
        [row] = np.flatnonzero(windows.end == day)
        np.testing.assert_array_equal(own.cut(own.series.log_return)[0], returns[row])


def test_another_table_is_another_run(tmp_path):
    folder = write(tmp_path, fallen(10 / 11))
    prints = {Panel.from_archive(read_archive(folder)).fingerprint()}
    for entries in ([entry()], [entry("BBB")], [entry(), entry("BBB")]):
        panel = Panel.from_archive(read_archive(table(folder, *entries)))
        panel.save(tmp_path / "panel.parquet")
        assert Panel.load(tmp_path / "panel.parquet").fingerprint() == panel.fingerprint()
        prints.add(panel.fingerprint())
    assert len(prints) == 4


def test_the_marks_survive_saving_cutting_and_merging(tmp_path):
    panel = Panel.from_archive(read_archive(table(write(tmp_path, fallen(10 / 11)), entry())))
    panel.save(tmp_path / "panel.parquet")
    half = panel.as_of(DAYS[25])
    for other in (Panel.load(tmp_path / "panel.parquet"), half, half.merge(panel)):
        flags = other.history("AAA").set_index("date")["flags"]
        assert flags.loc[EX] == Flag.LISTED | Flag.ACTION and (flags.drop(EX) == 0).all()


def test_an_action_is_known_on_its_evening_even_if_its_close_came_a_session_later():
    rows = history([10.0] * 6 + [9.1] * 6).assign(symbol="AAA")
    rows.loc[6, "flags"] = int(Flag.LISTED | Flag.REPAIRED)
    rows.loc[6, "known"] = rows["date"][7]
    known = Panel.from_frame(rows, "made").as_of(rows["date"][6])
    assert known.frame["flags"].iloc[-1] == Flag.LISTED | Flag.ACTION | Flag.STALE


def test_an_ex_date_without_a_row_takes_effect_on_the_next_one(tmp_path):
    frame = fallen(10 / 11)
    archive = read_archive(table(write(tmp_path, frame[~at(frame, EX, "AAA")]), entry()))
    assert archive.actions[["symbol", "date"]].values.tolist() == [["AAA", DAYS[21]]]


def test_a_step_listed_as_a_return_counts_as_a_return(tmp_path):
    folder = write(tmp_path, fallen(0.5))
    assert read_archive(folder).actions["symbol"].tolist() == ["AAA"]
    archive = read_archive(table(folder, entry(kind="none", ratio="")))
    assert archive.actions.empty
    series = series_from_panel(Panel.from_archive(archive), ("AAA",))
    assert series.log_return[20] == pytest.approx(math.log(0.5), abs=0.06) and not series.action.any()


def test_an_exact_two_for_three_is_suspected_and_one_that_is_listed_no_more(tmp_path):
    frame = fallen(1.0)
    last = float(frame.loc[at(frame, DAYS[19], "AAA"), "close"].iloc[0])
    frame = frame.astype({"close": float})
    frame.loc[at(frame, EX, "AAA"), "close"] = round(last * 2 / 3, 2)
    folder = write(tmp_path, frame[frame["date"] <= EX])
    archive = read_archive(folder)
    assert archive.actions.empty
    assert archive.suspects[["symbol", "date", "kind"]].values.tolist() == [["AAA", EX, "bonus near 2:3"]]
    assert read_archive(table(folder, entry(ratio="2/3"))).suspects.empty


def test_an_action_of_the_archive_s_own_table_without_a_step_is_noted(tmp_path):
    folder = table(write(tmp_path, market(DAYS)), entry("ZZZ"), entry("AAA", DAYS[0]), entry("BBB"))
    notes = read_archive(folder).notes
    notes = notes[notes["kind"] == "corporate action without a step"]
    assert [detail[:3] for detail in notes["detail"]] == ["AAA", "ZZZ"]


def test_the_shipped_table_applies_only_to_nairobi_s_files(tmp_path):
    assert {action.ex_date.year for action in load_actions(tmp_path, shipped=True)} == {
        *range(2013, 2020),
        *(2021, 2022, 2024),
    }
    assert load_actions(tmp_path, shipped=False) == ()
    day, before = dt.date(2016, 6, 3), weekdays("2016-05-30", 6)
    frame = market(before, ("NSE", "BBB"))
    folder = write(tmp_path, frame)
    assert [*read_archive(folder).actions["date"].dt.date] == [day]
    (folder / "synthetic.json").write_text("{}")
    assert read_archive(folder).actions.empty


def test_an_archive_s_own_entry_replaces_the_shipped_one_or_all_of_them(tmp_path):
    shipped = {(action.symbol, action.ex_date): action for action in shipped_actions()}
    nse = dt.date(2016, 6, 3)
    own = load_actions(table(tmp_path, entry("NSE", nse, ratio="4/5")), shipped=True)
    changed = {(action.symbol, action.ex_date): action for action in own}
    assert changed.keys() == shipped.keys() and str(changed["NSE", nse].factor) == "4/5"
    alone = load_actions(table(tmp_path, entry(), head="extends = false\n"), shipped=True)
    assert [action.symbol for action in alone] == ["AAA"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (entry(ratio="0"), r"action 1 \(AAA 2023-04-03\).*need a positive fraction but 1.*got '0'"),
        (entry(ratio="1"), r"action 1 \(AAA 2023-04-03\).*got '1'"),
        (entry(ratio="ten"), r"got 'ten'"),
        (entry(ratio="1e999999999"), r"got '1e999999999'"),
        (entry(ratio="1/0"), r"got '1/0'"),
        (entry(ratio=""), 'need a ratio such as "10/11"'),
        (entry(kind="none"), 'none for kind "none"'),
        (entry(kind="gift"), r"kind: Input should be 'split', .* \(got 'gift'\)"),
        (entry(symbol="^NASI"), r"symbol: .* \(got '\^NASI'\)"),
        (entry().replace("ex_date", "day"), "no such setting; known there: symbol, ex_date, kind, ratio"),
        (entry().replace("evidence", "why"), "evidence: Field required"),
        (
            entry() + "\n[[action]]\n" + entry(),
            r"action 2 \(AAA .*\): action 1 has the same symbol",
        ),
        (entry() + "\n[other]\n", "got other, need `extends"),
        ("symbol = ", "not valid TOML"),
    ],
)
def test_a_wrong_entry_is_refused_with_file_entry_and_what_is_needed(tmp_path, text, named):
    folder = table(write(tmp_path, market(DAYS[:3])), text)
    with pytest.raises(ConfigError, match=named) as caught:
        read_archive(folder)
    assert str(folder / FILE_NAME) in caught.value.message


def test_the_check_lists_known_detected_and_suspected_actions_apart(tmp_path):
    frame = fallen(0.5, "BBB")
    frame = frame.astype({"close": float})
    last = float(frame.loc[at(frame, DAYS[30], "CCC"), "close"].iloc[0])
    frame.loc[(frame["symbol"] == "CCC") & (frame["date"] > DAYS[30]), "close"] = round(last * 0.8, 2)
    folder = table(write(tmp_path / "archive", frame), entry())
    words = ["check", "--archive", str(folder), "--rejects", str(tmp_path / "ledger.csv")]
    payload = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    [listed], [detected], [suspected] = (
        payload[f"{name}_actions"] for name in ("listed", "detected", "suspected")
    )
    assert (listed["symbol"], listed["kind"], listed["terms"]) == ("AAA", "bonus", "10/11")
    assert (listed["date"], listed["evidence"]) == (f"{EX:%Y-%m-%d}", "announced")
    assert (detected["symbol"], detected["kind"]) == ("BBB", "split or bonus near 1:2")
    assert (suspected["symbol"], suspected["kind"]) == ("CCC", "bonus near 4:5")
    shown = CliRunner().invoke(app, words).stdout
    assert [shown.index(word) for word in ("are listed", "not listed", "Suspected")] == sorted(
        shown.index(word) for word in ("are listed", "not listed", "Suspected")
    )


def test_every_listed_action_is_unique_and_has_a_reason():
    actions = shipped_actions()
    assert len(actions) == len({(action.symbol, action.ex_date) for action in actions}) == 28
    assert all(action.factor and action.evidence and action.ex_date.weekday() < 5 for action in actions)
    assert set(SYMBOLS).isdisjoint(action.symbol for action in actions)
