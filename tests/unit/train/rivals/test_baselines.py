"""The rivals of a backtest: each sees what the networks see, and nothing after the cutoff."""

import multiprocessing

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import SPEC, SYMBOLS, history, made_panel

from common.errors import ConfigError
from common.exchange.ticks import round_to_tick
from common.forecast.representation import Residual
from common.network.channels import frozen, sigma
from common.presets import WindowSpec
from common.prices.market_days import UNKNOWN_MARKET
from common.prices.panel import Panel
from common.prices.series import series_from_histories, series_from_panel
from common.prices.windows import Boundaries, Windows, make_windows
from common.scoring.forecast_errors import errors
from train.rivals import baselines, statistical
from train.rivals.baselines import BaselineForecast, drift, naive
from train.rivals.spread import NaiveSpread
from train.rivals.trees import trees

PANEL = made_panel()
DATES = PANEL.dates.to_numpy().astype("datetime64[D]")
LIMITS = Boundaries(DATES[90], DATES[115], DATES[-1])


def all_windows(panel: Panel = PANEL) -> Windows:
    return make_windows(series_from_panel(panel, SYMBOLS), SPEC)


def windows_of(panel: Panel = PANEL, *, first: int = 100, last: int = 122) -> Windows:
    windows = all_windows(panel)
    return windows.take((windows.cutoff >= DATES[first]) & (windows.cutoff <= DATES[last]))


def windows_on(**closes: np.ndarray) -> Windows:
    """All windows over invented closes."""
    histories = {symbol: history(values) for symbol, values in closes.items()}
    return make_windows(series_from_histories(histories, UNKNOWN_MARKET), SPEC)


def walk(count: int, *, seed: int = 0, reversal: float = 0.0) -> np.ndarray:
    """Closes of a random walk; or of one that takes back a share of each day's return."""
    returns = np.random.default_rng(seed).normal(0, 0.02, count)
    for day in range(1, count):
        returns[day] -= reversal * returns[day - 1]
    return 50 * np.exp(np.cumsum(returns))


def classical(windows: Windows, **settings) -> dict[str, BaselineForecast]:
    return statistical.statistical(windows, **{"workers": 1, **settings})


def every_rival(panel: Panel) -> dict[str, BaselineForecast]:
    train, valid, _ = LIMITS.parts(all_windows(panel))
    windows = windows_of(panel, first=105, last=120)
    return {
        "naive": naive(windows),
        "drift": drift(windows),
        **classical(windows),
        "trees": trees(train, valid, windows, Residual.fit(train), threads=1),
    }


def spiked_after(day: int) -> Panel:
    frame = PANEL.frame.copy()
    later = frame["date"] > pd.Timestamp(DATES[day])
    factor = np.where(np.arange(len(frame)) % 2, 1.45, 0.75)
    for name in ("close", "low", "high"):
        frame[name] = frame[name].mask(later, (frame[name] * factor).round(2))
    return Panel.from_frame(frame, PANEL.source)


@pytest.fixture
def few_rounds(monkeypatch):
    monkeypatch.setattr("train.rivals.trees.ROUNDS", 10)


def same(one: BaselineForecast, other: BaselineForecast) -> bool:
    return one.raw.tobytes() == other.raw.tobytes() and one.published.tobytes() == other.published.tobytes()


def test_no_forecast_changes_when_every_later_price_does(few_rounds):
    now, then = every_rival(PANEL), every_rival(spiked_after(120))
    assert {name for name in now if not same(now[name], then[name])} == set()
    assert all(forecast.failures == 0 for forecast in now.values())


def test_a_path_that_runs_one_day_ahead_is_caught(monkeypatch):
    path = baselines.log_path
    for module in (baselines, statistical):
        monkeypatch.setattr(module, "log_path", lambda series: np.append(path(series)[1:], 0.0))
    now, then = windows_of(last=120), windows_of(spiked_after(120), last=120)
    assert not same(drift(now), drift(then))
    assert not same(*(classical(windows, models=["ets"])["ets"] for windows in (now, then)))


def test_a_forecast_depends_only_on_its_own_window():
    windows = windows_of()
    chosen = np.random.default_rng(1).permutation(len(windows))[:25]
    for name, forecast in classical(windows).items():
        alone = classical(windows.take(chosen), models=[name])[name]
        assert np.array_equal(alone.raw, forecast.raw[chosen]), name
        assert np.array_equal(alone.published, forecast.published[chosen]), name
        assert forecast.raw.shape == windows.change.shape


def test_between_two_estimations_forecasts_start_from_the_newest_close():
    closes = walk(200)
    jumped = closes.copy()
    jumped[130] *= 1.2
    windows = [windows_on(A=values) for values in (closes, jumped)]
    rows = [part.take(part.end == 130) for part in windows]
    for name in statistical.MODELS:
        before, now = (classical(part, models=[name])[name].raw[0, 0] for part in rows)
        assert now / before == pytest.approx(1.2, rel=0.1), name


def test_splits_are_not_forecast():
    prices = walk(160)
    prices[80] = prices[79]
    split = np.where(np.arange(160) < 80, prices, prices / 2)
    one, other = (part.take(part.end % 8 == 0) for part in (windows_on(A=prices), windows_on(A=split)))
    assert other.series.action.sum() == 1
    last = [part.last_price[:, None] for part in (one, other)]
    forecasts = [{"drift": drift(part), **classical(part)} for part in (one, other)]
    for name, forecast in forecasts[0].items():
        assert np.allclose(forecast.raw / last[0], forecasts[1][name].raw / last[1], rtol=1e-9), name


def test_a_frozen_window_keeps_its_last_price(few_rounds):
    train, valid, _ = LIMITS.parts(all_windows())
    windows = windows_of(last=110)
    still = frozen(windows)
    assert 5 < still.sum() < len(windows)
    last = np.repeat(windows.last_price[still, None], len(SPEC.horizons), axis=1)
    forecasts = [drift(windows), *classical(windows).values()]
    forecasts.append(trees(train, valid, windows, Residual.fit(train), threads=1))
    for forecast in forecasts:
        assert np.array_equal(forecast.raw[still], last)
        assert np.array_equal(forecast.published[still], last)
        assert not np.array_equal(forecast.raw[~still, 0], windows.last_price[~still])


def test_published_prices_lie_on_the_tick_unless_they_are_the_last_price():
    windows, forecast = windows_of(), drift(windows_of())
    moved = forecast.published != windows.last_price[:, None]
    assert moved.any() and not moved.all()
    assert np.array_equal(forecast.published[moved], round_to_tick(forecast.raw[moved]))
    assert np.array_equal(naive(windows).published[:, 0], windows.last_price)


def test_drift_equals_the_obvious_loop():
    windows = windows_of()
    forecast, still = drift(windows).raw, frozen(windows)
    for n, (end, symbol) in enumerate(zip(windows.end, windows.symbol, strict=True)):
        first = windows.series.offsets[symbol]
        total = sum(float(windows.series.log_return[row]) for row in range(first + 1, end + 1))
        for h, horizon in enumerate(SPEC.horizons):
            change = 0 if still[n] else horizon * total / (end - first)
            assert forecast[n, h] == pytest.approx(windows.last_price[n] * np.exp(change))


@pytest.mark.parametrize("model", statistical.MODELS)
def test_a_random_walk_is_forecast_near_its_last_price(model):
    every = windows_on(A=walk(500, seed=3))
    windows = every.take(every.end >= 400)
    forecast = classical(windows, models=[model])[model]
    change = np.log(forecast.raw[:, 0] / windows.last_price)
    assert 0 < np.abs(change).mean() < 0.3 * 0.02


def test_a_model_that_fails_keeps_the_last_price_and_is_counted(monkeypatch):
    class Broken:
        def fit(self, y):
            if y[-1] > 0:
                raise ZeroDivisionError("singular")
            return self

        def forward(self, y, h):
            return {"mean": np.full(h, np.nan)}

    monkeypatch.setattr(statistical, "_model", lambda name: Broken())
    windows = windows_of(last=110)
    forecast = classical(windows, models=["ets"])["ets"]
    assert same(forecast, naive(windows))
    assert forecast.failures == (~frozen(windows)).sum()


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(ConfigError, match="prophet"):
        classical(windows_of(), models=["prophet"])


def test_worker_processes_forecast_the_same_and_leave_nothing_behind():
    windows, seen = windows_of(last=110), []
    pooled = classical(windows, workers=2, models=["ets"], progress=lambda *step: seen.append(step))
    assert same(pooled["ets"], classical(windows, models=["ets"])["ets"])
    assert seen == [(done, 4) for done in range(1, 5)]
    assert multiprocessing.active_children() == []


def test_ctrl_c_stops_the_workers():
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classical(windows_of(), workers=2, models=["arima"], progress=interrupt)
    assert multiprocessing.active_children() == []


def test_trees_learn_a_planted_signal():
    spec = WindowSpec(size=12, horizons=(1, 3))
    closes = {symbol: history(walk(900, seed=seed, reversal=0.7)) for seed, symbol in enumerate("ABC")}
    windows = make_windows(series_from_histories(closes, UNKNOWN_MARKET), spec)
    train, valid, test = Boundaries(*windows.series.dates[[500, 700, 899]]).parts(windows)
    forecast = trees(train, valid, test, Residual.fit(train), threads=1)
    raw, published, actual = forecast.raw[:, 0], forecast.published[:, 0], test.actual[:, 0]
    reached = errors(last=test.last_price, raw=raw, published=published, actual=actual)
    assert reached.rel_mae < 0.85 and reached.rel_rmse < 0.85


def test_the_level_needed_equals_the_obvious_loop():
    train, _, test = LIMITS.parts(all_windows())
    moving = train.take(~frozen(train))
    spread, needed = NaiveSpread.fit(train), NaiveSpread.fit(train).needed_level(moving)
    for h, horizon in enumerate(SPEC.horizons):
        size = np.abs(moving.change[:, h]) / (sigma(moving) * np.sqrt(horizon))
        outcomes = [value for value in size if not np.isnan(value)]
        for n, value in enumerate(size):
            share = sum(other <= value for other in outcomes) / len(outcomes)
            expected = value if np.isnan(value) or value == 0 else share
            assert needed[n, h] == pytest.approx(expected, nan_ok=True)
    assert np.array_equal(np.isnan(spread.needed_level(test)), np.isnan(test.change))


def test_bounds_of_the_level_needed_touch_the_actual_and_of_any_less_do_not_hold_it():
    train, _, test = LIMITS.parts(all_windows())
    spread = NaiveSpread.fit(train)
    needed, actual = spread.needed_level(test), test.actual
    low, high = spread.bounds(test, needed)
    reached = needed < 1
    nearest = np.where(actual > test.last_price[:, None], high, low)
    assert np.allclose(nearest[reached], actual[reached], rtol=1e-9)
    less = spread.bounds(test, needed - 0.01)
    moved = reached & (needed > 0)
    assert moved.sum() > 50 and ((actual < less[0]) | (actual > less[1]))[moved].all()
    assert np.isnan(low[np.isnan(actual)]).all()
