"""From a question to its window: the same numbers as cutting the panel off and starting anew."""

import dataclasses
import datetime as dt
import pickle
import time

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import REBUILT_DAY, REPAIRED_DAYS, SPEC, STALE_DAY, SYMBOLS, history, made_panel

from common.archive.layouts import MARKET_INDEX
from common.errors import BadRequest, InsufficientHistory
from common.exchange.calendar import Sessions
from common.exchange.universe import Universe
from common.forecast.representation import Residual
from common.prices.market_days import UNKNOWN_MARKET, market_days
from common.prices.panel import Panel
from common.prices.series import Series, series_from_histories, series_of_universe, sessions_of
from common.prices.windows import last_window, make_windows
from serve.inference.window_builder import PriceHistory, request_window, split_batch
from serve.schemas.forecast import BatchRequest, PredictRequest

PANEL = made_panel()
UNIVERSE = Universe.from_symbols([*SYMBOLS, "ABSENT"], specific=["MOVES"])
PAST = PriceHistory(PANEL, UNIVERSE, SPEC)
DAYS = [day.date() for day in PANEL.dates]
TODAY = DAYS[-1] + dt.timedelta(3)
COLUMNS = [field.name for field in dataclasses.fields(Series) if field.name not in ("symbols", "offsets")]
KIND = Residual.fit(make_windows(series_of_universe(PANEL, UNIVERSE), SPEC))


def late_panel() -> Panel:
    """A close of MOVES and one of the index that became known three sessions later."""
    frame = PANEL.frame.copy()
    for symbol in ("MOVES", MARKET_INDEX):
        row = (frame["symbol"] == symbol) & (frame["date"] == PANEL.dates[110])
        frame.loc[row, "known"] = PANEL.dates[113]
        frame.loc[row, "flags"] = 2
        frame.loc[row, ["low", "high", "volume"]] = np.nan
    return Panel.from_frame(frame, PANEL.source)


def anew(known: Panel, market: pd.DataFrame, symbol: str):
    """The obvious way, which `ReleasedModels.forecast` takes; None if there are too few closes."""
    if symbol not in known.symbols or len(known.history(symbol)) < SPEC.size:
        return None
    history = {symbol: known.history(symbol)}
    return last_window(series_from_histories(history, market, sessions_of(known)), SPEC)


def assert_same(window, expected):
    for name in COLUMNS:
        one, other = (item.cut(getattr(item.series, name)) for item in (window, expected))
        if name in ("log_return", "action"):  # what led into a window is not part of it
            one, other = one[:, 1:], other[:, 1:]
        if name == "session":  # counted from anywhere
            one, other = one - one[:, :1], other - other[:, :1]
        assert one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name
    assert np.array_equal(KIND.inputs(window), KIND.inputs(expected))
    assert window.cutoff == expected.cutoff and window.last_price == expected.last_price


@pytest.mark.parametrize("panel", [PANEL, late_panel()], ids=["synthetic", "with a late close"])
def test_on_every_evening_every_window_is_what_was_known_then_to_the_last_digit(panel):
    past, checked = PriceHistory(panel, UNIVERSE, SPEC), 0
    evenings = [DAYS[n] for n in range(20, 150, 9)] + [DAYS[n] + dt.timedelta(1) for n in (44, 64, 119)]
    for n in (*REPAIRED_DAYS, STALE_DAY, REBUILT_DAY, 111):
        evenings += [DAYS[n - 1], DAYS[n], DAYS[n + 1]]
    for evening in [None, TODAY, *evenings]:
        known = panel.as_of(evening) if evening else panel
        market = market_days(known)
        for symbol in SYMBOLS:
            if expected := anew(known, market, symbol):
                assert_same(past.window(symbol, evening), expected)
                checked += 1
            else:
                with pytest.raises(InsufficientHistory):
                    past.window(symbol, evening)
    assert checked > 150 and past.evenings.bytes > 0


def test_evenings_on_which_an_earlier_close_was_missing_are_cut_separately():
    past = PriceHistory(late_panel(), UNIVERSE, SPEC)
    assert not past.is_slow("THIN", DAYS[109])
    assert past.is_slow("MOVES", DAYS[111]) and past.is_slow("THIN", DAYS[112])
    assert not past.is_slow("MOVES", DAYS[113])


def test_an_evening_cut_the_slow_way_is_kept():
    past = PriceHistory(PANEL, UNIVERSE, SPEC)
    evening = DAYS[REPAIRED_DAYS[0]]
    assert past.is_slow("SPLITS", evening) and not past.is_slow("MOVES", evening)
    first = past.window("SPLITS", evening)
    assert not past.is_slow("SPLITS", evening) and past.window("SPLITS", evening) is first


def test_a_window_is_cut_in_well_under_a_millisecond_and_is_small_to_send():
    PAST.window("MOVES", DAYS[120])
    times = []
    for _ in range(200):
        started = time.thread_time()  # whatever else the machine does
        PAST.window("MOVES", DAYS[120])
        times.append(time.thread_time() - started)
    assert np.median(times) < 5e-4
    assert len(pickle.dumps(PAST.window("MOVES", DAYS[120]))) < 8_000


def test_too_few_closes_are_refused_with_what_to_do():
    with pytest.raises(
        InsufficientHistory, match=r"SHORT: need 12 closes, the release has 9\. .*recent_prices"
    ):
        PAST.window("SHORT")
    with pytest.raises(
        InsufficientHistory, match=r"MOVES: need 12 closes, the release has 5 up to 2021-01-08"
    ):
        PAST.window("MOVES", DAYS[4])
    with pytest.raises(InsufficientHistory, match=r"SPLITS: .*the release has 0 up to 2020-12-31"):
        PAST.window("SPLITS", dt.date(2020, 12, 31))
    with pytest.raises(
        InsufficientHistory, match=r"ABSENT: the release has no prices of it\. Send recent_prices"
    ):
        PAST.window("ABSENT")


def test_a_day_outside_what_can_be_known_is_refused():
    PAST.check_day(TODAY, TODAY)
    PAST.check_day(DAYS[-1], DAYS[0])
    with pytest.raises(BadRequest, match="as_of: 2031-01-01 is in the future, today is"):
        PAST.check_day(dt.date(2031, 1, 1), TODAY)
    with pytest.raises(
        InsufficientHistory, match="no prices up to 2020-12-31, the release has 2021-01-04 to"
    ):
        PAST.check_day(dt.date(2020, 12, 31), TODAY)


def brought(**body):
    return request_window(PredictRequest(symbol="NEW", **body), PAST.sessions, SPEC, TODAY)


CLOSES = np.round(20 + np.cumsum(np.random.default_rng(3).normal(0, 0.3, 75)), 2).tolist()


def test_closes_become_the_window_that_the_panels_code_would_make_of_them():
    result = brought(recent_prices=CLOSES)
    rows = history(CLOSES).assign(date=PANEL.dates[-75:], known=PANEL.dates[-75:])
    expected = last_window(series_from_histories({"NEW": rows}, UNKNOWN_MARKET), SPEC)
    assert_same(result, expected)
    assert np.isnan(result.series.market).all() and np.isnan(result.series.log_volume).all()


def test_bars_include_range_volume_and_their_own_dates():
    days = pd.bdate_range("2021-03-01", periods=60)
    bars = [
        {"close": c, "high": c + 0.1, "low": c - 0.2, "volume": 100 * n, "date": f"{day:%Y-%m-%d}"}
        for n, (c, day) in enumerate(zip(CLOSES, days, strict=False))
    ]
    result = brought(recent_bars=bars)
    closes = np.array(CLOSES[:60])
    rows = history(
        closes, start="2021-03-01", high=closes + 0.1, low=closes - 0.2, volume=100.0 * np.arange(60)
    )
    expected = last_window(series_from_histories({"NEW": rows}, UNKNOWN_MARKET), SPEC)
    assert_same(result, expected)
    with pytest.raises(BadRequest, match=r"recent_bars: the last one is of 2021-05-21, after 2021-05-20"):
        brought(recent_bars=bars, as_of="2021-05-20")


def test_prices_without_dates_end_with_the_last_session_up_to_as_of():
    assert brought(recent_prices=CLOSES).cutoff[0].item() == DAYS[-1]
    assert brought(recent_prices=CLOSES, as_of=DAYS[70]).cutoff[0].item() == DAYS[70]
    saturday = next(day for day in DAYS if day.weekday() == 4) + dt.timedelta(1)
    assert brought(recent_prices=CLOSES, as_of=saturday).cutoff[0].item() == saturday - dt.timedelta(1)
    later = brought(recent_prices=CLOSES, as_of=TODAY)
    assert later.cutoff[0].item() <= TODAY and later.cutoff[0].item() > DAYS[-1]


def test_a_release_with_a_longer_window_says_how_many_prices_it_needs():
    spec = SPEC.model_copy(update={"size": 100})
    with pytest.raises(InsufficientHistory, match="NEW: got 75 prices, this release needs 100"):
        request_window(
            PredictRequest(symbol="NEW", recent_prices=CLOSES), Sessions(PAST.sessions.known), spec, TODAY
        )


def test_a_batch_becomes_one_request_a_symbol_in_its_order():
    batch = BatchRequest(symbols=["KCB", "SCOM", "KCB"], recent_prices={"KCB": CLOSES}, horizon="5d")
    result = split_batch(batch)
    assert [request.symbol for request in result] == ["KCB", "SCOM"]
    assert result[0].recent_prices == CLOSES and result[1].recent_prices is None
    assert result[0] == PredictRequest(symbol="KCB", recent_prices=CLOSES, horizon="5d")
    assert split_batch(BatchRequest(symbols=["A", "B"], recent_prices=CLOSES))[1].recent_prices == CLOSES


def test_the_day_that_a_forecast_names_is_the_session_that_it_is_scored_on():
    """GAPS lacks a fifth of the sessions, but a horizon counts all sessions."""
    windows, sessions = make_windows(series_of_universe(PANEL, UNIVERSE), SPEC), PAST.sessions
    checked = 0
    for cutoff, dates in zip(windows.cutoff, windows.target_date, strict=True):
        for horizon, date in zip(SPEC.horizons, dates, strict=True):
            assert np.isnat(date) or sessions.ahead(cutoff, horizon) == date.item()
            checked += not np.isnat(date)
    assert checked > 1000


def test_bars_with_a_gap_of_weeks_between_their_dates_have_no_return_over_it():
    days = [*pd.bdate_range("2021-01-11", periods=54), *pd.bdate_range("2021-05-31", periods=6)]
    bars = [{"close": c, "date": f"{day:%Y-%m-%d}"} for c, day in zip(CLOSES, days, strict=False)]
    result = brought(recent_bars=bars)
    assert result.series.action.nonzero()[0].tolist() == [6] and result.series.log_return[6] == 0
