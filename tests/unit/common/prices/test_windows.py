"""Windows and the chronological split, against the obvious loop."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.prices.panel import history

from common.archive.flags import Flag
from common.errors import InsufficientHistory
from common.presets import WindowSpec
from common.prices.market_days import UNKNOWN_MARKET
from common.prices.panel import Panel
from common.prices.series import series_from_histories, series_from_panel, series_from_prices
from common.prices.windows import Boundaries, id_column, last_window, make_windows

SMALL = WindowSpec(size=10, horizons=(1, 4))


@st.composite
def histories(draw):
    """Up to three symbols with splits, stale rows and rows that became known later."""
    series = {}
    for name in "ABC"[: draw(st.integers(1, 3))]:
        length = draw(st.integers(1, 30))
        steps = draw(st.lists(st.sampled_from([1.0, 1.01, 0.98, 0.5, 2.0]), min_size=length, max_size=length))
        flags = draw(
            st.lists(st.sampled_from([0, 0, 0, 0, int(Flag.STALE)]), min_size=length, max_size=length)
        )
        late = draw(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=length, max_size=length))
        rows = history(20 * np.cumprod(steps), flags=flags)
        rows["known"] = rows["date"] + pd.to_timedelta(late, unit="D")
        series[name] = rows
    return series


def obvious_windows(series, spec):
    """(symbol, cutoff date, closes, change by horizon), one window after the other."""
    results = []
    for symbol, rows in series.items():
        close, date = list(rows["close"]), list(rows["date"])
        stale = [bool(flag & int(Flag.STALE)) for flag in rows["flags"]]
        for end in range(len(rows)):
            if end < spec.size - 1 or stale[end] or rows["known"][end] > date[end]:
                continue
            changes = []
            for horizon in spec.horizons:
                target = end + horizon
                change = math.nan
                if target < len(rows) and not stale[target]:
                    ratios = [close[day] / close[day - 1] for day in range(end + 1, target + 1)]
                    if all(0.65 < ratio < 1.8 for ratio in ratios):
                        change = math.log(close[target]) - math.log(close[end])
                changes.append(change)
            results.append((symbol, date[end], close[end - spec.size + 1 : end + 1], changes))
    return results


@settings(max_examples=150, deadline=None)
@given(histories())
def test_windows_equal_the_obvious_loop(stocks):
    series = series_from_histories(stocks, UNKNOWN_MARKET)
    windows = make_windows(series, SMALL)
    expected = obvious_windows(stocks, SMALL)
    assert len(windows) == len(expected)
    assert [series.symbols[position] for position in windows.symbol] == [symbol for symbol, *_ in expected]
    closes, cutoffs, last = windows.cut(series.close), windows.cutoff, windows.last_price
    for row, (_, cutoff, path, _) in enumerate(expected):
        assert cutoffs[row] == np.datetime64(cutoff, "D")
        assert list(closes[row]) == path and last[row] == path[-1]
    changes = np.array([changes for *_, changes in expected]).reshape(-1, 2)
    np.testing.assert_allclose(windows.change, changes, atol=1e-12)
    np.testing.assert_allclose(windows.actual, last[:, None] * np.exp(changes), rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(histories())
def test_a_target_row_and_date_lie_the_horizon_ahead_in_the_same_symbol(stocks):
    series = series_from_histories(stocks, UNKNOWN_MARKET)
    windows = make_windows(series, SMALL)
    for row in range(len(windows)):
        rows = stocks[series.symbols[windows.symbol[row]]]
        end = windows.end[row] - series.offsets[windows.symbol[row]]
        for column, horizon in enumerate(SMALL.horizons):
            if end + horizon < len(rows):
                date = np.datetime64(rows["date"][end + horizon], "D")
                assert windows.target_date[row, column] == date
                assert series.dates[windows.target[row, column]] == date
            else:
                assert windows.target[row, column] == -1
                assert np.isnat(windows.target_date[row, column])


def test_windows_with_a_split_inside_the_input_are_kept_and_targets_across_it_are_not():
    closes = [10.0] * 15 + [5.0] * 15
    windows = make_windows(series_from_histories({"A": history(closes)}, UNKNOWN_MARKET), SMALL)
    assert len(windows) == 21
    assert windows.end[np.isnan(windows.change[:, 1])].tolist() == [11, 12, 13, 14, 26, 27, 28, 29]


def test_no_window_straddles_two_symbols():
    stocks = {"A": history([1.0] * 14), "B": history([2.0] * 9), "C": history([3.0] * 12)}
    series = series_from_histories(stocks, UNKNOWN_MARKET)
    windows = make_windows(series, SMALL)
    assert [series.symbols[position] for position in windows.symbol] == ["A"] * 5 + ["C"] * 3
    assert (windows.cut(series.close) == windows.last_price[:, None]).all()


def with_gap(missing: int) -> Panel:
    """Two stocks over 60 sessions; A lacks so many of them from the 30th on."""
    sessions = history(np.linspace(10, 20, 60))
    own = sessions.drop(index=range(30, 30 + missing)).assign(symbol="A")
    return Panel.from_frame(pd.concat([own, sessions.assign(symbol="B")]), "made")


@pytest.mark.parametrize("missing", [0, 1, 3, 5, 6, 20])
def test_a_target_is_the_close_a_horizon_of_market_sessions_ahead_even_if_the_symbol_has_gaps(missing):
    panel = with_gap(missing)
    windows = make_windows(series_from_panel(panel, ("A", "B")), SMALL)
    dates, closes = list(panel.dates), panel.frame.set_index(["symbol", "date"])["close"]
    for row, (cutoff, number) in enumerate(zip(windows.cutoff, windows.symbol, strict=True)):
        place = dates.index(pd.Timestamp(cutoff))
        for column, horizon in enumerate(SMALL.horizons):
            key = ("AB"[number], dates[place + horizon]) if place + horizon < 60 else None
            across = number == 0 and place < 30 <= place + horizon and missing > 5
            date = windows.target_date[row, column]
            if key in closes.index:
                assert date == key[1] and windows.target[row, column] == list(closes.index).index(key)
            else:
                assert np.isnat(date) and windows.target[row, column] == -1
            expected = closes[key] if key in closes.index and not across else np.nan
            np.testing.assert_equal(windows.actual[row, column], expected)


def test_the_step_over_a_long_gap_is_no_return_and_no_target_lies_beyond_it():
    for missing, steps in ((5, []), (6, [30])):
        series = series_from_panel(with_gap(missing), ("A",))
        assert series.action.nonzero()[0].tolist() == steps
        assert (series.log_return[30] == 0) == bool(steps)
    windows = make_windows(series_from_panel(with_gap(20), ("A",)), WindowSpec(size=10, horizons=(25,)))
    assert (windows.target[11:20, 0] >= 30).any() and not windows.counted[windows.end < 30].any()


def test_the_parts_of_a_split_follow_the_dates_of_the_targets_over_a_gap():
    windows = make_windows(series_from_panel(with_gap(3), ("A",)), SMALL)
    dates = with_gap(3).dates.to_numpy().astype("datetime64[D]")
    parts = Boundaries(dates[34], dates[45], dates[-1]).parts(windows)
    for part, low, high in zip(parts, (dates[0], dates[35], dates[46]), dates[[34, 45, 59]], strict=True):
        targets = part.target_date[part.counted]
        assert len(targets) and low <= targets.min() and targets.max() <= high


def test_prices_that_someone_sends_with_a_gap_in_their_dates_have_no_return_over_it():
    rows = history(np.linspace(10, 12, 10))
    dates = rows["date"].to_numpy().astype("datetime64[D]")
    unknown = np.full(10, np.nan)
    session = np.r_[np.arange(5), np.arange(5) + 40]
    series = series_from_prices("A", dates, rows["close"].to_numpy(), unknown, unknown, unknown, session)
    assert series.action.nonzero()[0].tolist() == [5] and series.log_return[5] == 0


def test_a_window_with_four_horizons_takes_twelve_bytes():
    spec = WindowSpec(size=10, horizons=(1, 2, 3, 4))
    windows = make_windows(series_from_histories({"A": history([1.0] * 109)}, UNKNOWN_MARKET), spec)
    assert len(windows) == 100
    assert windows.end.nbytes + windows.symbol.nbytes + windows.counted.nbytes == 100 * 12


def test_histories_that_are_all_too_short_give_no_window():
    windows = make_windows(series_from_histories({"A": history([1.0] * 9)}, UNKNOWN_MARKET), SMALL)
    assert len(windows) == 0 and windows.change.shape == (0, 2) and windows.target_date.shape == (0, 2)


def test_a_window_of_just_the_needed_length_is_there():
    assert len(make_windows(series_from_histories({"A": history([1.0] * 10)}, UNKNOWN_MARKET), SMALL)) == 1


def test_the_last_window_has_the_newest_rows_of_each_symbol_regardless_of_flags():
    rows = history(np.arange(1.0, 16.0))
    rows.loc[14, "flags"] = int(Flag.STALE)
    stocks = {"A": rows, "B": history(np.arange(100.0, 110.0))}
    series = series_from_histories(stocks, UNKNOWN_MARKET)
    windows = last_window(series, SMALL)
    assert windows.cut(series.close).tolist() == [list(np.arange(6.0, 16.0)), list(np.arange(100.0, 110.0))]
    assert list(windows.symbol) == [0, 1]
    assert np.isnan(windows.change).all() and np.isnat(windows.target_date).all()


def test_the_last_window_of_too_short_a_history_names_the_symbol_and_both_numbers():
    series = {"A": history([1.0] * 10), "B": history([1.0] * 9)}
    with pytest.raises(InsufficientHistory, match=r"B: need 10 closes, got 9") as caught:
        last_window(series_from_histories(series, UNKNOWN_MARKET), SMALL)
    assert caught.value.context == {"symbol": "B", "need": 10, "got": 9}


def test_each_window_carries_its_symbol_s_id_and_0_where_there_is_none():
    series = {"A": history([1.0] * 11), "B": history([2.0] * 12), "C": history([3.0] * 10)}
    windows = make_windows(series_from_histories(series, UNKNOWN_MARKET), SMALL)
    result = id_column(windows, {"C": 7, "A": 2, "Z": 1})
    assert result.tolist() == [[2]] * 2 + [[0]] * 3 + [[7]] and result.dtype == np.int32
