"""Served forecasts joined with the prices: the same outcomes as the obvious loop, and nothing known early."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import SPEC, SYMBOLS, made_panel

from cluster.monitor.live import REASONS, _closing, join_actuals
from common.archive.flags import Flag
from common.exchange.clock import NAIROBI_CLOCK, ExchangeClock
from common.exchange.universe import Universe
from common.prices.panel import Panel
from common.prices.windows import make_windows
from serve.audit.files import BOUNDS

UNIVERSE = Universe.from_symbols(SYMBOLS, specific=["MOVES"])
EVENING = pd.Timedelta(hours=18)


@pytest.fixture(scope="module")
def panel():
    return made_panel()


def served(rows, **changes):
    """Rows of the log for (symbol, cutoff, horizon, last price); served in the evening of the cutoff."""
    table = pd.DataFrame(rows, columns=["symbol", "cutoff", "horizon", "last_price"])
    table = table.assign(
        release="r", preset="residual", target_date=table["cutoff"], p_move=0.5, frozen=False
    )
    table = table.assign(raw=table["last_price"], published=table["last_price"], model_type="general")
    table = table.assign(**dict.fromkeys(BOUNDS, 1.0), source="model", **changes)
    table["cutoff"] = table["cutoff"].astype("datetime64[s]")
    if "served_at" not in changes:
        table["served_at"] = (
            (table["cutoff"] + EVENING).dt.tz_localize(NAIROBI_CLOCK.zone).dt.tz_convert("UTC")
        )
    return table


def joined(table, panel, universe=UNIVERSE):
    return join_actuals(table, panel, universe, SPEC, preset="residual")


def every_evening(panel):
    return [
        (symbol, row.date, horizon, row.close)
        for symbol in SYMBOLS
        for row in panel.history(symbol).itertuples()
        for horizon in SPEC.horizons
    ]


def by_hand(panel):
    """What can be scored, by a loop over rows: (symbol, cutoff, horizon) -> (target date, actual)."""
    results, dates = {}, list(panel.dates)
    for symbol in SYMBOLS:
        rows = panel.history(symbol).to_dict(orient="records")
        for place, row in enumerate(rows):
            known = row["known"] == row["date"] and not row["flags"] & Flag.STALE
            if place + 1 < SPEC.size or not known:
                continue
            for horizon in SPEC.horizons:
                target = dates.index(row["date"]) + horizon
                between = [
                    record
                    for record in rows[place + 1 :]
                    if record["date"] <= dates[min(target, len(dates) - 1)]
                ]
                if target >= len(dates) or not between or between[-1]["date"] != dates[target]:
                    continue
                if any(item["flags"] & Flag.ACTION for item in between):
                    continue
                if not between[-1]["flags"] & Flag.STALE:
                    key = (symbol, row["date"], horizon)
                    results[key] = (between[-1]["date"], between[-1]["close"])
    return results


def test_outcomes_equal_the_obvious_loop_and_every_row_is_accounted_for(panel):
    table = served(every_evening(panel))
    live = joined(table, panel)
    expected = by_hand(panel)
    got = {
        (row.symbol, row.cutoff, row.horizon): (row.target_date, row.actual)
        for row in live.table.itertuples()
    }
    assert len(expected) > 1000 and got == expected
    assert live.waiting and live.left_out["cutoff_unknown"] and live.left_out["no_close"]
    assert len(live.table) + live.waiting + sum(live.left_out.values()) == len(table)
    assert list(live.left_out) == list(REASONS)


def test_outcomes_are_those_that_the_backtest_scores(panel):
    from common.prices.series import series_of_universe

    windows = make_windows(series_of_universe(panel, UNIVERSE), SPEC)
    live = joined(served(every_evening(panel)), panel)
    assert len(live.table) == int(np.isfinite(windows.change).sum())
    assert np.isclose(
        np.sort(live.table["actual"]), np.sort(windows.actual[np.isfinite(windows.change)])
    ).all()


def one(panel, place=100, horizon=1, symbol="MOVES"):
    row = panel.history(symbol).iloc[place]
    return (symbol, row["date"], horizon, row["close"])


@pytest.mark.parametrize(("hour", "scored"), [(14, 1), (15, 0), (18, 0)])
def test_a_forecast_counts_only_if_it_was_served_before_the_close_was_known(panel, hour, scored):
    row, following = one(panel), panel.history("MOVES").iloc[101]["date"]
    at = (following + pd.Timedelta(hours=hour, minutes=-1 * (hour == 14))).tz_localize(NAIROBI_CLOCK.zone)
    live = joined(served([row], served_at=at.tz_convert("UTC")), panel)
    assert (len(live.table), live.left_out["late"]) == (scored, 1 - scored)


@pytest.mark.parametrize(
    ("zone", "closes", "hour", "minute", "scored"),
    [
        ("Asia/Tokyo", dt.time(15, 30), 15, 29, 1),
        ("Asia/Tokyo", dt.time(15, 30), 15, 30, 0),  # 9:30 in Nairobi
        ("America/New_York", dt.time(16), 15, 59, 1),  # 22:59 in Nairobi
        ("America/New_York", dt.time(16), 16, 0, 0),
    ],
)
def test_for_another_exchange_only_forecasts_served_before_its_close_are_scored(
    panel, zone, closes, hour, minute, scored
):
    universe = replace(UNIVERSE, clock=ExchangeClock(zone, closes))
    row, following = one(panel), panel.history("MOVES").iloc[101]["date"]
    at = (following + pd.Timedelta(hours=hour, minutes=minute)).tz_localize(zone)
    live = joined(served([row], served_at=at.tz_convert("UTC")), panel, universe)
    assert (len(live.table), live.left_out["late"]) == (scored, 1 - scored)


def test_a_close_at_a_time_that_clocks_show_twice_is_known_at_the_earlier_of_them():
    clock = ExchangeClock("America/New_York", dt.time(1, 30))
    days = pd.Series(pd.to_datetime(["2024-03-08", "2024-11-03"]))
    expected = ["2024-03-08T06:30+00:00", "2024-11-03T05:30+00:00"]
    assert [item.isoformat() for item in _closing(days, clock).dt.tz_convert("UTC")] == [
        dt.datetime.fromisoformat(text).isoformat() for text in expected
    ]


def test_a_close_found_a_session_late_leaves_the_day_itself_to_serve(panel):
    """The close of a repaired day became known on the next session's evening."""
    rows = panel.history("THIN")
    place = int(np.flatnonzero((rows["flags"] & int(Flag.REPAIRED)) != 0)[0])
    at = (rows["date"].iloc[place] + EVENING).tz_localize(NAIROBI_CLOCK.zone).tz_convert("UTC")
    live = joined(served([one(panel, place - 1, symbol="THIN")], served_at=at), panel)
    assert len(live.table) == 1 and rows["known"].iloc[place] > rows["date"].iloc[place]


def test_forecasts_wait_for_their_close_and_use_nothing_of_later_days(panel):
    row, evening = one(panel), panel.history("MOVES").iloc[100]["date"]
    live = joined(served([row]), panel.as_of(evening))
    assert live.waiting == 1 and not len(live.table) and len(live.recent) == 1


def test_a_forecast_of_a_session_on_which_the_stock_has_no_row_does_not_wait_for_ever(panel):
    row, evening = one(panel), panel.history("MOVES").iloc[100]["date"]
    target = panel.dates[panel.dates.get_loc(evening) + 1]
    kept = panel.frame[(panel.frame["symbol"] != "MOVES") | (panel.frame["date"] != target)]
    live = joined(served([row]), Panel.from_frame(kept, panel.source))
    assert (live.waiting, live.left_out["no_close"], len(live.table)) == (0, 1, 0)


def test_the_first_of_two_forecasts_for_an_evening_counts(panel):
    table = pd.concat([served([one(panel)], release="a"), served([one(panel)], release="b")])
    live = joined(table, panel)
    assert live.table["release"].tolist() == ["a"] and live.left_out["asked_again"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"preset": "v4_log"}, "other_preset"),
        ({"symbol": "NOPE"}, "not_asked_here"),
        ({"horizon": 30}, "not_asked_here"),
        ({"published": np.nan}, "unusable"),
        ({"served_at": pd.Timestamp("2020-01-01", tz="UTC")}, "unusable"),
        ({"last_price": 1.0}, "other_price"),
        ({"cutoff": pd.Timestamp("2021-05-02")}, "cutoff_unknown"),
    ],
)
def test_unscored_forecasts_are_counted_by_reason(panel, change, reason):
    table = served([one(panel)]).assign(**change)
    table["cutoff"] = table["cutoff"].astype("datetime64[s]")
    live = joined(table, panel)
    assert live.left_out[reason] == 1 and sum(live.left_out.values()) == 1 and not len(live.table)


def test_a_log_without_a_row_is_no_error(panel):
    live = joined(served([one(panel)]).iloc[:0], panel)
    assert not len(live.table) and not live.waiting and not any(live.left_out.values())
