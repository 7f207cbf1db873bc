"""No forecast, scaler, training pair or plan may depend on what was not known yet.

Each check plants a violent change in the future and demands bit-identical results; the last ones plant
a leak and demand that the same check catches it.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import DAYS, REPAIRED_DAYS, SPEC, SYMBOLS, fake_network, made_panel

from common.exchange.universe import Universe
from common.forecast.forecaster import ModelForecaster, Network
from common.forecast.log_price import LogPrice
from common.forecast.representation import Representation, Residual
from common.network.channels import frozen, sigma
from common.presets import TrainConfig
from common.prices.panel import Panel
from common.prices.series import Series, series_from_panel
from common.prices.windows import Boundaries, Windows, last_window, make_windows
from train.run.plan import make_plan

PANEL = made_panel()
DATES = PANEL.dates.to_numpy().astype("datetime64[D]")
LIMITS = Boundaries(DATES[90], DATES[115], DATES[-1])
IDS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}
REPRESENTATIONS = ("residual", "level")


def spiked(panel: Panel, rows: pd.Series) -> Panel:
    """The panel with these rows' prices and volumes multiplied out of recognition."""
    frame = panel.frame.copy()
    factor = np.where(np.arange(len(frame)) % 2, 1.45, 0.75)
    for name in ("close", "low", "high"):
        frame[name] = frame[name].mask(rows, (frame[name] * factor).round(2))
    frame["volume"] = frame["volume"].mask(rows, frame["volume"] * 37 + 5)
    assert rows.any() and (frame["close"] != panel.frame["close"])[rows].all()
    return Panel.from_frame(frame, panel.source)


def after(day: np.datetime64) -> pd.Series:
    return PANEL.frame["date"] > pd.Timestamp(day)


def windows_of(panel: Panel) -> Windows:
    present = tuple(symbol for symbol in SYMBOLS if symbol in panel.symbols)
    return make_windows(series_from_panel(panel, present), SPEC)


def fitted(kind: str, panel: Panel):
    windows = windows_of(panel)
    if kind == "level":
        return LogPrice.fit(windows.series, LIMITS.train_end)
    return Residual.fit(LIMITS.parts(windows)[0])


def outputs_of(representation: Representation) -> Network:
    """The fake network with as many outputs as the representation reads."""
    return lambda x, stock_id: fake_network(x, stock_id)[..., : representation.outputs]


def everything(kind: str, panel: Panel, cutoff: np.datetime64, represent=None) -> dict[str, np.ndarray]:
    """The inputs and outputs of forecasts at or before ``cutoff``, without their outcomes."""
    windows = windows_of(panel)
    windows = windows.take(windows.cutoff <= cutoff)
    representation = represent or fitted(kind, PANEL)
    prices = ModelForecaster(outputs_of(representation), representation, IDS).forecast(windows)
    return {
        "end": windows.end,
        "inputs": representation.inputs(windows),
        "sigma": sigma(windows),
        "still": frozen(windows),
        **{f.name: getattr(prices, f.name) for f in dataclasses.fields(prices) if f.name != "needed"},
    }


def differing(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> list[str]:
    return [name for name in left if not np.array_equal(left[name], right[name], equal_nan=True)]


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_a_scaler_fitted_on_the_training_part_ignores_later_prices(kind):
    changed = spiked(PANEL, after(LIMITS.train_end))
    assert fitted(kind, changed).as_dict() == fitted(kind, PANEL).as_dict()


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_training_inputs_and_targets_ignore_later_prices(kind):
    changed = spiked(PANEL, after(LIMITS.train_end))
    representation = fitted(kind, PANEL)
    one, other = (LIMITS.parts(windows_of(panel))[0] for panel in (PANEL, changed))
    assert len(one) > 100 and np.array_equal(one.end, other.end)
    assert representation.inputs(one).tobytes() == representation.inputs(other).tobytes()
    assert representation.targets(one).tobytes() == representation.targets(other).tobytes()
    assert sigma(one).tobytes() == sigma(other).tobytes()


def test_a_scaler_that_sees_the_test_part_is_caught():
    changed = spiked(PANEL, after(LIMITS.train_end))
    assert Residual.fit(windows_of(changed)).as_dict() != Residual.fit(windows_of(PANEL)).as_dict()
    everywhere = (
        LogPrice.fit(windows_of(panel).series, LIMITS.test_end).as_dict() for panel in (PANEL, changed)
    )
    assert next(everywhere) != next(everywhere)


@pytest.mark.parametrize("cutoff", [30, 49, 59, 74, 90, 99, 120, DAYS - 2])
@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_nothing_up_to_a_cutoff_changes_when_every_later_price_does(kind, cutoff):
    changed = spiked(PANEL, after(DATES[cutoff]))
    before, now = (everything(kind, panel, DATES[cutoff]) for panel in (PANEL, changed))
    assert len(before["end"]) > 10
    assert differing(before, now) == []


@pytest.mark.parametrize("day", REPAIRED_DAYS)
@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_nothing_at_a_cutoff_depends_on_a_close_that_became_known_the_next_morning(kind, day):
    """On a copied day a few stocks keep their true rows; the others' closes come a session later."""
    late = (PANEL.frame["known"] > pd.Timestamp(DATES[day])) & ~after(DATES[day])
    changed = spiked(PANEL, late | after(DATES[day]))
    before, now = (everything(kind, panel, DATES[day]) for panel in (PANEL, changed))
    assert DATES[day] in windows_of(PANEL).cutoff
    assert differing(before, now) == []


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_the_panel_as_of_a_cutoff_gives_the_same_window_as_the_full_panel(kind):
    representation = fitted(kind, PANEL)
    windows = windows_of(PANEL)
    differ, compared = [], 0
    for cutoff in np.unique(windows.cutoff):
        here = windows.take(windows.cutoff == cutoff)
        symbols = tuple(here.series.symbols[position] for position in here.symbol)
        then = last_window(series_from_panel(PANEL.as_of(str(cutoff)), symbols), SPEC)
        assert (then.cutoff == cutoff).all() and np.array_equal(then.last_price, here.last_price)
        compared += len(here)
        same = representation.inputs(then) == representation.inputs(here)
        for row, channel in {(row, channel) for row, _, channel in np.argwhere(~same)}:
            differ.append((str(cutoff), symbols[row], representation.channels[channel]))
        assert np.array_equal(sigma(then), sigma(here)) and np.array_equal(frozen(then), frozen(here))
    assert compared == len(windows)
    assert differ == []


def test_a_row_whose_close_came_later_is_never_a_cutoff():
    windows = windows_of(PANEL)
    rows = PANEL.frame.set_index(["symbol", "date"])
    for symbol, cutoff in zip(windows.symbol, windows.cutoff, strict=True):
        assert rows.loc[(windows.series.symbols[symbol], pd.Timestamp(cutoff)), "known"] == cutoff


class Leaky(Residual):
    """Tomorrow's close planted in the last day of one channel."""

    channel = 0

    def inputs(self, windows: Windows) -> np.ndarray:
        x = super().inputs(windows)
        tomorrow = np.minimum(windows.end + 1, len(windows.series.close) - 1)
        x[:, -1, self.channel] += np.log(windows.series.close[tomorrow] / windows.last_price)
        return x


@pytest.mark.parametrize("channel", range(len(Residual.channels)), ids=Residual.channels)
def test_planting_tomorrows_close_in_any_feature_is_caught(channel):
    kind = type("Planted", (Leaky,), {"channel": channel})
    representation = kind(fitted("residual", PANEL).scaler)
    changed = spiked(PANEL, after(DATES[90]))
    before, now = (everything("residual", panel, DATES[90], representation) for panel in (PANEL, changed))
    result = differing(before, now)
    assert "inputs" in result and "raw" in result
    assert "sigma" not in result


def test_a_volatility_that_looks_one_day_ahead_is_caught(monkeypatch):
    def ahead(windows: Windows) -> np.ndarray:
        rows = windows.end[:, None] + np.arange(2 - windows.spec.size, 2)
        last = len(windows.series.close) - 1
        return windows.series.log_return[np.minimum(rows, last)].std(axis=1).clip(0.005, 0.06)

    for module in ("network.channels", "forecast.representation"):
        monkeypatch.setattr(f"common.{module}.sigma", ahead)
    changed = spiked(PANEL, after(DATES[90]))
    before, now = (everything("residual", panel, DATES[90]) for panel in (PANEL, changed))
    assert {"inputs", "raw"} <= set(differing(before, now))


def with_history_after(panel: Panel, symbol: str, day: np.datetime64, close) -> Panel:
    frame = panel.frame.copy()
    rows = (frame["symbol"] == symbol) & (frame["date"] > pd.Timestamp(day))
    for name in ("close", "low", "high"):
        frame.loc[rows, name] = close
    return Panel.from_frame(frame, panel.source)


def skipped(panel: Panel) -> dict[str, str]:
    universe = Universe.from_symbols(SYMBOLS, specific=SYMBOLS)
    config = TrainConfig(window=SPEC, minimum_windows=50)
    return make_plan(config, universe, [windows_of(panel)], LIMITS).skipped


def test_skipped_stocks_do_not_depend_on_the_test_part():
    before = skipped(PANEL)
    assert set(before) == {"FROZEN", "SHORT", "GAPS"}
    steps = 20 * 1.02 ** (np.arange(len(DATES)) % 5)
    wakes = with_history_after(
        PANEL, "FROZEN", LIMITS.valid_end, steps[: int((LIMITS.valid_end < DATES).sum())]
    )
    last = PANEL.history("MOVES").set_index("date")["close"].loc[pd.Timestamp(LIMITS.valid_end)]
    freezes = with_history_after(PANEL, "MOVES", LIMITS.valid_end, last)
    cut = Panel.from_frame(PANEL.frame[~after(LIMITS.valid_end)], PANEL.source)
    spikes = spiked(PANEL, after(LIMITS.valid_end))
    assert (series_of(wakes, "FROZEN").log_return != 0).any()
    for changed in (wakes, freezes, spikes):
        assert skipped(changed) == before
    assert skipped(cut) == before | {"SHORT": "not in the data"}


def series_of(panel: Panel, symbol: str) -> Series:
    return series_from_panel(panel, (symbol,))
