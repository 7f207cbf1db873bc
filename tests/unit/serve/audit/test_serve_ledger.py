"""The log of served forecasts: what gets a row, what never costs a request, and what bounds it."""

import datetime as dt

import pytest
from support.releases.ledger import CLOSES, NOON, ledger_of, prices, question, read_ledger, see
from support.releases.loaded_release import ask, loaded_release

from serve.audit.files import SCHEMA


@pytest.fixture(scope="module")
def loaded():
    return loaded_release()


def test_ten_thousand_requests_for_one_forecast_are_one_row(loaded, tmp_path):
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
    assert list(row) == SCHEMA.names and sum(name.startswith("probability_") for name in row) == 3
    assert (row["published"], row["raw"]) == (answer.prediction, answer.mean_prediction)
    assert (row["last_price"], row["horizon"]) == (answer.last_price, 5)
    assert (row["cutoff"].date(), row["target_date"].date()) == (answer.last_date, answer.target_date)
    assert (row["model_type"], row["source"]) == (answer.model_type, answer.forecast_source)
    assert (row["release"], row["preset"]) == (answer.release, "residual")
    for level, interval in answer.intervals.items():
        assert (row[f"lo{level}"], row[f"hi{level}"]) == (interval.lower, interval.upper)
    assert row["served_at"] == NOON
    names = ("probability_up", "probability_unchanged", "probability_down", "expected_change_percent")
    assert [row[name] for name in names] == [getattr(answer, name) for name in names]
    assert sum(row[name] for name in names[:3]) == pytest.approx(1)


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


def test_the_first_forecast_is_kept_across_two_routers_and_a_restart(loaded, tmp_path):
    for minutes in (7, 3, 5):
        ledger = ledger_of(tmp_path, at=NOON + dt.timedelta(minutes=minutes))
        see(ledger, loaded, symbol="MOVES")
        ledger.close()
    rows = read_ledger(tmp_path)
    assert rows.parts == 3
    assert rows.frame["served_at"].tolist() == [NOON + dt.timedelta(minutes=3)]


def test_if_nothing_can_be_written_requests_succeed_one_warning_is_logged_and_rows_wait(
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
