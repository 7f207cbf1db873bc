"""The price store and what it knew on any evening."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.prices.archive import SYMBOLS, at, copy_day, market, weekdays, write

from common.archive.flags import Flag
from common.archive.reader import PANEL_COLUMNS, read_archive
from common.errors import ArchiveError, UnknownSymbol
from common.prices.panel import Panel

DAYS = weekdays("2023-03-06", 12)
MADE = market(DAYS)


def panel_of(folder, frame):
    return Panel.from_archive(read_archive(write(folder, frame)))


@pytest.fixture
def panel(tmp_path):
    return panel_of(tmp_path / "archive", copy_day(MADE, DAYS[3], DAYS[4]))


def test_a_panel_survives_saving_and_loading(panel, tmp_path):
    named = dataclasses.replace(panel, source="synthetic seed=7")
    named.save(tmp_path / "deep" / "panel.parquet")
    loaded = Panel.load(tmp_path / "deep" / "panel.parquet")
    assert loaded.source == "synthetic seed=7" and loaded.synthetic
    assert loaded.fingerprint() == panel.fingerprint()
    pd.testing.assert_frame_equal(loaded.frame, panel.frame)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["panel.parquet"]


def test_a_panel_survives_a_pickle_round_trip(panel):
    assert pickle.loads(pickle.dumps(panel)).fingerprint() == panel.fingerprint()


def test_the_fingerprint_sees_every_column(panel):
    seen = {panel.fingerprint()}
    for name in ("close", "low", "high", "volume", "flags"):
        frame = panel.frame.copy()
        frame.loc[0, name] = 1
        seen.add(Panel(frame, panel.source).fingerprint())
    assert len(seen) == 6


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "missing"])
def test_a_spoilt_panel_file_is_named(panel, tmp_path, spoil):
    path = tmp_path / "panel.parquet"
    panel.save(path)
    content = path.read_bytes()
    changed = {"cut": content[: len(content) // 2], "flip": content[:-8] + b"\xff" * 8, "empty": b""}
    path.unlink() if spoil == "missing" else path.write_bytes(changed[spoil])
    with pytest.raises(ArchiveError, match=r"panel\.parquet: not a readable panel"):
        Panel.load(path)


def test_a_panel_file_without_a_column_is_named(panel, tmp_path):
    panel.frame.drop(columns="known").to_parquet(tmp_path / "old.parquet")
    with pytest.raises(ArchiveError, match=r"old\.parquet: no column known"):
        Panel.load(tmp_path / "old.parquet")


def test_a_panel_refuses_two_rows_of_one_day_and_a_close_that_is_no_price(panel):
    with pytest.raises(ArchiveError, match="AAA has two rows on 2023-03-06"):
        Panel.from_frame(pd.concat([panel.frame, panel.frame.head(1)]), "made")
    with pytest.raises(ArchiveError, match="is not a price"):
        Panel.from_frame(panel.frame.assign(close=0.0), "made")


def test_symbols_and_dates_are_sorted_and_complete(panel):
    assert panel.symbols == SYMBOLS
    assert panel.dates.tolist() == DAYS


def test_a_history_is_one_symbols_rows_oldest_first(panel):
    history = panel.history("CCC")
    assert tuple(history.columns) == PANEL_COLUMNS
    assert history["date"].tolist() == DAYS and set(history["symbol"]) == {"CCC"}


def test_an_unknown_symbol_is_answered_with_near_ones(panel):
    with pytest.raises(UnknownSymbol, match=r"AAB: not among the 8 symbols of the panel\. Near: AAA"):
        panel.history("AAB")


def test_on_the_evening_of_a_copied_day_the_close_before_is_believed(panel):
    believed = panel.as_of(DAYS[4]).history("AAA").iloc[-1]
    assert believed["close"] == MADE[at(MADE, DAYS[3], "AAA")]["close"].item()
    assert believed["flags"] == Flag.STALE and believed["known"] == DAYS[4]
    assert np.isnan(believed[["low", "high", "volume"]].astype(float)).all()


def test_a_session_later_the_repaired_close_is_known(panel):
    known = panel.as_of(DAYS[5]).history("AAA").iloc[-2]
    assert known["close"] == MADE[at(MADE, DAYS[4], "AAA")]["close"].item()
    assert known["flags"] == Flag.REPAIRED


def test_a_rebuilt_session_is_absent_until_the_next_one(tmp_path):
    panel = panel_of(tmp_path, MADE[~at(MADE, DAYS[3])])
    assert panel.as_of(DAYS[3]).dates[-1] == DAYS[2]
    assert panel.as_of(DAYS[4]).dates.tolist() == DAYS[:5]


def test_as_of_accepts_text_and_days_before_the_first(panel):
    assert panel.as_of("2023-03-08").dates[-1] == DAYS[2]
    assert panel.as_of("2000-01-01").symbols == ()


def test_merging_a_panel_with_itself_changes_nothing(panel):
    assert panel.merge(panel).fingerprint() == panel.fingerprint()
    assert panel.merge(panel).source == panel.source


def test_merging_yesterdays_knowledge_with_todays_gives_todays(panel):
    old = panel.as_of(DAYS[4])
    assert old.merge(panel).fingerprint() == panel.fingerprint()
    assert panel.merge(old).fingerprint() == panel.fingerprint()


def test_a_merge_with_a_synthetic_panel_is_synthetic(panel):
    invented = dataclasses.replace(panel, source="synthetic seed=7")
    assert panel.merge(invented).source == "archive + synthetic seed=7"
    assert panel.merge(invented).synthetic and not panel.synthetic


def split(frame, day):
    later = (frame["date"] >= day) & (frame["symbol"] == "BBB")
    for name in ("close", "low", "high"):
        frame.loc[later, name] = [round(value / 2, 2) for value in frame.loc[later, name]]
    return frame


def blank(frame, day):
    frame.loc[at(frame, day, "CCC"), ["low", "high"]] = "-"
    frame.loc[at(frame, day, "DDD"), "close"] = "-"
    frame.loc[at(frame, day, "EEE"), "high"] = 0.01
    return frame


def mistype(frame, day):
    frame.loc[at(frame, day), "written"] = f"{day:%d-%b}-15"
    return frame


def repeat_volume(frame, day):
    frame = copy_day(frame, day - pd.offsets.BDay(), day)
    frame.loc[at(frame, day), "previous"] = frame.loc[at(frame, day), "close"]
    return frame


FAULTS = {
    "copy": lambda frame, day: copy_day(frame, day - pd.offsets.BDay(), day),
    "missing": lambda frame, day: frame[~at(frame, day)],
    "twice": lambda frame, day: pd.concat([frame, frame[at(frame, day)]]).sort_values("date", kind="stable"),
    "absent": lambda frame, day: frame[~at(frame, day, "AAA")],
    "split": split,
    "blank": blank,
    "mistype": mistype,
    "volume": repeat_volume,
}


@pytest.mark.fuzz
@settings(max_examples=examples(60), deadline=None)
@given(
    faults=st.lists(st.tuples(st.sampled_from(sorted(FAULTS)), st.integers(2, len(DAYS) - 1)), max_size=5),
    cutoff=st.integers(0, len(DAYS) - 1),
)
def test_the_archive_cut_at_a_date_equals_the_panel_as_of_that_date(tmp_path_factory, faults, cutoff):
    frame = MADE.copy()
    for fault, day in faults:
        frame = FAULTS[fault](frame, DAYS[day]).reset_index(drop=True)
    full = panel_of(tmp_path_factory.mktemp("whole"), frame)
    cut = panel_of(tmp_path_factory.mktemp("cut"), frame[frame["date"] <= DAYS[cutoff]])
    pd.testing.assert_frame_equal(full.as_of(DAYS[cutoff]).frame, cut.frame)
    assert full.as_of(DAYS[cutoff]).fingerprint() == cut.fingerprint()
