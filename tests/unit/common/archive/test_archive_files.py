"""Files of an archive: columns, empty, missing and damaged files."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.prices.archive import NEW_HEADER, market, price_line, write
from support.prices.archive_rows import DAYS

from common.archive.flags import Flag
from common.archive.reader import PANEL_COLUMNS, read_archive
from common.errors import ArchiveError


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


def test_other_csv_files_are_ignored_and_noted(frame, tmp_path):
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


@pytest.mark.fuzz
@settings(max_examples=examples(60), deadline=None)
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
