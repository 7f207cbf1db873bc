"""Reading daily price files: every defect of the real archive on a small synthetic one."""

import numpy as np
import pandas as pd
import pytest
from support.prices.archive import SYMBOLS, at, copy_day, market, weekdays, write
from support.prices.archive_rows import DAYS, only_entry, row, set_field

from common.archive.flags import Flag
from common.archive.reader import read_archive


def test_a_clean_market_is_read_completely_and_unchanged(frame, read):
    archive = read(frame)
    assert archive.ledger.empty and archive.notes.empty and archive.actions.empty
    expected = frame.sort_values(["symbol", "date"])
    assert archive.rows["symbol"].tolist() == expected["symbol"].tolist()
    np.testing.assert_array_equal(archive.rows["close"], expected["close"].astype(float))
    assert (archive.rows["known"] == archive.rows["date"]).all()
    assert (archive.rows.loc[archive.rows["symbol"] == "^IDX", "volume"] == 0).all()


@pytest.mark.parametrize(
    ("written", "year"),
    [("7-Jan-13", 2013), ("07-Jan-14", 2014), ("06-Jan-2023", 2023), ("5-Jan-2024", 2024)],
)
def test_all_four_date_forms_are_read(read, written, year):
    day = pd.to_datetime(written, format="mixed", dayfirst=True)
    archive = read(market([day]).assign(written=written))
    assert archive.rows["date"].unique().tolist() == [day]
    assert day.year == year


def test_both_headers_and_a_byte_order_mark_are_read(read):
    frame = market([*weekdays("2021-12-27", 5), *weekdays("2022-01-03", 2)])
    archive = read(frame)
    assert archive.counts["accepted"].tolist() == [5 * len(SYMBOLS), 2 * len(SYMBOLS)]


def test_thousands_commas_are_read_in_prices_and_volumes(frame, read):
    frame = set_field(
        frame, DAYS[0], "AAA", close="1,500.00", low="1,500.00", high="1,500.00", volume="1,900.00"
    )
    record = row(read(frame), "AAA", DAYS[0])
    assert (record["close"], record["low"], record["volume"]) == (1500.0, 1500.0, 1900.0)


def test_a_dash_for_volume_is_no_trade_and_an_empty_one_is_unknown(frame, read):
    frame = set_field(frame, DAYS[0], "AAA", volume="-")
    archive = read(set_field(frame, DAYS[0], "BBB", volume=""))
    assert row(archive, "AAA", DAYS[0])["volume"] == 0
    assert np.isnan(row(archive, "BBB", DAYS[0])["volume"])
    assert archive.ledger.empty


def test_a_whole_day_with_a_mistyped_year_is_put_back_between_its_neighbours(frame, read):
    frame.loc[at(frame, DAYS[4]), "written"] = f"{DAYS[4]:%d-%b}-15"
    archive = read(frame)
    assert set(archive.rows["date"]) == set(DAYS)
    assert (row(archive, "AAA", DAYS[4])["flags"], row(archive, "AAA", DAYS[4])["known"]) == (
        Flag.REDATED,
        DAYS[4],
    )
    assert archive.counts["repaired"].sum() == len(SYMBOLS)


def test_a_date_that_fits_nowhere_in_its_file_is_rejected(frame, read):
    frame = set_field(frame, DAYS[4], "AAA", written="05-Dec-2015")
    entry = only_entry(read(frame))
    assert entry["outcome"] == "rejected"
    assert entry["reason"] == "date 05-Dec-2015 contradicts the file's year"


def test_a_redated_row_gives_way_to_the_row_that_has_the_date(frame, read):
    extra = frame[at(frame, DAYS[4], "AAA")].assign(written=f"{DAYS[4]:%d-%b}-15", close=999.0)
    at_noon = frame.index[at(frame, DAYS[4])][0]
    doubled = pd.concat([frame.loc[: at_noon - 1], extra, frame.loc[at_noon:]], ignore_index=True)
    archive = read(doubled)
    assert row(archive, "AAA", DAYS[4])["close"] == frame[at(frame, DAYS[4], "AAA")]["close"].item()
    assert "close 999, kept" in only_entry(archive)["reason"]


def test_a_day_written_twice_counts_once(frame, read):
    plain = read(frame)
    twice = read(pd.concat([frame, frame[at(frame, DAYS[3])]]).sort_values("date", kind="stable"))
    pd.testing.assert_frame_equal(twice.rows, plain.rows)
    assert twice.counts["rejected"].sum() == len(SYMBOLS)
    first = 2 + 3 * len(SYMBOLS)
    assert twice.ledger["reason"][0] == f"duplicate of NSE_data_all_stocks_2023.csv:{first}"


def test_a_conflicting_second_row_is_rejected_with_both_closes(frame, read):
    other = set_field(frame[at(frame, DAYS[3], "AAA")].copy(), DAYS[3], "AAA", close=77.0)
    archive = read(pd.concat([frame, other]))
    kept = row(archive, "AAA", DAYS[3])["close"]
    assert f"close 77, kept {kept:g}" in only_entry(archive)["reason"]


def test_the_same_content_in_a_second_file_changes_nothing(frame, tmp_path):
    folder = write(tmp_path / "archive", frame)
    once = read_archive(folder)
    content = (folder / "NSE_data_all_stocks_2023.csv").read_bytes()
    (folder / "NSE_data_all_stocks_2023_jan_to_oct.csv").write_bytes(content)
    twice = read_archive(folder)
    pd.testing.assert_frame_equal(twice.rows, once.rows)
    assert twice.counts["rejected"].tolist() == [0, len(frame)]


def test_reading_again_gives_the_same(frame, tmp_path):
    folder = write(tmp_path / "archive", copy_day(frame, DAYS[2], DAYS[3]))
    first, second = read_archive(folder), read_archive(folder)
    for name in ("rows", "ledger", "counts", "actions", "notes"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("ratio", [0.17, 0.3, 0.5, 0.62, 1.9, 7.5])
def test_a_split_or_consolidation_is_flagged_and_listed(frame, read, ratio):
    after = (frame["date"] >= DAYS[4]) & (frame["symbol"] == "AAA")
    for name in ("close", "low", "high"):
        frame.loc[after, name] = [round(value * ratio, 4) for value in frame.loc[after, name]]
    for day, before in zip(DAYS[4:], DAYS[3:], strict=False):
        set_field(frame, day, "AAA", previous=frame[at(frame, before, "AAA")]["close"].item())
    archive = read(frame)
    assert archive.actions[["symbol", "date", "line"]].values.tolist() == [
        ["AAA", DAYS[4], 2 + 4 * len(SYMBOLS)]
    ]
    assert row(archive, "AAA", DAYS[4])["flags"] == Flag.ACTION


def test_a_first_listing_without_previous_is_accepted(frame, read):
    listed = market(DAYS[4:], symbols=("NEW",))
    listed.loc[0, "previous"] = "-"
    archive = read(pd.concat([frame, listed]).sort_values("date", kind="stable"))
    assert row(archive, "NEW", DAYS[4])["flags"] == 0
    assert archive.ledger.empty and archive.notes.empty
