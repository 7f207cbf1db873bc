"""Days of the log: deleted, merged, damaged, and read."""

import datetime as dt
import os
import signal
import time

import numpy as np
import pytest
from support.releases.ledger import NOON, ledger_of, prices, question, read_ledger, see
from support.releases.loaded_release import loaded_release

from common.exchange.clock import ExchangeClock
from serve.audit import files as ledger_files
from serve.audit.files import SCHEMA
from serve.inference.loaded_release import LoadedRelease


@pytest.fixture(scope="module")
def loaded():
    return loaded_release()


def test_the_oldest_days_are_deleted_first_and_unknown_files_stay(loaded, tmp_path, caplog):
    for day in ("2022-03-29", "2022-03-30", "2022-03-31"):
        (tmp_path / "served" / day).mkdir(parents=True)
    (tmp_path / "served" / "notes").mkdir()
    ledger = ledger_of(tmp_path, days_kept=3)
    see(ledger, loaded, symbol="MOVES")
    ledger.close()
    left = sorted(path.name for path in (tmp_path / "served").iterdir() if path.is_dir())
    assert left == ["2022-03-30", "2022-03-31", "2022-04-01", "notes"]
    assert ledger.counts["days_dropped"] == 1 and "day=2022-03-29" in caplog.text


def test_beyond_the_size_limit_older_days_are_deleted_and_today_is_written(loaded, tmp_path):
    for day, size in (("2022-03-30", 700_000), ("2022-03-31", 400_000)):
        (tmp_path / "served" / day).mkdir(parents=True)
        (tmp_path / "served" / day / "a.parquet").write_bytes(b"x" * size)
    ledger = ledger_of(tmp_path, megabytes_kept=1)
    see(ledger, loaded, symbol="MOVES")
    assert ledger.flush()
    assert not (tmp_path / "served" / "2022-03-30").exists()
    assert (tmp_path / "served" / "2022-03-31").exists()
    (tmp_path / "served" / "2022-04-01" / "full.parquet").write_bytes(b"x" * 1_100_000)
    see(ledger, loaded, symbol="THIN")
    ledger.close()
    assert (tmp_path / "served" / "2022-04-01" / "full.parquet").exists()
    assert sorted(read_ledger(tmp_path).frame["symbol"]) == ["MOVES", "THIN"]


def test_no_day_kept_means_no_log(loaded, tmp_path):
    ledger = ledger_of(tmp_path, days_kept=0)
    see(ledger, loaded, symbol="MOVES")
    ledger.close()
    assert not (tmp_path / "served").exists()


def test_the_thread_writes_without_further_calls(loaded, tmp_path):
    ledger = ledger_of(tmp_path, flush_every_s=0.05)
    see(ledger, loaded, symbol="MOVES")
    until = time.monotonic() + 60
    while not ledger.counts["written"] and time.monotonic() < until:
        time.sleep(0.02)
    assert len(read_ledger(tmp_path).frame) == 1
    ledger.close()


def test_a_killed_router_loses_what_was_buffered_and_leaves_nothing_broken(loaded, tmp_path):
    first, second = (question(loaded, symbol=symbol) for symbol in ("MOVES", "THIN"))
    forecasts = [prices(loaded, first), prices(loaded, second)]
    child = os.fork()
    if child == 0:
        try:
            ledger = ledger_of(tmp_path)
            ledger.record(loaded, first, forecasts[0])
            ledger.flush()
            ledger.record(loaded, second, forecasts[1])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    rows = read_ledger(tmp_path)
    assert rows.frame["symbol"].tolist() == ["MOVES"] and rows.damaged == ()


def test_a_damaged_part_is_named_and_the_others_are_read(loaded, tmp_path):
    ledger = ledger_of(tmp_path)
    see(ledger, loaded, symbol="MOVES")
    ledger.close()
    day = tmp_path / "served" / "2022-04-01"
    (day / "broken.parquet").write_bytes(b"PAR1 not really")
    (day / ".being-written.tmp.parquet").write_bytes(b"")
    rows = read_ledger(tmp_path)
    assert len(rows.frame) == 1 and len(rows.damaged) == 1 and "broken.parquet" in rows.damaged[0]


def test_only_days_since_are_read_and_a_home_without_a_log_is_empty(loaded, tmp_path):
    ledger = ledger_of(tmp_path)
    see(ledger, loaded, symbol="MOVES")
    ledger.close()
    assert len(read_ledger(tmp_path, since=dt.date(2022, 4, 1)).frame) == 1
    assert len(read_ledger(tmp_path, since=dt.date(2022, 4, 2)).frame) == 0
    empty = read_ledger(tmp_path / "none").frame
    assert list(empty.columns) == SCHEMA.names and np.issubdtype(empty["cutoff"].dtype, np.datetime64)


def test_a_day_that_is_over_is_folded_into_one_part_with_each_forecast_once(loaded, tmp_path):
    for minutes, symbol in ((9, "MOVES"), (4, "MOVES"), (2, "THIN")):
        ledger = ledger_of(tmp_path, at=NOON + dt.timedelta(minutes=minutes))
        see(ledger, loaded, symbol=symbol)
        ledger.close()
    day = tmp_path / "served" / "2022-04-01"
    (day / ".killed.tmp.parquet").write_bytes(b"half")
    (day / "broken.parquet").write_bytes(b"PAR1 not really")
    before = read_ledger(tmp_path)
    tomorrow = ledger_of(tmp_path, at=NOON + dt.timedelta(days=1))
    see(tomorrow, loaded, symbol="GAPS")
    tomorrow.close()
    names = sorted(path.name for path in day.iterdir())
    assert len(names) == 2 and names[0].startswith("all-") and names[1] == "broken.parquet"
    after = read_ledger(tmp_path)
    assert after.parts == 2 and len(after.damaged) == 1
    assert after.frame.iloc[:2].equals(before.frame) and after.frame["symbol"].iloc[2] == "GAPS"
    assert tomorrow.counts["failures"] == 0


def test_rows_are_read_once_though_a_crash_left_them_folded_and_apart(loaded, tmp_path):
    ledger = ledger_of(tmp_path)
    see(ledger, loaded, symbol="MOVES")
    ledger.close()
    day = tmp_path / "served" / "2022-04-01"
    (part,) = day.glob("*.parquet")
    (day / f"all-0-{part.stem.split('-')[-1]}.parquet").write_bytes(part.read_bytes())
    rows = read_ledger(tmp_path)
    assert rows.parts == 2 and len(rows.frame) == 1


def test_a_part_merged_during_a_read_is_read_from_the_merged_file(loaded, tmp_path, monkeypatch):
    for symbol in ("MOVES", "THIN"):
        ledger = ledger_of(tmp_path)
        see(ledger, loaded, symbol=symbol)
        ledger.close()
    listed = ledger_files.parts_of

    def folded_after_the_listing(day):
        monkeypatch.setattr(ledger_files, "parts_of", listed)
        listing = listed(day)
        ledger_files.fold(day)
        return listing

    monkeypatch.setattr(ledger_files, "parts_of", folded_after_the_listing)
    assert sorted(read_ledger(tmp_path).frame["symbol"]) == ["MOVES", "THIN"]


def test_a_day_of_the_log_is_a_day_of_the_releases_exchange(tmp_path):
    """One instant, 21:30 UTC: the next day in Nairobi, still the same in New York."""
    at = dt.datetime(2022, 4, 1, 21, 30, tzinfo=dt.UTC)
    folders = {}
    for zone in ("Africa/Nairobi", "America/New_York"):
        loaded, home = LoadedRelease(loaded_release().release), tmp_path / zone.replace("/", "-")
        home.mkdir()
        loaded.clock = ExchangeClock(zone)
        ledger = ledger_of(home, at=at)
        see(ledger, loaded, symbol="MOVES")
        ledger.close()
        folders[zone] = [path.name for path in (home / "served").iterdir() if path.is_dir()]
    assert folders == {"Africa/Nairobi": ["2022-04-02"], "America/New_York": ["2022-04-01"]}
