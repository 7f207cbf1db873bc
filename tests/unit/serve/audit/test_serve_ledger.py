"""The log of served forecasts: what gets a row, what never costs a request, and what bounds it."""

import datetime as dt
import os
import signal
import time

import numpy as np
import pytest
from support.loaded_release import TODAY, ask, bundle, loaded_release

from cluster.monitor.served import read_ledger
from common.exchange.clock import ExchangeClock
from serve.audit import files as ledger_files
from serve.audit.files import SCHEMA
from serve.audit.ledger import Ledger
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import PredictRequest
from serve.settings import LedgerSettings

NOON = dt.datetime(2022, 4, 1, 9, tzinfo=dt.UTC)
ONE_DAY = {"answers_days_kept": 1, "answers_megabytes_kept": 1}
CLOSES = [100.0 + day % 3 for day in range(60)]


@pytest.fixture(scope="module")
def loaded():
    return loaded_release()


def question(loaded, **body):
    return loaded.prepare(PredictRequest.model_validate(body), today=TODAY)


def prices(loaded, prepared):
    return bundle(loaded, prepared.route.job).forecaster.forecast(prepared.windows, prepared.levels)


def ledger_of(home, *, at=NOON, **settings):
    return Ledger(home, LedgerSettings(**settings), clock=at.timestamp)


def see(ledger, loaded, **body):
    prepared = question(loaded, **body)
    ledger.record(loaded, prepared, prices(loaded, prepared))


def test_ten_thousand_askings_of_one_forecast_are_one_row(loaded, tmp_path):
    ledger, prepared = ledger_of(tmp_path), question(loaded, symbol="MOVES")
    forecasts = prices(loaded, prepared)
    for _ in range(10_000):
        ledger.record(loaded, prepared, forecasts)
    ledger.close()
    rows = read_ledger(tmp_path)
    assert len(rows.frame) == 1 and rows.parts == 1 and ledger.counts["written"] == 1


def test_a_row_equals_the_response(loaded, tmp_path):
    ledger, prepared = ledger_of(tmp_path), question(loaded, symbol="MOVES", horizon="5d")
    answer = ask(loaded, prepared)
    ledger.record(loaded, prepared, prices(loaded, prepared))
    ledger.close()
    (row,) = read_ledger(tmp_path).frame.to_dict(orient="records")
    assert list(row) == SCHEMA.names
    assert (row["published"], row["raw"]) == (answer.prediction, answer.mean_prediction)
    assert (row["last_price"], row["horizon"]) == (answer.last_price, 5)
    assert (row["cutoff"].date(), row["target_date"].date()) == (answer.last_date, answer.target_date)
    assert (row["model_type"], row["source"]) == (answer.model_type, answer.forecast_source)
    assert (row["release"], row["preset"]) == (answer.release, "residual")
    for level, interval in answer.intervals.items():
        assert (row[f"lo{level}"], row[f"hi{level}"]) == (interval.lower, interval.upper)
    assert row["served_at"] == NOON


def test_stocks_horizons_and_models_have_rows_of_their_own(loaded, tmp_path):
    ledger = ledger_of(tmp_path)
    for symbol in ("MOVES", "THIN"):
        for horizon in ("1d", "5d"):
            see(ledger, loaded, symbol=symbol, horizon=horizon)
    general = loaded.general(question(loaded, symbol="MOVES"))
    ledger.record(loaded, general, prices(loaded, general))
    ledger.close()
    assert len(read_ledger(tmp_path).frame) == 5


def test_brought_prices_and_evenings_of_the_past_are_left_out_and_the_newest_evening_by_date_is_not(
    loaded, tmp_path
):
    ledger = ledger_of(tmp_path)
    see(ledger, loaded, symbol="MOVES", recent_prices=CLOSES)
    see(ledger, loaded, symbol="MOVES", as_of="2022-02-01")
    ledger.flush()
    assert read_ledger(tmp_path).parts == 0
    see(ledger, loaded, symbol="MOVES", as_of=loaded.data_end.isoformat())
    ledger.close()
    assert len(read_ledger(tmp_path).frame) == 1


def test_of_two_routers_and_a_restart_the_first_answer_stays(loaded, tmp_path):
    for minutes in (7, 3, 5):
        ledger = ledger_of(tmp_path, at=NOON + dt.timedelta(minutes=minutes))
        see(ledger, loaded, symbol="MOVES")
        ledger.close()
    rows = read_ledger(tmp_path)
    assert rows.parts == 3
    assert rows.frame["served_at"].tolist() == [NOON + dt.timedelta(minutes=3)]


def test_where_nothing_can_be_written_no_request_fails_one_line_says_so_and_the_rows_wait(
    loaded, tmp_path, caplog
):
    (tmp_path / "served").write_text("a file where the folder should be")
    ledger = ledger_of(tmp_path)
    see(ledger, loaded, symbol="MOVES")
    assert not ledger.flush() and not ledger.flush()
    assert ledger.counts["failures"] == 2 and caplog.text.count("served forecasts not written") == 1
    (tmp_path / "served").unlink()
    assert ledger.flush()
    ledger.close()
    assert len(read_ledger(tmp_path).frame) == 1 and ledger.counts["lost"] == 0


def test_a_missing_storage_root_is_not_created_again(loaded, tmp_path):
    ledger = ledger_of(tmp_path / "gone")
    see(ledger, loaded, symbol="MOVES")
    ledger.close()
    assert not (tmp_path / "gone").exists() and ledger.counts["failures"] == 1


def test_a_forecast_that_cannot_be_noted_costs_its_row_and_nothing_else(loaded, tmp_path, caplog):
    ledger, prepared = ledger_of(tmp_path), question(loaded, symbol="MOVES")
    ledger.record(loaded, prepared, None)
    ledger.close()
    assert ledger.counts["lost"] == 1 and "served forecast not recorded" in caplog.text


def test_rows_beyond_the_buffer_are_lost_and_counted(loaded, tmp_path, caplog):
    ledger = ledger_of(tmp_path / "gone", rows_buffered=2)
    for symbol in ("MOVES", "THIN", "GAPS", "FROZEN"):
        see(ledger, loaded, symbol=symbol)
    ledger.flush()
    assert ledger.counts["lost"] == 2 and caplog.text.count("served forecasts lost") == 1
    (tmp_path / "gone").mkdir()
    ledger.close()
    assert sorted(read_ledger(tmp_path / "gone").frame["symbol"]) == ["MOVES", "THIN"]


def test_a_forecast_dropped_from_a_full_buffer_is_written_when_requested_again(loaded, tmp_path):
    ledger = ledger_of(tmp_path, rows_buffered=1)
    for _ in range(2):
        see(ledger, loaded, symbol="MOVES")
        see(ledger, loaded, symbol="THIN")
        ledger.flush()
    ledger.close()
    assert sorted(read_ledger(tmp_path).frame["symbol"]) == ["MOVES", "THIN"] and ledger.counts["lost"] == 1


def test_a_forecast_whose_row_failed_is_written_when_requested_again(loaded, tmp_path):
    ledger, prepared = ledger_of(tmp_path), question(loaded, symbol="MOVES")
    ledger.record(loaded, prepared, None)
    see(ledger, loaded, symbol="MOVES")
    ledger.close()
    assert read_ledger(tmp_path).frame["symbol"].tolist() == ["MOVES"]


def answers_of(home):
    rows = {}
    for day in sorted((home / "answers").iterdir()):
        for table, _ in ledger_files.read_day(day)[0].values() if day.is_dir() else ():
            for row in table.to_pylist():
                rows |= dict.fromkeys(row["request_ids"], row)
    return rows


def flood(ledger, loaded, many, *, first=0):
    """Requests of one client, each with prices of its own and an id as long as the server's."""
    forecasts = prices(loaded, question(loaded, symbol="MOVES", recent_prices=CLOSES))
    for number in range(first, first + many):
        closes = [100.0 + number / 100, *CLOSES[1:]]
        prepared = question(loaded, symbol="MOVES", recent_prices=closes)
        ledger.record(loaded, prepared, forecasts, f"{number:032x}", "greedy")


def test_one_clients_flood_costs_only_its_own_receipts_and_first_only_the_prices_in_them(loaded, tmp_path):
    ledger = ledger_of(tmp_path, answers_client_share=0.1, **ONE_DAY)
    flood(ledger, loaded, 700)
    prepared = question(loaded, symbol="THIN")
    ledger.record(loaded, prepared, prices(loaded, prepared), "modest-1", "modest")
    flood(ledger, loaded, 100, first=700)
    prepared = question(loaded, symbol="THIN", recent_prices=CLOSES)
    ledger.record(loaded, prepared, prices(loaded, prepared), "modest-2", "modest")
    ledger.close()
    answers = answers_of(tmp_path)
    assert answers["modest-1"]["symbol"] == "THIN" and answers["modest-2"]["prices"]
    greedy = [row for name, row in answers.items() if not name.startswith("modest")]
    with_prices = [row for row in greedy if row["prices"]]
    assert 100 < len(with_prices) < len(greedy) < 700
    assert all(bool(row["prices"]) != bool(row["prices_digest"]) for row in greedy)
    assert ledger.counts["digest_only"] == len(greedy) - len(with_prices)
    assert ledger.counts["over_budget"] == 800 - len(greedy) and ledger.counts["lost"] == 0


def test_a_client_cannot_push_out_the_days_of_others_however_long_its_flood_goes_on(loaded, tmp_path):
    now = [NOON.timestamp()]
    settings = LedgerSettings(answers_days_kept=4, answers_megabytes_kept=1)
    ledger = Ledger(tmp_path, settings, clock=lambda: now[0])
    for day in range(6):
        prepared = question(loaded, symbol="THIN")
        ledger.record(loaded, prepared, prices(loaded, prepared), f"modest-{day}", "modest")
        for part in range(2):
            flood(ledger, loaded, 700, first=10_000 * day + 1_000 * part)
            ledger.flush()
        now[0] += 86_400
    ledger.close()
    assert ledger.counts["over_budget"] > 1_000
    assert {name for name in answers_of(tmp_path) if "modest" in name} == {
        f"modest-{day}" for day in (2, 3, 4, 5)
    }


def test_a_clients_budget_is_of_one_day(loaded, tmp_path):
    now = [NOON.timestamp()]
    ledger = Ledger(tmp_path, LedgerSettings(answers_client_share=0.01, **ONE_DAY), clock=lambda: now[0])
    flood(ledger, loaded, 100)
    before = dict(ledger.counts)
    now[0] += 86_400
    flood(ledger, loaded, 10, first=100)
    ledger.close()
    assert before["over_budget"] > 0 and ledger.counts["over_budget"] == before["over_budget"]
    assert all(answers_of(tmp_path)[f"{number:032x}"]["prices"] for number in range(100, 110))


@pytest.mark.parametrize(("with_prices", "many"), [(True, 800), (False, 8_000)])
def test_a_client_fills_its_budget_of_the_disk_and_no_more(loaded, tmp_path, with_prices, many):
    """With one file for all of it; every further file costs some kB, until the day is over."""
    rng, ledger = np.random.default_rng(5), ledger_of(tmp_path, answers_client_share=0.125, **ONE_DAY)
    prepared = question(loaded, symbol="MOVES")
    forecasts = prices(loaded, prepared)
    for _ in range(many):
        if with_prices:
            closes = (100 + rng.normal(size=60)).tolist()
            prepared = question(loaded, symbol="MOVES", recent_prices=closes)
            forecasts = prices(loaded, prepared)
        ledger.record(loaded, prepared, forecasts, rng.bytes(16).hex(), "one")
    ledger.close()
    size = sum(path.stat().st_size for path in (tmp_path / "answers").rglob("*.parquet"))
    assert ledger.counts["over_budget"] > 0 and 0.6 < size / (0.125 * 2**20) < 1.1


def test_repeated_requests_with_the_same_prices_share_one_row_with_all_ids(loaded, tmp_path):
    ledger = ledger_of(tmp_path)
    for number, closes in enumerate((CLOSES, CLOSES, CLOSES[1:] + CLOSES[:1])):
        prepared = question(loaded, symbol="MOVES", recent_prices=closes)
        ledger.record(loaded, prepared, prices(loaded, prepared), f"id-{number}", "one")
    ledger.close()
    answers = answers_of(tmp_path)
    assert answers["id-0"]["request_ids"] == ["id-0", "id-1"] and answers["id-2"]["request_ids"] == ["id-2"]


def test_a_row_that_is_written_just_before_its_next_request_is_noted_leaves_that_one_its_prices(
    loaded, tmp_path, monkeypatch
):
    ledger = ledger_of(tmp_path)
    monkeypatch.setattr(ledger._answers, "holds", lambda key: True)  # as it was a moment ago
    prepared = question(loaded, symbol="MOVES", recent_prices=CLOSES)
    ledger.record(loaded, prepared, prices(loaded, prepared), "late", "one")
    ledger.close()
    assert answers_of(tmp_path)["late"]["prices"]


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


def test_beyond_the_bound_in_bytes_older_days_go_and_today_is_written(loaded, tmp_path):
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


def test_the_thread_writes_by_itself(loaded, tmp_path):
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
