"""Reading daily price files: every defect of the real archive on a small synthetic one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archive import NEW_HEADER, SYMBOLS, at, copy_day, market, price_line, weekdays, write

from common.archive.flags import Flag
from common.archive.reader import PANEL_COLUMNS, read_archive
from common.errors import ArchiveError

DAYS = weekdays("2023-03-06", 8)


@pytest.fixture
def frame():
    return market(DAYS)


@pytest.fixture
def read(tmp_path):
    """Write a synthetic market and read it back."""
    return lambda frame: read_archive(write(tmp_path / "archive", frame))


def row(archive, symbol, day):
    outcome = archive.rows[(archive.rows["symbol"] == symbol) & (archive.rows["date"] == day)]
    assert len(outcome) == 1
    return outcome.iloc[0]


def set_field(frame, day, symbol, **values):
    for name, value in values.items():
        frame.loc[at(frame, day, symbol), name] = value
    return frame


def only_entry(archive):
    assert len(archive.ledger) == 1
    return archive.ledger.iloc[0]


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
    for name in ("rows", "ledger", "counts", "actions", "notes", "sectors"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


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


def test_of_two_copied_days_only_the_second_can_be_repaired(frame, read):
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


def test_retrospective_columns_are_never_read(frame, tmp_path):
    folder = write(tmp_path / "archive", frame)
    before = read_archive(folder)
    path = folder / "NSE_data_all_stocks_2023.csv"
    lines = [line.rsplit(",", 1)[0] + ",0.133" for line in path.read_text().splitlines()[1:]]
    lines = [line.replace("1.00,99.00", "junk,9e9") for line in lines]
    path.write_text("\n".join([NEW_HEADER, *lines]))
    after = read_archive(folder)
    assert tuple(after.rows.columns) == PANEL_COLUMNS
    pd.testing.assert_frame_equal(after.rows, before.rows)


def test_section_titles_correct_the_sectors(frame, tmp_path):
    folder = write(tmp_path / "archive", frame)
    lines = ["Banking,AAA,Aaa Plc", "Construction,BBB,Bbb Plc", "Construction,Energy and Petroleum,"]
    lines += ["Construction,CCC,Ccc Plc", "Insurance,DDD,Ddd Plc", "Telecom,Real Estate Investment Trusts,"]
    lines += ["Telecom,Exchange Traded Funds,", "Telecom,EEE,Eee ETF"]
    (folder / "sectors.csv").write_text("\n".join(["Sector,Stock_code,Stock_name", *lines]) + "\n")
    archive = read_archive(folder)
    expected = {"AAA": "Banking", "BBB": "Construction", "CCC": "Energy and Petroleum", "DDD": "Insurance"}
    assert dict(archive.sectors[["symbol", "sector"]].values) == expected | {"EEE": "Exchange Traded Funds"}
    counts = archive.counts.set_index("file").loc["sectors.csv"]
    assert (counts["read"], counts["accepted"], counts["rejected"]) == (8, 5, 3)
    assert "section title: 'Energy and Petroleum'" in archive.ledger["reason"].tolist()


def test_other_csv_files_are_left_alone_and_noted(frame, tmp_path):
    folder = write(tmp_path / "archive", frame)
    (folder / "other.csv").write_text("a,b\n1,2\n")
    (folder / "empty.csv").write_text("")
    (folder / "SHA256SUMS").write_text("not a price file")
    archive = read_archive(folder)
    assert archive.notes["kind"].tolist() == ["file ignored", "file ignored"]
    assert archive.counts["file"].tolist() == ["NSE_data_all_stocks_2023.csv"]


def test_a_price_file_without_rows_counts_zero(frame, tmp_path):
    folder = write(tmp_path / "archive", frame)
    (folder / "NSE_data_all_stocks_2024.csv").write_text(NEW_HEADER + "\n")
    assert read_archive(folder).counts["read"].tolist() == [len(frame), 0]


def test_a_price_file_alone_and_without_rows_gives_an_empty_archive(tmp_path):
    (tmp_path / "NSE_data_all_stocks_2024.csv").write_text(NEW_HEADER)
    archive = read_archive(tmp_path)
    assert archive.rows.empty and archive.counts["read"].tolist() == [0]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArchiveError, match="nowhere: cannot be read as a folder"):
        read_archive(tmp_path / "nowhere")


def test_a_folder_without_price_files_is_named(tmp_path):
    with pytest.raises(ArchiveError, match="no daily price file"):
        read_archive(tmp_path)


def test_an_unreadable_price_file_is_named(tmp_path):
    (tmp_path / "prices.csv").mkdir()
    with pytest.raises(ArchiveError, match=r"prices\.csv: cannot be read"):
        read_archive(tmp_path)


BASE = market(DAYS[:6])
LINES = [price_line(line).encode() for line in BASE.itertuples()]
BODY = b"\n".join(LINES) + b"\n"
EDITS = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, len(BODY) - 1), st.integers(1, 255)),
    st.tuples(st.just("drop"), st.integers(0, len(BODY) - 1), st.integers(1, 20)),
    st.tuples(st.just("cut"), st.integers(0, len(BODY) - 1), st.just(0)),
    st.tuples(st.just("field"), st.integers(0, len(LINES) - 1), st.integers(0, 12)),
)


def damage(edits):
    body = BODY
    for kind, place, size in edits:
        if kind == "flip" and place < len(body):
            body = body[:place] + bytes([body[place] ^ size]) + body[place + 1 :]
        elif kind == "drop":
            body = body[:place] + body[place + size :]
        elif kind == "cut":
            body = body[:place]
        elif kind == "field" and place < body.count(b"\n"):
            lines = body.split(b"\n")
            fields = lines[place].split(b",")
            lines[place] = b",".join(fields[:size] + fields[size + 1 :])
            body = b"\n".join(lines)
    return body


@settings(max_examples=60, deadline=None)
@given(edits=st.lists(EDITS, min_size=1, max_size=5))
def test_damage_never_crashes_the_reader_nor_costs_a_good_row(tmp_path_factory, edits):
    body = damage(edits)
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "NSE_data_all_stocks_2023.csv").write_bytes(NEW_HEADER.encode() + b"\n" + body)
    archive = read_archive(folder)

    counts = archive.counts.iloc[0]
    assert counts["read"] == body.count(b"\n") + (body != b"" and not body.endswith(b"\n"))
    assert counts["read"] == counts["accepted"] + counts["repaired"] + counts["rejected"]
    assert len(archive.ledger) == counts["repaired"] + counts["rejected"]
    assert (archive.ledger["reason"] != "").all()
    rebuilt = (archive.rows["flags"] & int(Flag.REBUILT)) != 0
    assert len(archive.rows) - rebuilt.sum() == counts["accepted"] + counts["repaired"]

    left = set(body.split(b"\n"))
    closes = {(line.symbol, line.date): line.close for line in archive.rows.itertuples()}
    fought_over = set(archive.ledger.loc[archive.ledger["reason"].str.startswith("conflicts"), "raw"])
    for line, good in zip(LINES, BASE.itertuples(), strict=True):
        if line in left and line.decode() not in fought_over:
            assert closes[good.symbol, good.date] == good.close
