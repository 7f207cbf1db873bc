"""The pages to read, against the files of the release."""

import json

import pandas as pd
import pytest
from support.prices.panel import SYMBOLS
from support.releases.loaded_release import loaded_release

from common.errors import BadRequest, UnknownSymbol
from serve.inference.model_cache import model_key
from serve.views import models as pages

LOADED = loaded_release()


def test_every_stock_is_listed_with_the_model_that_answers():
    available = pages.available(LOADED, include_sectors=True)
    assert [model.symbol for model in available.models] == sorted(SYMBOLS)
    assert (available.total, available.stock_specific, available.general, available.synthetic) == (
        6,
        1,
        5,
        True,
    )
    assert {model.symbol: model.model_version for model in available.models}["MOVES"] == "residual_specific"
    assert available.sectors == {"Unknown": sorted(SYMBOLS)} and pages.available(LOADED).sectors is None
    assert available.horizons == ["1d", "5d", "10d", "30d"]


def test_a_model_known_to_be_bad_is_listed_as_what_answers_instead():
    bad = frozenset({model_key("MOVES", LOADED.release.id)})
    assert pages.available(LOADED, bad=bad).stock_specific == 0
    assert pages.stock_model(LOADED, "MOVES", bad=bad).model_version == "residual_general"


def test_one_model_is_shown_with_its_last_price_and_its_evidence():
    card, rows = pages.stock_model(LOADED, "MOVES"), LOADED.panel.history("MOVES")
    assert (card.last_price, card.sessions) == (rows["close"].iloc[-1], len(rows))
    assert (
        card.performance == LOADED.matrix["MOVES"]
        and card.performance.horizons.keys() == LOADED.positions.keys()
    )
    with pytest.raises(UnknownSymbol):
        pages.stock_model(LOADED, "NEWCO")


def test_the_matrix_is_the_releases_file_to_the_last_digit():
    page = pages.matrix_page(LOADED)
    table = pd.read_csv(LOADED.release.file("performance_matrix.csv"))
    assert [row.symbol for row in page.rows] == table["symbol"].tolist()
    for row, expected in zip(page.rows, table.to_dict("records"), strict=True):
        for horizon, measured in row.horizons.items():
            for name in ("mae", "naive_mae", "mape", "naive_mape", "rel_mae", "rel_rmse", "cover90"):
                value = expected[f"{name}_{horizon}"]
                assert getattr(measured, name) == (None if pd.isna(value) else value)
            assert measured.n == (0 if pd.isna(expected[f"n_{horizon}"]) else expected[f"n_{horizon}"])
    json.loads(page.model_dump_json(), parse_constant=lambda name: pytest.fail(name))


def test_history_has_the_newest_prices_and_their_forecasts():
    page = pages.history_page(LOADED, "MOVES", horizon="5d", days=40)
    rows = LOADED.panel.history("MOVES").tail(40)
    assert [day.close for day in page.prices] == rows["close"].tolist()
    assert [day.date for day in page.prices] == [day.date() for day in rows["date"]]
    table = pd.read_parquet(LOADED.release.file("test_forecasts.parquet"))
    table = table[(table["symbol"] == "MOVES") & (table["horizon"] == 5)].sort_values("cutoff")
    table = table[table["target_date"] >= rows["date"].iloc[0]]
    assert len(table) > 10
    assert [forecast.published for forecast in page.forecasts] == table["published"].tolist()
    assert [forecast.upper for forecast in page.forecasts] == table["hi90"].tolist()


def test_history_names_what_is_wrong_with_a_row():
    days = {day.date: day for day in pages.history_page(LOADED, "SPLITS", days=5_000).prices}
    dates = [day.date() for day in LOADED.panel.dates]
    assert days[dates[60]].flags == ["STALE"] and days[dates[60]].volume is None
    assert "REPAIRED" in days[dates[40]].flags and "ACTION" in days[dates[50]].flags


def test_history_of_a_horizon_or_stock_that_is_not_there_is_refused():
    with pytest.raises(BadRequest, match="horizon: got 5d"):
        pages.history_page(loaded_release("v4_log"), "MOVES", horizon="5d")
    with pytest.raises(UnknownSymbol):
        pages.history_page(LOADED, "NEWCO")
