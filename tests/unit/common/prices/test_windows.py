"""Windows and the chronological split, against the obvious loop."""

import math
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.panel import SPEC, SYMBOLS, history, made_panel

from common.archive.flags import Flag
from common.errors import ConfigError, InsufficientHistory
from common.presets import SplitSpec, WindowSpec
from common.prices.panel import Panel
from common.prices.series import (
    MARKET_INDEX,
    UNKNOWN_MARKET,
    market_days,
    series_from_histories,
    series_from_panel,
    series_from_prices,
)
from common.prices.windows import Boundaries, boundaries, id_column, last_window, make_windows

SMALL = WindowSpec(size=10, horizons=(1, 4))
PANEL = made_panel()
DATES = PANEL.dates.to_numpy().astype("datetime64[D]")
WINDOWS = make_windows(series_from_panel(PANEL, SYMBOLS), SPEC)


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


def sessions(count: int) -> np.ndarray:
    return pd.bdate_range("2020-01-01", periods=count).to_numpy().astype("datetime64[D]")


@settings(max_examples=200, deadline=None)
@given(st.integers(30, 400), st.integers(50, 85), st.integers(5, 14))
@example(100, 57, 10)
@example(100, 70, 10)
def test_the_parts_hold_their_share_of_the_sessions(count, train_percent, valid_percent):
    dates = sessions(count)
    result = boundaries(dates, SplitSpec(train_share=train_percent / 100, valid_share=valid_percent / 100))
    train = int((dates <= result.train_end).sum())
    before_test = int((dates <= result.valid_end).sum())
    assert train == math.floor(Fraction(train_percent, 100) * count)
    assert before_test == math.floor(Fraction(train_percent + valid_percent, 100) * count)
    assert result.test_end == dates[-1]


def test_explicit_dates_win_over_shares_and_need_not_be_sessions():
    dates = sessions(100)
    spec = SplitSpec(train_share=0.5, train_end="2020-03-01", valid_end="2020-04-05")
    result = boundaries(dates, spec)
    assert (str(result.train_end), str(result.valid_end)) == ("2020-03-01", "2020-04-05")
    assert result.test_end == dates[-1]


@pytest.mark.parametrize(
    "ends",
    [("2019-01-01", "2020-02-03"), ("2020-02-03", "2024-01-01"), ("2018-01-01", "2018-02-01")],
)
def test_explicit_dates_that_leave_a_part_empty_are_refused(ends):
    with pytest.raises(ConfigError, match="must lie in order inside the data"):
        boundaries(sessions(100), SplitSpec(train_end=ends[0], valid_end=ends[1]))


def test_the_last_session_as_valid_end_leaves_no_test_part_and_is_refused():
    dates = sessions(100)
    data = f"inside the data, {dates[0]} to {dates[-1]}, and leave a test part"
    with pytest.raises(ConfigError, match=data):
        boundaries(dates, SplitSpec(train_end="2020-02-03", valid_end=str(dates[-1])))


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("spec", [SplitSpec(), SplitSpec(train_end="2020-01-01", valid_end="2020-01-02")])
def test_too_few_sessions_for_a_split_are_refused(count, spec):
    with pytest.raises(ConfigError, match=f"need at least 3 sessions, got {count}"):
        boundaries(sessions(count), spec)


def test_the_shortest_split_has_one_session_in_each_part():
    dates = sessions(3)
    result = boundaries(dates, SplitSpec(train_share=0.1, valid_share=0.1))
    assert (result.train_end, result.valid_end, result.test_end) == tuple(dates)


def test_a_share_that_leaves_no_session_for_validation_is_refused():
    with pytest.raises(ConfigError, match="must lie in order inside the data"):
        boundaries(sessions(3), SplitSpec(train_share=0.8, valid_share=0.1))


def test_the_first_session_alone_may_be_the_training_part_and_the_one_before_the_last_end_validation():
    dates = sessions(10)
    result = boundaries(dates, SplitSpec(train_end=str(dates[0]), valid_end=str(dates[-2])))
    assert (result.train_end, result.valid_end, result.test_end) == (dates[0], dates[-2], dates[-1])
    day_before = str(dates[0] - 1)
    with pytest.raises(ConfigError, match="must lie in order inside the data"):
        boundaries(dates, SplitSpec(train_end=day_before, valid_end=str(dates[-2])))


def test_each_window_carries_its_symbol_s_id_and_0_where_there_is_none():
    series = {"A": history([1.0] * 11), "B": history([2.0] * 12), "C": history([3.0] * 10)}
    windows = make_windows(series_from_histories(series, UNKNOWN_MARKET), SMALL)
    result = id_column(windows, {"C": 7, "A": 2, "Z": 1})
    assert result.tolist() == [[2]] * 2 + [[0]] * 3 + [[7]] and result.dtype == np.int32


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 100), st.integers(1, 40))
def test_a_target_belongs_to_one_part_and_no_target_spans_two(train_day, more):
    days, windows = DATES, WINDOWS
    limits = Boundaries(days[train_day], days[train_day + more], days[-1])
    change, cutoffs, targets = windows.change, windows.cutoff, windows.target_date
    parts = limits.parts(windows)
    owned = [
        {
            (int(part.end[row]), column)
            for row, column in zip(*np.nonzero(np.isfinite(part.change)), strict=True)
        }
        for part in parts
    ]
    expected: list[set] = [set(), set(), set()]
    for row in range(len(windows)):
        for column in range(len(SPEC.horizons)):
            if math.isnan(change[row, column]):
                continue
            cutoff, target = cutoffs[row], targets[row, column]
            if target <= limits.train_end:
                expected[0].add((int(windows.end[row]), column))
            elif cutoff >= limits.train_end and target <= limits.valid_end:
                expected[1].add((int(windows.end[row]), column))
            elif cutoff >= limits.valid_end:
                expected[2].add((int(windows.end[row]), column))
    assert owned == expected
    for part in parts:
        assert np.isfinite(part.change).any(axis=1).all()


def test_every_change_of_a_part_is_that_of_the_same_window_before_the_split():
    expected = {int(end): change for end, change in zip(WINDOWS.end, WINDOWS.change, strict=True)}
    days = np.unique(WINDOWS.cutoff)
    for part in Boundaries(days[60], days[90], days[-1]).parts(WINDOWS):
        for end, change in zip(part.end, part.change, strict=True):
            seen = np.isfinite(change)
            assert (change[seen] == expected[int(end)][seen]).all()
