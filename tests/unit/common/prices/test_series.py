"""Series: columns of a stock and of the market, against obvious loops."""

import math
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import SYMBOLS, history, made_panel

from common.archive.flags import Flag
from common.archive.layouts import MARKET_INDEX
from common.prices.market_days import UNKNOWN_MARKET, market_days
from common.prices.series import series_from_histories, series_from_panel, series_from_prices


def test_prices_that_someone_sends_are_the_series_that_their_history_is():
    closes = np.array([10.0, 10.5, 5.0, 5.1])
    columns = {"high": closes * 1.02, "low": closes * 0.97, "volume": np.array([0, 1, np.nan, 900.0])}
    rows = history(closes, **columns)
    dates = rows["date"].to_numpy().astype("datetime64[D]")
    series = series_from_prices("A", dates, closes, **columns)
    expected = series_from_histories({"A": rows}, UNKNOWN_MARKET)
    assert series.symbols == expected.symbols and series.rows("A") == expected.rows("A") == slice(0, 4)
    for name in (field.name for field in fields(series) if field.name != "symbols"):
        np.testing.assert_array_equal(getattr(series, name), getattr(expected, name), err_msg=name)


def test_no_symbols_are_a_series_without_a_row():
    series = series_from_panel(made_panel(), ())
    assert series.symbols == () and series.offsets.tolist() == [0]
    assert len(series.dates) == len(series.close) == len(series.market) == len(series.known) == 0


def test_the_columns_of_a_series_equal_the_obvious_loop():
    panel = made_panel()
    series = series_from_panel(panel, SYMBOLS)
    for symbol in SYMBOLS:
        rows, owned = panel.history(symbol), series.rows(symbol)
        previous = None
        for row, number in zip(rows.itertuples(), range(owned.start, owned.stop), strict=True):
            ratio = 1.0 if previous is None else row.close / previous
            action = not 0.65 < ratio < 1.8
            assert series.action[number] == action
            assert series.log_return[number] == np.float32(0 if action else math.log(ratio)) or math.isclose(
                series.log_return[number], math.log(ratio), rel_tol=1e-4
            )
            stale = bool(row.flags & int(Flag.STALE))
            assert series.true[number] == (not stale)
            assert series.known[number] == (not stale and row.known == row.date)
            np.testing.assert_allclose(series.log_high[number], math.log(row.high / row.close), atol=1e-6)
            np.testing.assert_allclose(series.log_low[number], math.log(row.low / row.close), atol=1e-6)
            np.testing.assert_allclose(series.log_volume[number], math.log1p(row.volume), rtol=1e-6)
            previous = row.close


def test_the_market_return_of_a_date_is_that_of_the_index_and_unknown_where_the_index_is():
    index = history([100.0, 110.0, 110.0, 99.0, 99.0, 198.0])
    index.loc[2, "flags"] = int(Flag.STALE)
    stock = history([10.0, 10.0, 10.0])
    stock["date"] = index["date"].to_numpy()[[0, 1, 5]]
    frames = [index.assign(symbol=MARKET_INDEX), stock.assign(symbol="A", known=stock["date"])]
    panel = type(made_panel()).from_frame(pd.concat(frames), "synthetic")
    returns = market_days(panel)["market"].dropna()
    dates = list(index["date"])
    assert list(returns.index) == [dates[1], dates[4], dates[5]]
    np.testing.assert_allclose(returns, [math.log(1.1), 0, math.log(2)], atol=1e-12)
    market = series_from_panel(panel, ("A",)).market
    np.testing.assert_allclose(market, [math.nan, math.log(1.1), math.log(2)], rtol=1e-6)


def test_breadth_and_activity_of_a_date_are_those_of_the_stocks_known_that_evening():
    panel = made_panel()
    days = market_days(panel)
    for date, rows in panel.frame[~panel.frame["symbol"].str.startswith("^")].groupby("date"):
        steps = []
        for row in rows.itertuples():
            history = panel.history(row.symbol)
            before = history[history["date"] < date]["close"]
            known = row.known == date and not row.flags & (int(Flag.STALE) | int(Flag.ACTION))
            if known and len(before):
                steps.append(math.log(row.close / before.iloc[-1]))
        if steps:
            breadth = np.mean([min(max(step, -0.1), 0.1) for step in steps])
            assert days.loc[date, "breadth"] == pytest.approx(breadth, abs=1e-12)
            assert days.loc[date, "active"] == pytest.approx(np.mean([step != 0 for step in steps]))
        else:
            assert date not in days.index or np.isnan(days.loc[date, "breadth"])


def test_a_step_beyond_the_exchange_s_daily_band_counts_for_the_band_in_the_market_s_breadth():
    series = {"A": history([10.0, 13.0]), "B": history([10.0, 8.0]), "C": history([10.0, 10.4])}
    frames = [rows.assign(symbol=symbol) for symbol, rows in series.items()]
    panel = type(made_panel()).from_frame(pd.concat(frames), "synthetic")
    [breadth] = market_days(panel)["breadth"].dropna()
    assert breadth == pytest.approx((0.1 - 0.1 + math.log(1.04)) / 3)
    [breadth] = market_days(type(panel).from_frame(panel.frame[panel.frame["symbol"] != "B"], "synthetic"))[
        "breadth"
    ]
    assert breadth == pytest.approx((0.1 + math.log(1.04)) / 2)


@pytest.mark.parametrize("day", [39, 40, 41, 60, 61, 75, 76, 118, 119, 149])
def test_the_market_columns_up_to_a_day_do_not_depend_on_later_days(day):
    panel = made_panel()
    date = panel.dates[day]
    then, now = market_days(panel.as_of(date)), market_days(panel)
    late = panel.frame.loc[panel.frame["known"] > date, "date"]
    now = now[(now.index <= date) & ~now.index.isin(late)]
    then = then[~then.index.isin(late)]
    pd.testing.assert_frame_equal(then, now, check_exact=True, check_freq=False)


def test_without_an_index_every_market_return_is_unknown():
    frame = made_panel().frame
    panel = type(made_panel()).from_frame(frame[frame["symbol"] != MARKET_INDEX], "synthetic")
    assert np.isnan(series_from_panel(panel, SYMBOLS).market).all()
