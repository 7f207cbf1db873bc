"""The backtest against the obvious loop: cut the prices off, forecast, look what happened."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import REPAIRED_DAYS, SPEC, STALE_DAY
from support.training.backtest import DAYS, END, MODELS, NOMINAL, PANEL, START, served

from common.errors import BacktestError, InsufficientHistory
from common.forecast import representation
from common.forecast.conformal import Calibration
from common.forecast.factors import Factors
from common.forecast.groups import Groups
from common.network.mixture import OUTPUTS
from common.prices.market_days import market_days
from common.prices.panel import Panel
from common.prices.series import series_from_histories
from common.prices.windows import last_window
from common.release.learning import windows_until
from common.release.models import ModelFolder
from train.evaluation.backtest import COLUMNS, Backtest, backtest

PRICES = ["last_price", "raw", "published", "lo80", "hi80", "lo90", "hi90", "lo95", "hi95"]
WHOLE = backtest(MODELS, PANEL, NOMINAL, start=START, end=END)
FACTORS = Factors(SPEC.horizons, (1.0, 0.6, 0.3), (1.2, 0.8, 0.1))


def scaled_in_groups() -> tuple[ModelFolder, Backtest]:
    """Models with factors, and their backtest with the levels of nine groups."""
    models = served()
    for job, bundle in models._bundles.items():
        models._bundles[job] = replace(bundle, forecaster=replace(bundle.forecaster, factors=FACTORS))
    groups = Groups.fit([windows_until(PANEL, models, START)])
    calibration = Calibration.nominal(SPEC.horizons, groups)
    return models, backtest(models, PANEL, calibration, start=START, end=END)


def alone(models: ModelFolder, panel: Panel, symbol: str, day: np.datetime64, calibration: Calibration):
    """One stock's forecast from what was known on the evening of ``day``, as serving makes it."""
    known = panel.as_of(str(day))
    series = series_from_histories({symbol: known.history(symbol)}, market_days(known))
    windows = last_window(series, SPEC)
    return models.prices(windows, models.outputs(windows), calibration.for_windows(windows))


@pytest.mark.parametrize("made", [lambda: (MODELS, WHOLE), scaled_in_groups], ids=["plain", "groups"])
def test_every_row_is_what_serving_says_on_that_evening_to_the_last_digit(made):
    models, whole = made()
    checked = 0
    for (symbol, cutoff), rows in whole.table.groupby(["symbol", "cutoff"]):
        if cutoff.day_of_year % 7:
            continue
        found = alone(models, PANEL, symbol, np.datetime64(cutoff, "D"), whole.calibration)
        bounds = np.stack([found.low[0], found.high[0]], axis=-1).reshape(len(SPEC.horizons), -1)
        last = np.repeat(found.last, len(SPEC.horizons))
        expected = np.column_stack([last, found.raw[0], found.published[0], bounds])
        assert np.array_equal(rows[PRICES].to_numpy(), expected)
        checked += len(rows)
    assert checked > 50


def test_groups_have_levels_of_their_own_that_follow_their_outcomes():
    _, whole = scaled_in_groups()
    last = whole.calibration.levels[-1]
    assert len(whole.calibration.groups) == 9 == len(last)
    assert len(np.unique(last.round(6), axis=0)) > 3


def test_actual_prices_and_dates_are_those_of_the_panel():
    rows = WHOLE.table.dropna(subset="actual")
    assert len(rows) > 300
    for row in rows.sample(100, random_state=0).itertuples():
        history = PANEL.history(row.symbol)
        place = int(np.flatnonzero(history["date"] == row.cutoff)[0])
        session = PANEL.dates[PANEL.dates.get_loc(row.cutoff) + row.horizon]
        assert row.target_date == session
        assert history.set_index("date")["close"].loc[session] == row.actual
        assert history["close"].iloc[place] == row.last_price


def test_a_close_that_was_not_known_that_evening_is_no_cutoff():
    cutoffs = WHOLE.table.loc[WHOLE.table["symbol"] == "SPLITS", "cutoff"].to_numpy().astype("datetime64[D]")
    lost = [DAYS[day] for day in (*REPAIRED_DAYS, STALE_DAY) if DAYS[day] >= START]
    assert len(lost) == 2 and not np.isin(lost, cutoffs).any()


def test_what_has_not_happened_or_lies_across_a_split_has_no_actual():
    table = WHOLE.table
    pending = table[table["target_date"].isna()]
    assert pending["actual"].isna().all() and set(pending["horizon"]) == set(SPEC.horizons)
    split = DAYS[100]
    across = table[
        (table["symbol"] == "SPLITS") & (table["cutoff"] < split) & (table["target_date"] >= split)
    ]
    assert len(across) and across["actual"].isna().all()


def test_the_columns_are_those_promised():
    assert WHOLE.table.columns.tolist() == COLUMNS
    assert COLUMNS[:6] == ["symbol", "cutoff", "horizon", "target_date", "last_price", "raw"]
    assert pd.api.types.is_integer_dtype(WHOLE.table["horizon"])
    assert not WHOLE.table.duplicated(["symbol", "cutoff", "horizon"]).any()


def test_a_stock_whose_model_is_not_trusted_is_published_at_its_last_price_and_says_so():
    thin = WHOLE.table[WHOLE.table["symbol"] == "THIN"]
    assert (thin["published"] == thin["last_price"]).all() and set(thin["source"]) == {"last_price"}
    moving = thin[~thin["frozen"]]
    assert (moving["raw"] != moving["last_price"]).any()
    other = WHOLE.table[(WHOLE.table["symbol"] == "MOVES") & ~WHOLE.table["frozen"]]
    assert set(other["source"]) == {"model"} and set(other["model_type"]) == {"stock_specific"}


def test_a_period_gives_the_same_rows_wherever_it_begins():
    for start, end in ((110, 130), (125, 149), (95, 96)):
        part = backtest(MODELS, PANEL, WHOLE.calibration, start=DAYS[start], end=DAYS[end]).table
        whole = WHOLE.table
        same = whole[(whole["cutoff"] >= DAYS[start]) & (whole["cutoff"] <= DAYS[end])]
        pd.testing.assert_frame_equal(part, same.reset_index(drop=True), check_exact=True)


def test_newer_prices_carry_the_calibration_on_as_if_they_had_been_there():
    until = PANEL.as_of(str(DAYS[120]))
    first = backtest(MODELS, until, NOMINAL, start=START, end=DAYS[120])
    later = backtest(MODELS, PANEL, first.calibration, start=DAYS[121], end=END)
    whole = WHOLE.table[WHOLE.table["cutoff"] > DAYS[120]].reset_index(drop=True)
    pd.testing.assert_frame_equal(later.table, whole, check_exact=True)
    assert np.array_equal(later.calibration.levels, WHOLE.calibration.levels)


def test_no_row_changes_with_a_later_price():
    frame = PANEL.frame.copy()
    late = frame["date"] > pd.Timestamp(DAYS[120])
    frame["close"] = frame["close"].mask(late, (frame["close"] * 1.3).round(2))
    changed = backtest(MODELS, Panel.from_frame(frame, PANEL.source), NOMINAL, start=START, end=END).table
    before = [table[table["cutoff"] <= DAYS[120]][PRICES].to_numpy() for table in (changed, WHOLE.table)]
    assert len(before[0]) > 200 and np.array_equal(*before)


def test_a_feature_with_tomorrows_close_in_it_is_caught(monkeypatch):
    """A backtest that peeks differs from what the same models say when the future is not there."""
    honest = representation.raw_channels

    def peeking(windows):
        x, known = honest(windows)
        tomorrow = np.minimum(windows.end + 1, len(windows.series.close) - 1)
        x[:, -1, 0] += np.log(windows.series.close[tomorrow] / windows.last_price)
        return x, known

    def last_return(x, stock_id):
        outputs = np.full((len(x), len(SPEC.horizons), OUTPUTS), 0.5)
        outputs[..., 0] = x[:, -1, :1]
        return outputs

    monkeypatch.setattr(representation, "raw_channels", peeking)
    models = served(last_return)
    table = backtest(models, PANEL, NOMINAL, start=START, end=END).table
    moves = table[(table["symbol"] == "MOVES") & (table["cutoff"] == DAYS[100])]
    found = alone(models, PANEL, "MOVES", DAYS[100], NOMINAL)
    assert not np.array_equal(moves["raw"].to_numpy(), found.raw[0])


def test_the_general_model_can_be_asked_alone():
    part = backtest(MODELS, PANEL, NOMINAL, start=START, end=END, symbols=["MOVES"], general_only=True)
    own = WHOLE.table[WHOLE.table["symbol"] == "MOVES"].reset_index(drop=True)
    assert set(part.table["model_type"]) == {"general"} and len(part.table) == len(own)
    assert not np.array_equal(part.table["raw"], own["raw"])


def test_an_empty_period_is_an_error_that_says_what_there_is():
    with pytest.raises(BacktestError, match=r"no cutoff from 2031-01-01.*prices go from 2021-01-04"):
        backtest(MODELS, PANEL, NOMINAL, start=np.datetime64("2031-01-01"), end=np.datetime64("2031-02-01"))


def test_a_stock_with_too_few_prices_is_simply_not_there():
    assert "SHORT" not in set(WHOLE.table["symbol"])
    with pytest.raises(InsufficientHistory):
        alone(MODELS, PANEL, "SHORT", END, NOMINAL)
