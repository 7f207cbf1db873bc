"""Forecasts in a notebook are the server's, as data frames."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import SYMBOLS
from support.releases.loaded_release import SETTINGS, TODAY, loaded_release, predict
from support.releases.release import made_release

from common.errors import BadRequest, BundleError, InsufficientHistory, ReleaseNotFound, UnknownSymbol
from serve.forecaster import Forecaster

ROOT = Path(__file__).resolve().parents[4]


def test_a_row_is_the_servers_answer_to_the_last_digit(forecaster):
    frame = forecaster.predict(["MOVES", "thin"], ["1d", "30d"], as_of="2022-01-10")
    assert list(zip(frame["symbol"], frame["horizon"], strict=True)) == [
        ("MOVES", "1d"),
        ("MOVES", "30d"),
        ("THIN", "1d"),
        ("THIN", "30d"),
    ]
    for row in frame.to_dict("records"):
        expected = predict(loaded_release(), symbol=row["symbol"], horizon=row["horizon"], as_of="2022-01-10")
        for name in ("prediction", "mean_prediction", "last_price", "change_percent", "confidence", "mape"):
            assert row[name] == getattr(expected, name)
        assert (row["lower90"], row["upper90"]) == (
            expected.confidence_interval.lower,
            expected.confidence_interval.upper,
        )
        assert row["target_date"] == pd.Timestamp(expected.target_date)
        assert row["warnings"].split(", ") == [caveat.code for caveat in expected.warnings]


def test_the_typed_answer_is_there_too_with_what_failed(forecaster):
    result = forecaster.answer(["MOVES", "NEWCO"], "5d")
    assert result.predictions[0].symbol == "MOVES" and result.summary.errors[0].status == 404


def test_all_stocks_at_all_horizons_are_forecast_and_missing_ones_have_a_reason(forecaster):
    frame = forecaster.predict()
    assert set(frame["symbol"]) == set(SYMBOLS) - {"SHORT"} and len(frame) == 5 * 4
    assert frame.attrs["synthetic"] is True and "need 12 closes" in frame.attrs["failed"]["SHORT"]
    assert "SYNTHETIC DATA" in repr(forecaster)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("NEWCO",), UnknownSymbol),
        (("SHORT", "5d"), InsufficientHistory),
        (("MOVES", "7d"), BadRequest),
        ((["MOVES", "../etc"],), BadRequest),
    ],
)
def test_a_named_symbol_without_a_forecast_is_an_error(forecaster, arguments, error):
    with pytest.raises(error):
        forecaster.predict(*arguments)


def test_history_is_the_panels(forecaster):
    frame, rows = forecaster.history("moves", days=30), forecaster.loaded.panel.history("MOVES").tail(30)
    for name in ("close", "low", "high", "volume"):
        np.testing.assert_array_equal(frame[name], rows[name])
    assert frame.index.tolist() == rows["date"].tolist()
    flags = forecaster.history("SPLITS", days=5_000)["flags"]
    assert "ACTION" in flags[forecaster.loaded.panel.dates[50]]


def test_the_backtest_is_the_releases_file_and_the_matrix_agrees_with_it(forecaster):
    table = forecaster.backtest_table()
    assert table.equals(pd.read_parquet(forecaster.loaded.release.file("test_forecasts.parquet")))
    matrix = forecaster.matrix().set_index(["symbol", "horizon"])
    rows = table[(table["symbol"] == "MOVES") & (table["horizon"] == 1)].dropna(subset=["actual"])
    rows = rows[~rows["frozen"]] if "frozen" in rows else rows
    mae = (rows["published"] - rows["actual"]).abs().mean()
    assert matrix.loc[("MOVES", "1d"), "mae"] == pytest.approx(mae)


def test_no_release_and_a_damaged_one_say_so(tmp_path):
    with pytest.raises(ReleaseNotFound):
        Forecaster.from_release(home=tmp_path)
    release = made_release(tmp_path, **SETTINGS)
    release.file("universe.json").write_text(json.dumps({}))
    with pytest.raises(BundleError):
        Forecaster.from_release("made", tmp_path)


def test_a_notebook_needs_neither_ray_nor_tensorflow():
    code = "import sys, serve.forecaster; print(*{'ray', 'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


def test_own_prices_are_forecast_as_the_server_does(forecaster):
    closes = [20.0, 20.5, 20.2, 20.4, 20.1, 20.3] * 10
    body = {"symbol": "NEWCO", "horizon": "5d", "recent_prices": closes, "allow_unknown": True}
    expected = predict(loaded_release(), **body)
    answer = forecaster.one("newco", "5d", recent_prices=pd.Series(closes), allow_unknown=True, today=TODAY)
    assert answer.prediction == expected.prediction and answer.intervals == expected.intervals
    with pytest.raises(UnknownSymbol):
        forecaster.one("NEWCO", "5d", recent_prices=closes)
    with pytest.raises(BadRequest):
        forecaster.one("NEWCO", "5d", recent_prices=closes[:10], allow_unknown=True)
