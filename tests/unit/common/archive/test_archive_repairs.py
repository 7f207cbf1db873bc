"""Unusable and incomplete rows, copied and missing sessions: rejected, repaired or flagged."""

import numpy as np
import pytest
from support.prices.archive import SYMBOLS, at, copy_day, market, write
from support.prices.archive_rows import DAYS, only_entry, row, set_field

from common.archive.flags import Flag
from common.archive.reader import read_archive


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",,,,,,,,,,,,", "empty row"),
        ("", "empty row"),
        ("06-Mar-2023,AAA,Aaa Plc,1,2", "5 fields, need 13"),
        ("06-Mar-2023,NEW,New Plc,1,9,5,5,5,5,-,-,1,900.00,-", "14 fields, need 13"),
        ("06-Mar-2023,no ticker,New Plc,1,9,5,5,5,5,-,-,-,-", "not a symbol: 'no ticker'"),
        ("31-Feb-2023,NEW,New Plc,1,9,5,5,5,5,-,-,-,-", "not a date: '31-Feb-2023'"),
        ("2023-03-06,NEW,New Plc,1,9,5,5,5,5,-,-,-,-", "not a date: '2023-03-06'"),
        ("11-Mar-2023,NEW,New Plc,1,9,5,5,5,5,-,-,-,-", "date 11-Mar-2023 is not a weekday"),
        ('06-Mar-2023,NEW,New Plc,1,9,-,-,-,5,-,-,"5,400",-', "no price"),
        ("06-Mar-2023,NEW,New Plc,1,9,5,5,5.x,5,-,-,-,-", "price is not a number: '5.x'"),
        ("06-Mar-2023,NEW,New Plc,1,9,5,5,inf,5,-,-,-,-", "price is not a number: 'inf'"),
        ("06-Mar-2023,NEW,New Plc,1,9,5,5,0,5,-,-,-,-", "price is not positive: 0"),
        ("06-Mar-2023,NEW,New Plc,1,9,5,5,-5,5,-,-,-,-", "price is not positive: -5"),
        ('06-Mar-2023,"NEW,New Plc,1,9,5,5,5,5,-,-,-,-', "2 fields, need 13"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_costs_no_other(frame, tmp_path, line, reason):
    folder = write(tmp_path / "archive", frame)
    path = folder / "NSE_data_all_stocks_2023.csv"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:5], line, *lines[5:]]))
    archive = read_archive(folder)
    entry = only_entry(archive)
    assert (entry["line"], entry["outcome"], entry["reason"], entry["raw"]) == (6, "rejected", reason, line)
    assert len(archive.rows) == len(frame)


def test_undecodable_bytes_in_a_name_do_not_lose_the_row(frame, tmp_path):
    path = write(tmp_path / "archive", frame) / "NSE_data_all_stocks_2023.csv"
    path.write_bytes(path.read_bytes().replace(b"AAA Plc", b"A\xff\xfe\x00 Plc"))
    archive = read_archive(path.parent)
    assert len(archive.rows) == len(frame)
    assert archive.ledger.empty


def test_a_missing_low_and_high_are_flagged_and_the_row_accepted(frame, read):
    archive = read(set_field(frame, DAYS[2], "AAA", low="-", high="-"))
    record = row(archive, "AAA", DAYS[2])
    assert record["flags"] == Flag.NO_RANGE and np.isnan(record["low"])
    assert archive.ledger.empty


def test_a_close_outside_its_range_loses_the_range_and_is_kept(frame, read):
    close = frame[at(frame, DAYS[2], "AAA")]["close"].item()
    archive = read(set_field(frame, DAYS[2], "AAA", low=close - 1, high=close - 1))
    record = row(archive, "AAA", DAYS[2])
    assert (record["close"], record["flags"]) == (close, Flag.BAD_RANGE)
    assert np.isnan(record["low"]) and np.isnan(record["high"])
    assert only_entry(archive)["outcome"] == "repaired"


def test_a_spoilt_low_or_volume_is_blanked_and_the_row_kept(frame, read):
    archive = read(set_field(frame, DAYS[2], "AAA", low="x", volume=-5))
    record = row(archive, "AAA", DAYS[2])
    assert record["flags"] == Flag.NO_RANGE and np.isnan(record["volume"])
    assert only_entry(archive)["outcome"] == "repaired"


def test_a_copied_day_gets_its_closes_from_the_next_morning(frame, read):
    archive = read(copy_day(frame, DAYS[3], DAYS[4]))
    for symbol in SYMBOLS:
        record = row(archive, symbol, DAYS[4])
        assert record["close"] == frame[at(frame, DAYS[4], symbol)]["close"].item()
        assert (record["flags"], record["known"]) == (Flag.REPAIRED, DAYS[5])
        assert np.isnan(record[["low", "high", "volume"]].astype(float)).all()
    assert archive.notes[["kind", "date", "rows"]].values.tolist() == [
        ["stale, repaired", DAYS[4], len(SYMBOLS)]
    ]
    assert archive.counts["repaired"].sum() == len(SYMBOLS)


def test_only_the_second_of_two_copied_days_can_be_repaired(frame, read):
    archive = read(copy_day(copy_day(frame, DAYS[3], DAYS[4]), DAYS[3], DAYS[5]))
    lost, mended = row(archive, "AAA", DAYS[4]), row(archive, "AAA", DAYS[5])
    assert (lost["flags"], lost["known"]) == (Flag.STALE, DAYS[4])
    assert lost["close"] == row(archive, "AAA", DAYS[3])["close"]
    assert mended["close"] == frame[at(frame, DAYS[5], "AAA")]["close"].item()
    assert archive.notes["kind"].tolist() == ["stale, not repaired", "stale, repaired"]
    assert archive.counts["repaired"].sum() == len(SYMBOLS)


def test_a_copied_last_day_is_flagged_and_not_repaired(frame, read):
    archive = read(copy_day(frame, DAYS[-2], DAYS[-1]))
    assert row(archive, "AAA", DAYS[-1])["flags"] == Flag.STALE
    assert archive.counts["repaired"].sum() == 0


def test_a_market_of_five_symbols_is_enough_to_see_a_copy(read):
    frame = market(DAYS, symbols=SYMBOLS[:5])
    assert read(copy_day(frame, DAYS[3], DAYS[4])).notes["kind"].tolist() == ["stale, repaired"]


def test_a_quiet_day_is_no_copy(frame, read):
    quiet = frame.copy()
    for symbol in SYMBOLS:
        close = frame[at(frame, DAYS[3], symbol)]["close"].item()
        for day in DAYS[4:]:
            set_field(quiet, day, symbol, close=close, low=close, high=close, previous=close, volume="-")
    archive = read(quiet)
    assert archive.notes.empty and archive.ledger.empty
    assert (archive.rows["flags"] == 0).all()


def test_a_day_that_repeats_prices_and_volumes_under_a_true_previous_loses_its_volume(frame, read):
    frame = copy_day(frame, DAYS[3], DAYS[4])
    frame.loc[at(frame, DAYS[4]), "previous"] = frame.loc[at(frame, DAYS[4]), "close"]
    for symbol in SYMBOLS:
        set_field(frame, DAYS[5], symbol, previous=frame[at(frame, DAYS[4], symbol)]["close"].item())
    archive = read(frame)
    record = row(archive, "AAA", DAYS[4])
    assert record["flags"] == Flag.FAKE_VOLUME and np.isnan(record["volume"])
    assert record["close"] == row(archive, "AAA", DAYS[3])["close"]
    assert archive.notes[["kind", "rows"]].values.tolist() == [["fake volume", len(SYMBOLS) - 1]]


def test_a_missing_session_is_rebuilt_from_the_next_morning(frame, read):
    archive = read(frame[~at(frame, DAYS[3])])
    for symbol in SYMBOLS:
        record = row(archive, symbol, DAYS[3])
        assert record["close"] == frame[at(frame, DAYS[3], symbol)]["close"].item()
        assert (record["flags"], record["known"]) == (Flag.REBUILT, DAYS[4])
        assert np.isnan(record[["low", "high", "volume"]].astype(float)).all()
    assert archive.notes[["kind", "date", "rows"]].values.tolist() == [
        ["session rebuilt", DAYS[3], len(SYMBOLS)]
    ]
    assert archive.counts["read"].sum() == len(frame) - len(SYMBOLS)


def test_two_missing_sessions_are_noted_and_not_invented(frame, read):
    archive = read(frame[~at(frame, DAYS[2]) & ~at(frame, DAYS[3])])
    assert archive.notes["kind"].tolist() == ["session missing"]
    assert not archive.rows["date"].isin(DAYS[2:4]).any()


def test_a_holiday_is_not_a_missing_session(read):
    days = [*DAYS[:3], *DAYS[4:]]
    archive = read(market(days))
    assert archive.notes.empty and set(archive.rows["date"]) == set(days)
