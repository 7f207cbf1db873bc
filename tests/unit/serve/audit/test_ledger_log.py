"""The buffer of a log of served forecasts, what it never loses, and what it reads when a day is over."""

import datetime as dt

import pytest
from support.releases.receipts import NOON, day_log, row, write

from serve.audit import files as ledger_files
from serve.audit.files import read_day


def note(log, symbol, request_id="", size=0):
    return log.add(symbol, lambda: row(symbol, NOON, 10.1), request_id, size)


def rows_of(home):
    days = sorted((home / "served").iterdir())
    return [
        item
        for day in days
        if day.is_dir()
        for table, _ in read_day(day)[0].values()
        for item in table.to_pylist()
    ]


def ids_of(home):
    """The request ids of each symbol, in the order of its rows."""
    ids = {}
    for record in rows_of(home):
        ids.setdefault(record["symbol"], []).extend(record["request_ids"])
    return ids


@pytest.fixture
def broken(tmp_path):
    """A storage root whose log cannot be written until `mend` is called."""
    (tmp_path / "served").write_text("a file where the folder should be")

    def mend():
        (tmp_path / "served").unlink()

    return tmp_path, mend


def test_a_full_buffer_refuses_by_rows_and_by_bytes_and_what_it_took_is_written(broken):
    home, mend = broken
    log = day_log(home, rows_buffered=3, megabytes_buffered=1)
    assert note(log, "KCB", size=900_000) and not note(log, "BAT", size=200_000)
    assert note(log, "SCOM") and note(log, "EQTY") and not note(log, "ABSA")
    for _ in range(5):
        assert not log.flush()
        assert not note(log, "NCBA")  # what waits for another try fills the buffer too
    mend()
    assert log.flush() and note(log, "NCBA") and log.flush()
    assert sorted(ids_of(home)) == ["EQTY", "KCB", "NCBA", "SCOM"]


def test_request_ids_added_during_a_failed_write_are_written_with_the_earlier_ones(broken):
    home, mend = broken
    log = day_log(home)
    note(log, "KCB", "a")
    assert not log.flush()
    note(log, "KCB", "b")
    note(log, "BAT", "c")
    assert not log.flush()
    mend()
    note(log, "KCB", "d")
    assert log.flush()
    assert ids_of(home) == {"KCB": ["a", "b", "d"], "BAT": ["c"]}


def test_request_ids_of_one_row_fill_the_buffer_in_the_end(broken):
    home, _ = broken
    log = day_log(home, megabytes_buffered=1)
    taken = sum(note(log, "KCB", f"{number:032x}") for number in range(20_000))
    assert 5_000 < taken < 20_000


def test_a_new_day_folds_the_day_that_ended_and_reads_none_older_than_the_day_before(tmp_path, monkeypatch):
    log, read = day_log(tmp_path), []
    real = ledger_files.read_part
    monkeypatch.setattr(ledger_files, "read_part", lambda path: read.append(path.parent.name) or real(path))
    for day in range(6):
        write(log, day, "KCB")
        del read[:]
        write(log, day, "SCOM")
        assert read == []
        ended, before = (f"{NOON + dt.timedelta(days=number):%Y-%m-%d}" for number in (day, day - 1))
        write(log, day + 1, "BAT")
        assert ended in read and set(read) <= {ended, before} and read.count(before) <= 1
    assert [len(list(day.glob("*.parquet"))) for day in sorted((tmp_path / "served").iterdir())[1:6]] == [
        1
    ] * 5


def test_a_router_that_starts_later_reads_the_newest_two_days_alone(tmp_path, monkeypatch):
    first, second = day_log(tmp_path), day_log(tmp_path)
    for day in range(4):
        write(first, day, "KCB")
    write(second, 3, "SCOM")
    read = []
    real = ledger_files.read_part
    monkeypatch.setattr(ledger_files, "read_part", lambda path: read.append(path.parent.name) or real(path))
    write(day_log(tmp_path), 9, "BAT")
    assert set(read) == {"2022-04-03", "2022-04-04"}


def test_a_day_larger_than_the_limit_is_still_written_and_only_past_days_are_deleted(tmp_path):
    for day in ("2022-03-31", "2022-04-01"):
        (tmp_path / "served" / day).mkdir(parents=True)
        (tmp_path / "served" / day / "large.bin").write_bytes(b"x" * 1_100_000)
    counts = []
    log = day_log(tmp_path, megabytes_kept=1)
    log._count = lambda outcome, many: counts.append((outcome, many))
    write(log, 0, "KCB")
    assert (tmp_path / "served" / "2022-04-01" / "large.bin").exists()
    assert not (tmp_path / "served" / "2022-03-31").exists()
    assert sorted(counts) == [("days_dropped", 1), ("written", 1)] and list(ids_of(tmp_path)) == ["KCB"]
