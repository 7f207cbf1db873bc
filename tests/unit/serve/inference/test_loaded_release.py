"""Responses of a small real release, loaded: the backtest's numbers, and the caveats beside them."""

import datetime as dt
import json
import time

import holidays
import numpy as np
import pandas as pd
import pytest
from support.prices.panel import REPAIRED_DAYS, SYMBOLS
from support.releases.loaded_release import SETTINGS, TODAY, ask, loaded_release, predict
from support.releases.release import doctored, made_release

from common.errors import BadRequest, BundleError, InsufficientHistory, NsecastError, UnknownSymbol
from common.release.released_models import ReleasedModels
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import model_key
from serve.schemas.forecast import PredictRequest

LOADED = loaded_release()
DAYS = [day.date() for day in LOADED.panel.dates]
PRICES = [20.0 + n % 5 for n in range(60)]


def codes(response) -> set[str]:
    return {caveat.code for caveat in response.warnings}


def test_an_answer_is_the_backtests_row_to_the_last_digit():
    table = pd.read_parquet(LOADED.release.file("test_forecasts.parquet"))
    rows = table.groupby("symbol").sample(12, random_state=0)
    assert len(rows) >= 48
    for row in rows.itertuples():
        response = predict(
            LOADED, symbol=row.symbol, horizon=f"{row.horizon}d", as_of=f"{row.cutoff:%Y-%m-%d}"
        )
        served = response.prediction, response.mean_prediction, response.last_price, response.forecast_source
        assert served == (row.published, row.raw, row.last_price, row.source)
        assert response.model_type == row.model_type and ("frozen" in codes(response)) == row.frozen
        bounds = [(row.lo80, row.hi80), (row.lo90, row.hi90), (row.lo95, row.hi95)]
        assert [(interval.lower, interval.upper) for interval in response.intervals.values()] == bounds
        probabilities = response.probability_up, response.probability_unchanged, response.probability_down
        assert probabilities == (row.probability_up, row.probability_unchanged, row.probability_down)
        assert response.expected_change_percent == 100 * (row.raw / row.last_price - 1)


def test_a_response_equals_the_release_s_forecast_for_any_evening_and_stock():
    models, checked = ReleasedModels(LOADED.release), 0
    evenings = [None, TODAY, *(DAYS[n] for n in (90, 200, 319, *REPAIRED_DAYS)), DAYS[118] + dt.timedelta(1)]
    for evening in evenings:
        for symbol in SYMBOLS:
            try:
                expected = models.forecast(symbol, as_of=evening)
            except NsecastError as error:
                assert error.http_status in (404, 422)
                with pytest.raises(InsufficientHistory):
                    predict(LOADED, symbol=symbol, as_of=evening)
                continue
            for item in expected:
                response = predict(LOADED, symbol=symbol, horizon=f"{item.horizon}d", as_of=evening)
                assert (response.prediction, response.mean_prediction) == (item.published, item.raw)
                assert (response.last_price, response.last_date) == (item.last_price, item.last_date)
                assert (response.change_percent, response.model_type) == (
                    item.change_percent,
                    item.model_type,
                )
                bounds = {level: (part.lower, part.upper) for level, part in response.intervals.items()}
                assert bounds == item.intervals
                assert ("in_sample" in codes(response), "frozen" in codes(response)) == (
                    item.in_sample,
                    item.frozen,
                )
                checked += 1
    assert checked > 120


def test_horizons_differ_in_price_interval_and_date():
    results = [predict(LOADED, symbol="MOVES", horizon=horizon) for horizon in ("1d", "5d", "10d", "30d")]
    assert len({result.mean_prediction for result in results}) == 4
    assert len({result.confidence_interval.upper for result in results}) == 4
    assert [result.target_date for result in results] == [
        day.date()
        for day in pd.bdate_range(DAYS[-1], periods=31, freq="C", holidays=list(holidays.Kenya(years=2022)))[
            [1, 5, 10, 30]
        ]
    ]


def test_recent_prices_drive_the_answer():
    plain = predict(LOADED, symbol="MOVES")
    response = predict(LOADED, symbol="MOVES", recent_prices=PRICES)
    other = predict(LOADED, symbol="MOVES", recent_prices=[2 * price for price in PRICES])
    assert response.last_price == PRICES[-1] != plain.last_price
    assert other.last_price == 2 * PRICES[-1] and other.prediction == pytest.approx(
        2 * response.prediction, rel=0.01
    )
    assert {"closes_only", "dates_assumed", "clipped"} <= codes(response)
    assert codes(predict(LOADED, symbol="MOVES", recent_prices=[*PRICES[:-1], 99.0])) == codes(response)


def test_bars_with_dates_need_no_assumptions_and_hide_only_the_market():
    days = pd.bdate_range(end=DAYS[-1], periods=60)
    bars = [{"close": p, "volume": 9, "date": f"{day:%Y-%m-%d}"} for p, day in zip(PRICES, days, strict=True)]
    response = predict(LOADED, symbol="MOVES", recent_bars=bars)
    assert "market_unknown" in codes(response) and not {"closes_only", "dates_assumed"} & codes(response)
    stale = predict(LOADED, symbol="MOVES", recent_bars=bars, as_of=TODAY)
    assert response.last_date == stale.last_date == DAYS[-1]


def test_model_and_version_name_the_tier():
    own, shared = predict(LOADED, symbol="MOVES"), predict(LOADED, symbol="SPLITS")
    assert (own.model_type, own.model_version) == ("stock_specific", "residual_specific")
    assert (shared.model_type, shared.model_version) == ("general", "residual_general")
    assert own.name == "MOVES" and own.sector == "Unknown" and own.release == LOADED.release.id


def test_evidence_is_that_of_the_matrix_for_the_symbol_and_horizon():
    matrix = pd.read_csv(LOADED.release.file("performance_matrix.csv"), index_col="symbol")
    for horizon in LOADED.positions:
        response = predict(LOADED, symbol="MOVES", horizon=horizon)
        assert response.mape == matrix.loc["MOVES", f"mape_{horizon}"]
        assert response.naive_mape == matrix.loc["MOVES", f"naive_mape_{horizon}"]
        measured = LOADED.measured("MOVES", horizon)
        assert measured.skill == 1 - matrix.loc["MOVES", f"rel_mae_{horizon}"]
    frozen = predict(LOADED, symbol="FROZEN")
    assert LOADED.measured("FROZEN", "1d").mape is None and frozen.naive_mape is None
    assert (frozen.mape, frozen.mape_source) == LOADED.mape(
        "FROZEN", "1d"
    ) and frozen.mape_source == "general"


def test_an_unknown_symbol_with_prices_gets_a_general_forecast_of_low_confidence():
    response = predict(LOADED, symbol="NEWCO", recent_prices=PRICES, allow_unknown=True)
    assert (response.model_type, response.confidence, response.name) == ("general", "low", None)
    assert "unknown_symbol" in codes(response) and response.naive_mape is None
    assert response.mape_source == "general"
    with pytest.raises(UnknownSymbol):
        predict(LOADED, symbol="NEWCO", recent_prices=PRICES)
    with pytest.raises(UnknownSymbol, match="send recent_prices too"):
        predict(LOADED, symbol="NEWCO", allow_unknown=True)


def test_a_stock_that_stood_still_gets_its_last_price_and_low_confidence():
    response = predict(LOADED, symbol="FROZEN", horizon="30d")
    assert (response.prediction, response.forecast_source, response.confidence) == (
        response.last_price,
        "last_price",
        "low",
    )
    assert "frozen" in codes(response) and response.confidence_interval.lower == response.last_price


def test_a_bad_bundle_goes_to_the_general_model_and_says_so():
    request, key = PredictRequest(symbol="MOVES"), model_key("MOVES", LOADED.release.id)
    own = LOADED.prepare(request, today=TODAY)
    assert own.key == key
    ahead = LOADED.prepare(request, frozenset({key}), today=TODAY)
    after = LOADED.general(own)
    for prepared in (ahead, after):
        result = ask(LOADED, prepared)
        assert prepared.key == model_key("general", LOADED.release.id)
        assert result.model_type == "general" and result.confidence != "high" and "fallback" in codes(result)
    assert ask(LOADED, ahead).mean_prediction == ask(LOADED, after).mean_prediction
    assert LOADED.prepare(request, frozenset({"MOVES@another"}), today=TODAY).key == key
    shared = LOADED.prepare(PredictRequest(symbol="SPLITS"), today=TODAY)
    assert LOADED.general(shared) is shared


def test_an_old_last_price_adds_a_warning_and_lowers_confidence():
    fresh = predict(LOADED, symbol="MOVES", as_of=DAYS[-1])
    late = ask(
        LOADED, LOADED.prepare(PredictRequest(symbol="MOVES", as_of="2022-06-01"), today=dt.date(2022, 6, 2))
    )
    assert "stale" in codes(late) and "stale" not in codes(fresh)
    rank = ["low", "medium", "high"].index
    assert rank(late.confidence) < rank(fresh.confidence)
    assert any("sessions old" in reason for reason in late.confidence_reasons)


def test_synthetic_data_old_data_and_in_sample_days_add_warnings():
    assert {"synthetic", "old_data"} <= codes(predict(LOADED, symbol="MOVES"))
    assert "in_sample" in codes(predict(LOADED, symbol="MOVES", as_of=DAYS[100]))
    assert "in_sample" not in codes(predict(LOADED, symbol="MOVES", as_of=DAYS[-3]))
    assert "copied_day" in codes(predict(LOADED, symbol="SPLITS", as_of=DAYS[60]))


def test_a_horizon_the_release_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(BadRequest, match=r"horizon: got 5d, this release has 1d\."):
        predict(loaded_release("v4_log"), symbol="MOVES", horizon="5d")


def test_the_original_design_is_served_too_without_intervals():
    loaded = loaded_release("v4_log")
    response = predict(loaded, symbol="MOVES")
    assert response.model_version == "v4_log_specific"
    assert response.confidence_interval is None and response.intervals == {}
    assert predict(loaded, symbol="NEWCO", recent_prices=PRICES, allow_unknown=True).prediction > 0
    still = predict(loaded, symbol="NEWCO", recent_prices=[7.0] * 60, allow_unknown=True)
    assert still.prediction == 7.0 and "frozen" in codes(still)


def test_the_levels_of_the_intervals_are_those_of_the_calibration():
    calibration = ReleasedModels(LOADED.release).calibration
    for day in (DAYS[100], DAYS[200], DAYS[-1]):
        prepared = LOADED.prepare(PredictRequest(symbol="MOVES", as_of=day))
        cutoff, group = prepared.windows.cutoff, calibration.groups.of(prepared.windows)
        assert np.array_equal(prepared.levels, calibration.on(cutoff, group))


def test_a_question_is_prepared_in_well_under_a_millisecond():
    for request in (PredictRequest(symbol="MOVES"), PredictRequest(symbol="MOVES", recent_prices=PRICES)):
        assert not LOADED.is_slow(request)
        times = []
        for _ in range(100):
            started = time.thread_time()  # whatever else the machine does
            LOADED.prepare(request, today=TODAY)
            times.append(time.thread_time() - started)
        assert np.median(times) < 1e-3
    assert LoadedRelease(LOADED.release).is_slow(PredictRequest(symbol="THIN", as_of=DAYS[40]))


def test_the_response_is_plain_json_with_no_nan():
    response = predict(LOADED, symbol="FROZEN", recent_prices=PRICES)
    document = json.loads(response.model_dump_json(), parse_constant=lambda name: pytest.fail(name))
    assert document["request_id"] == "made" and document["cached"] is True
    assert document["timestamp"].endswith("Z") and document["execution_time"] > 0


def test_a_sector_name_is_case_insensitive():
    assert LOADED.in_sector(" unknown ") == sorted(SYMBOLS)
    with pytest.raises(BadRequest, match="There are: Unknown"):
        LOADED.in_sector("Banking")


def test_a_release_with_invalid_files_is_not_loaded(tmp_path):
    def spoil(folder):
        (folder / "performance_matrix.csv").write_text("symbol,name\nMOVES,x\n")

    with pytest.raises(BundleError, match=r"performance_matrix\.csv: KeyError"):
        LoadedRelease(doctored(made_release(tmp_path / "a", **SETTINGS), spoil))

    def cut(folder):
        (folder / "general_residual" / "metadata.json").write_text("{")

    with pytest.raises(BundleError, match=r"metadata\.json: JSONDecodeError"):
        LoadedRelease(doctored(made_release(tmp_path / "b", **SETTINGS), cut))


def test_a_desk_loads_no_network(monkeypatch):
    monkeypatch.setattr("common.release.bundle.OnnxNetwork", lambda path: pytest.fail("a network was loaded"))
    LoadedRelease(LOADED.release).prepare(PredictRequest(symbol="MOVES"), today=TODAY)
