"""Forecasts in Nixtla's long form, as Nixtla's own functions read them."""

import numpy as np
import pandas as pd
import pytest
from statsforecast import StatsForecast
from statsforecast.models import Naive
from utilsforecast.evaluation import evaluate
from utilsforecast.losses import coverage, mae, rmse

from serve.nixtla import COLUMNS, to_nixtla
from serve.schemas.forecast import Outlook


def test_the_columns_are_those_of_statsforecasts_cross_validation():
    days = pd.date_range("2024-01-01", periods=40, freq="D")
    series = pd.DataFrame({"unique_id": "SCOM", "ds": days, "y": np.arange(40.0)})
    theirs = StatsForecast([Naive(alias="nsecast")], freq="D").cross_validation(df=series, h=2, level=[90])
    assert tuple(theirs) == COLUMNS


@pytest.mark.parametrize(("horizon", "days"), [("1d", 1), ("30d", 30)])
def test_utilsforecast_computes_our_figures_from_the_backtest(forecaster, horizon, days):
    table = forecaster.backtest_table()
    frame = to_nixtla(table[table["horizon"] == days]).drop(columns="cutoff")
    theirs = evaluate(frame, [mae, rmse, coverage], level=[90]).set_index(["unique_id", "metric"])["nsecast"]
    ours = forecaster.matrix().set_index(["horizon", "symbol"]).loc[horizon]
    ours = ours[ours["n"] > 0]
    assert len(ours) >= 3 and set(frame["unique_id"]) == set(ours.index)
    for symbol, row in ours.iterrows():
        assert theirs[symbol, "mae"] == pytest.approx(row["mae"], rel=1e-12)
        assert theirs[symbol, "coverage_level90"] == pytest.approx(row["cover90"], rel=1e-12)


def test_a_row_of_the_backtest_has_the_actual_price_of_its_day(forecaster):
    frame = to_nixtla(forecaster.backtest_table())
    closes = forecaster.loaded.panel.history("MOVES").set_index("date")["close"]
    rows = frame[frame["unique_id"] == "MOVES"].dropna(subset="y")
    assert len(rows) and (rows["ds"] > rows["cutoff"]).all()
    np.testing.assert_allclose(rows["y"], closes.loc[rows["ds"]])


def test_responses_and_frames_of_the_same_forecasts_are_the_same_frame(forecaster):
    from_frame = to_nixtla(forecaster.predict(["THIN", "MOVES"], "5d"))
    from_responses = to_nixtla(forecaster.answer(["THIN", "MOVES"], "5d"))
    pd.testing.assert_frame_equal(from_frame, from_responses)
    assert tuple(from_frame) == COLUMNS and list(from_frame["unique_id"]) == ["MOVES", "THIN"]
    answer = forecaster.one("MOVES", "5d")
    first = from_frame.iloc[0]
    assert first["ds"] == pd.Timestamp(answer.target_date) and first["cutoff"] == pd.Timestamp(
        answer.last_date
    )
    assert np.isnan(first["y"]) and first["nsecast"] == answer.prediction
    assert (first["nsecast-lo-90"], first["nsecast-hi-90"]) == (
        answer.confidence_interval.lower,
        answer.confidence_interval.upper,
    )


def test_one_response_an_outlook_and_a_list_are_accepted(forecaster):
    answers = [forecaster.one("MOVES", horizon) for horizon in forecaster.horizons]
    outlook = Outlook(symbol="MOVES", release="made", predictions=answers)
    pd.testing.assert_frame_equal(to_nixtla(outlook), to_nixtla(answers))
    assert len(to_nixtla(answers)) == 4 and len(to_nixtla(answers[0])) == 1
    without = answers[0].model_copy(update={"intervals": {}})
    assert to_nixtla(without)[["nsecast-lo-90", "nsecast-hi-90"]].isna().all(axis=None)
    assert tuple(to_nixtla([])) == COLUMNS
