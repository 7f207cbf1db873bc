"""Past evenings: cut in pieces, equal to the full panel's, and cached within a limit."""

import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import SPEC, SYMBOLS, made_panel

from common.exchange.universe import Universe
from common.presets import WindowSpec
from common.prices.market_days import market_days
from common.prices.panel import Panel
from common.prices.series import sessions_of
from serve.inference import evenings as module
from serve.inference.evenings import HistoricalWindows
from serve.inference.window_builder import PriceHistory

PANEL = made_panel()
EVENINGS = PANEL.dates.to_numpy().astype("datetime64[D]")
WIDE, SESSIONS, MISSING = 200, 80, 70


def wide_panel(symbols: int = WIDE) -> Panel:
    """Many symbols, whose closes of one session became known two sessions later."""
    dates = pd.bdate_range("2024-01-01", periods=SESSIONS)
    known = dates.to_numpy().copy()
    known[MISSING] = dates[MISSING + 2]
    close = np.random.default_rng(1).normal(0, 0.01, (symbols, SESSIONS)).cumsum(axis=1)
    return Panel.from_frame(
        pd.DataFrame(
            {
                "symbol": np.repeat([f"S{number:04d}" for number in range(symbols)], SESSIONS),
                "date": np.tile(dates, symbols),
                "close": 10 * np.exp(close).ravel(),
                "low": np.nan,
                "high": np.nan,
                "volume": np.nan,
                "flags": 0,
                "known": np.tile(known, symbols),
            }
        ),
        "synthetic wide",
    )


@pytest.fixture(scope="module")
def wide() -> Panel:
    return wide_panel()


@pytest.fixture
def as_of_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of `Panel.as_of` worked on."""
    rows: list[int] = []
    as_of = Panel.as_of

    def counted(self: Panel, cutoff: object) -> Panel:
        rows.append(len(self.frame))
        return as_of(self, cutoff)

    monkeypatch.setattr(Panel, "as_of", counted)
    return rows


def past_of(panel: Panel) -> PriceHistory:
    universe = Universe.from_symbols([symbol for symbol in panel.symbols if not symbol.startswith("^")])
    return PriceHistory(panel, universe, SPEC)


def test_the_market_of_every_evening_is_that_of_the_panel_cut_off_there_to_the_last_digit():
    past = HistoricalWindows(PANEL, SPEC, market_days(PANEL))
    for evening in EVENINGS[5:]:
        expected = market_days(PANEL.as_of(evening.item()))
        market, sessions = past._market_of(evening)
        market = market.reindex(expected.index)
        np.testing.assert_array_equal(sessions, sessions_of(PANEL.as_of(evening.item())))
        pd.testing.assert_frame_equal(market, expected, check_exact=True, check_freq=False)


def test_one_window_of_a_large_market_works_on_a_small_part_of_its_rows(wide, as_of_rows):
    past, evening = past_of(wide), wide.dates[MISSING + 1].date()
    assert past.is_slow("S0000", evening)
    past.window("S0000", evening)
    assert 0 < sum(as_of_rows) < 0.3 * len(wide.frame)
    assert not past.is_slow("S0001", evening) and past.is_slow(f"S{WIDE - 1:04d}", evening)
    for symbol in wide.symbols:
        past.window(symbol, evening)
    assert max(as_of_rows) <= max(module.TOGETHER * SESSIONS, 3 * WIDE)


def test_the_windows_that_are_kept_stay_within_their_bytes():
    wide = wide_panel(60)
    most = 20 * 4_000
    past = HistoricalWindows(wide, SPEC, market_days(wide), max_bytes=most)
    for evening in evenings_of(wide):
        for symbol in wide.symbols:
            assert past.window(evening, symbol) is not None
            assert 0 < past.bytes <= most
    assert (evening, symbol) in past and (evening, wide.symbols[0]) not in past


def evenings_of(panel: Panel) -> np.ndarray:
    return panel.dates.to_numpy()[MISSING : MISSING + 2].astype("datetime64[D]")


def test_the_bytes_that_are_counted_are_about_those_that_are_taken():
    wide = wide_panel(60)
    past = HistoricalWindows(wide, WindowSpec(size=60, horizons=(1, 5)), market_days(wide))
    evenings = evenings_of(wide)
    for evening in evenings:
        past._market_of(evening)
    tracemalloc.start()
    for evening in evenings:
        for symbol in wide.symbols:
            past.window(evening, symbol)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 * taken < past.bytes < 1.5 * taken


def test_threads_that_ask_at_once_get_the_same_windows(wide):
    past, (evening, _) = HistoricalWindows(wide, SPEC, market_days(wide)), evenings_of(wide)
    results: list[dict[str, object]] = []

    def ask() -> None:
        results.append({symbol: past.window(evening, symbol) for symbol in wide.symbols[::7]})

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for other in results[1:]:
        for symbol, window in results[0].items():
            assert np.array_equal(other[symbol].series.close, window.series.close)


def test_a_symbol_with_too_few_closes_that_evening_has_no_window():
    past = HistoricalWindows(PANEL, SPEC, market_days(PANEL))
    assert past.window(EVENINGS[2], SYMBOLS[0]) is None
    assert (EVENINGS[2], SYMBOLS[0]) in past
