"""Scores of forecasts, and the choice between a stock's candidates."""

import math

import numpy as np
import pytest
from support.prices.panel import SPEC, SYMBOLS, made_panel

from common.forecast.prices import Prices
from common.network.channels import frozen
from common.prices.series import series_from_panel
from common.prices.windows import Windows, make_windows
from common.scoring.forecast_errors import Errors
from train.run.scores import MINIMUM_JUDGED, Score, beats_naive, by_symbol, choose, horizon_weights, score

WINDOWS = make_windows(series_from_panel(made_panel(), SYMBOLS), SPEC)


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ({"general": 0.98, "fine-tuned": 0.98, "average": 0.98, "scratch": 1.0}, "average"),
        ({"general": 0.971, "fine-tuned": 0.99, "average": 0.98, "scratch": 1.0}, "average"),
        ({"general": 0.99, "fine-tuned": 0.969, "average": 0.98, "scratch": 1.0}, "fine-tuned"),
        ({"general": 0.99, "fine-tuned": 0.985, "average": 0.98, "scratch": 0.95}, "scratch"),
        ({"general": 0.99, "fine-tuned": math.inf, "average": math.inf, "scratch": 1.0}, "general"),
        ({"scratch": 1.2}, "scratch"),
        ({"general": math.inf}, "general"),
        ({"scratch": 0.5 - 0.01, "average": 0.5}, "average"),
    ],
)
def test_the_average_is_published_unless_another_is_clearly_ahead(totals, expected):
    assert choose(totals) == expected


def judged(rel_mae: float | None, rel_rmse: float | None, n: int = 100) -> Score:
    figures = Errors(n, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, rel_mae, rel_rmse)
    return Score((figures,), (1,))


@pytest.mark.parametrize(
    ("score", "beats"),
    [
        (judged(0.98, 0.95), True),
        (judged(1.01, 0.95), True),
        (judged(1.0, 1.0), False),
        (judged(1.02, 0.99), False),
        (judged(0.9, 0.9, n=MINIMUM_JUDGED - 1), False),
        (judged(0.9, 0.9, n=MINIMUM_JUDGED), True),
        (judged(None, None), False),
        (judged(2.5, 2.1), False),
    ],
)
def test_a_model_must_beat_naive_on_enough_windows(score, beats):
    assert beats_naive(score) is beats


def test_only_the_first_horizon_must_have_enough_windows():
    near, far = (judged(0.9, 0.9, n).by_horizon[0] for n in (MINIMUM_JUDGED, MINIMUM_JUDGED - 1))
    assert beats_naive(Score((near, far), (1, 5))) and not beats_naive(Score((far, near), (1, 5)))


def test_the_weights_of_the_default_horizons_are_bit_exact():
    expected = (np.array([4.0, 0.5, 0.25, 0.12]) / 4.0).astype(np.float32)
    for count in (1, 2, 3, 4):
        result = horizon_weights((1, 5, 10, 30)[:count])
        assert result.dtype == np.float32 and result.tolist() == expected[:count].tolist()


def test_a_horizon_is_weighted_by_its_days_and_not_by_its_position():
    assert horizon_weights((5, 10)).tolist() == [0.125, 0.0625]
    assert horizon_weights((30,)) == horizon_weights((1, 5, 10, 30))[3]
    assert horizon_weights((1, 3, 5))[2] == 0.125


def test_the_weight_is_a_power_of_the_days_between_the_given_ones_and_constant_beyond_them():
    result = horizon_weights((2, 7, 17, 60, 250))
    for day, weight, (low, high) in zip((2, 7, 17), result, ((1, 5), (5, 10), (10, 30)), strict=False):
        at = {1: 1.0, 5: 0.125, 10: 0.0625, 30: 0.03}
        power = math.log(at[high] / at[low]) / math.log(high / low)
        assert weight == pytest.approx(at[low] * (day / low) ** power, rel=1e-6)
    assert result[3] == result[4] == np.float32(0.03)


def test_the_total_is_the_weighted_mean_of_both_ratios_with_1_for_a_horizon_that_never_moved():
    result = Score((judged(0.9, 0.8).by_horizon[0], judged(None, None).by_horizon[0]), (1, 5))
    assert result.rel_mae == [0.9, 1.0] and result.rel_rmse == [0.8, 1.0]
    assert result.total == pytest.approx((4 * 0.85 + 0.5 * 1.0) / 4.5)
    later = Score(result.by_horizon, (5, 10))
    assert later.total == pytest.approx((2 * 0.85 + 1.0) / 3), "five days have twice the weight of ten"


def made_prices(windows: Windows) -> Prices:
    """Forecasts with errors, without intervals."""
    off = np.exp(np.random.default_rng(0).normal(0, 0.03, (2, *windows.counted.shape)))
    raw, published = windows.last_price[:, None] * off
    none = np.full(raw.shape, np.nan)
    return Prices(windows.last_price, frozen(windows), raw, published, none, none, none, none, none, none)


def obvious(windows: Windows, prices: Prices, column: int, chosen: list[int]) -> tuple[int, float, float]:
    """(n, MAE of the published, RMSE of the raw price) of these windows, one by one."""
    chosen = [row for row in chosen if not math.isnan(windows.change[row, column])]
    absolute, squares = [], []
    for row in chosen:
        actual = windows.series.close[windows.target[row, column]]
        absolute.append(abs(prices.published[row, column] - actual))
        squares.append((prices.raw[row, column] - actual) ** 2)
    return len(chosen), sum(absolute) / len(chosen), math.sqrt(sum(squares) / len(chosen))


def same(result: Score, windows: Windows, prices: Prices, chosen: list[int]) -> None:
    for column, errors in enumerate(result.by_horizon):
        assert (errors.n, errors.mae, errors.rmse) == pytest.approx(obvious(windows, prices, column, chosen))


def test_a_score_is_over_moving_windows_unless_rows_are_given():
    prices = made_prices(WINDOWS)
    moving = [row for row in range(len(WINDOWS)) if not prices.frozen[row]]
    assert 0 < len(moving) < len(WINDOWS)
    same(score(WINDOWS, prices), WINDOWS, prices, moving)
    mask = np.arange(len(WINDOWS)) % 3 == 0
    for rows in (mask, np.flatnonzero(mask)):
        same(score(WINDOWS, prices, rows), WINDOWS, prices, list(range(0, len(WINDOWS), 3)))


def test_each_symbols_score_is_over_its_moving_windows_in_any_order():
    windows = WINDOWS.take(np.random.default_rng(1).permutation(len(WINDOWS)))
    prices = made_prices(windows)
    result = by_symbol(windows, prices)
    assert set(result) == {"FROZEN", "GAPS", "MOVES", "SPLITS", "THIN"}
    for symbol, judged_alone in result.items():
        own = [
            row
            for row in range(len(windows))
            if windows.series.symbols[windows.symbol[row]] == symbol and not prices.frozen[row]
        ]
        if own:
            same(judged_alone, windows, prices, own)
        else:
            assert symbol == "FROZEN" and [errors.n for errors in judged_alone.by_horizon] == [0, 0, 0]
