"""How old the prices are: sessions, holidays, stocks that stopped."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import SPEC, SYMBOLS, made_panel

from cluster.monitor.freshness import freshness
from common.exchange.clock import ExchangeClock
from common.exchange.universe import Universe
from common.prices.panel import Panel

UNIVERSE = Universe.from_symbols(SYMBOLS)
FLAGS = {"FROZEN": "frozen", "SHORT": "too short, frozen"}


@pytest.fixture(scope="module")
def panel():
    return made_panel()  # to Friday 2021-07-30


def seen(panel, now, flags=FLAGS, universe=UNIVERSE):
    matrix = pd.DataFrame({"symbol": SYMBOLS, "flags": [flags.get(symbol) for symbol in SYMBOLS]})
    return freshness(panel, universe, SPEC, matrix, now)


def nairobi(text):
    return dt.datetime.fromisoformat(f"{text}+03:00")


@pytest.mark.parametrize(
    ("now", "old"),
    [
        ("2021-07-30T18:00", 0),
        ("2021-08-01T18:00", 0),  # Sunday
        ("2021-08-02T10:00", 0),  # Monday before the close
        ("2021-08-02T18:00", 1),
        ("2021-08-06T18:00", 5),
    ],
)
def test_only_sessions_make_prices_old(panel, now, old):
    assert seen(panel, nairobi(now)).sessions_old == old


def test_the_closing_time_is_that_of_the_universes_exchange(panel):
    elsewhere = replace(UNIVERSE, clock=ExchangeClock("America/New_York", dt.time(16)))
    evening = nairobi("2021-08-02T22:59")  # 15:59 in New York
    assert seen(panel, evening, universe=elsewhere).sessions_old == 0
    assert seen(panel, evening + dt.timedelta(minutes=1), universe=elsewhere).sessions_old == 1


def test_a_public_holiday_makes_nothing_old(panel):
    """Mashujaa Day, 2021-10-20."""
    before, after = (seen(panel, nairobi(f"2021-10-{day}T18:00")).sessions_old for day in (19, 20))
    assert before == after


def test_a_stock_that_stopped_since_the_release_is_newly_stale_and_one_that_had_is_not(panel):
    frame = panel.frame
    stopped = frame["symbol"].isin(["MOVES", "THIN"]) & (frame["date"] > panel.dates[-7])
    cut = Panel.from_frame(frame[~stopped], panel.source)
    figures = seen(cut, nairobi("2021-07-30T18:00"), {"THIN": "stale"})
    assert figures.stale == ["MOVES", "THIN"] and figures.newly_stale == ["MOVES"]
    assert seen(panel, nairobi("2021-07-30T18:00")).stale == []


def test_frozen_stocks_are_counted_among_those_with_a_window(panel):
    figures = seen(panel, nairobi("2021-07-30T18:00"))
    long = [symbol for symbol in SYMBOLS if len(panel.history(symbol)) >= SPEC.size]
    assert figures.frozen == ["FROZEN"] and figures.frozen_share == pytest.approx(1 / len(long))
    assert figures.frozen_share_then == pytest.approx(1 / 5)  # SHORT was too short to be judged


def test_a_copied_last_session_and_a_stock_without_prices_are_reported(panel):
    day = panel.dates[60]  # the synthetic market's copied day
    figures = seen(panel.as_of(day), nairobi(f"{day:%Y-%m-%d}T18:00"))
    copied = [
        s
        for s in SYMBOLS
        if s != "MOVES" and day in set(panel.as_of(day).frame.query("symbol == @s")["date"])
    ]
    assert figures.unknown_closes == len(copied) > 0
    assert figures.without_data == ["SHORT"]
    assert isinstance(figures.data_end, dt.date) and np.isfinite(figures.frozen_share)
