"""Errors, direction, intervals and quantiles, against plain Python."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.scoring.forecast_errors import (
    Direction,
    Errors,
    coverage,
    direction,
    errors,
    pinball,
    width,
    winkler,
)

price = st.floats(0.5, 2000)
row = st.tuples(price, price, price, st.one_of(price, st.just(math.nan)))


def of(rows) -> Errors:
    last, raw, published, actual = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return errors(last=last, raw=raw, published=published, actual=actual)


def by_hand(rows) -> dict:
    rows = [r for r in rows if not math.isnan(r[3])]
    n = len(rows)

    def mean(values):
        return sum(values) / n

    naive = mean([abs(last - actual) / last for last, _, _, actual in rows])
    naive_square = mean([((last - actual) / last) ** 2 for last, _, _, actual in rows])
    return {
        "n": n,
        "mae": mean([abs(published - actual) for _, _, published, actual in rows]),
        "naive_mae": mean([abs(last - actual) for last, _, _, actual in rows]),
        "rmse": math.sqrt(mean([(raw - actual) ** 2 for _, raw, _, actual in rows])),
        "naive_rmse": math.sqrt(mean([(last - actual) ** 2 for last, _, _, actual in rows])),
        "mape": 100 * mean([abs(published - actual) / actual for _, _, published, actual in rows]),
        "naive_mape": 100 * mean([abs(last - actual) / actual for last, _, _, actual in rows]),
        "rel_mae": mean([abs(published - actual) / last for last, _, published, actual in rows]) / naive
        if naive
        else None,
        "rel_rmse": math.sqrt(mean([((raw - actual) / last) ** 2 for last, raw, _, actual in rows]))
        / math.sqrt(naive_square)
        if naive_square
        else None,
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(row, min_size=1, max_size=30).filter(lambda rows: any(not math.isnan(r[3]) for r in rows)))
def test_errors_equal_those_worked_out_by_hand(rows):
    result, expected = of(rows).as_dict(), by_hand(rows)
    assert set(result) == set(expected)
    for name, value in expected.items():
        assert result[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), name


def test_one_case_worked_out_on_paper():
    result = of([(10.0, 11.0, 10.5, 12.0), (100.0, 100.0, 99.0, 90.0)])
    assert result.n == 2
    assert (result.mae, result.naive_mae) == (5.25, 6.0)
    assert result.rmse == pytest.approx(math.sqrt((1 + 100) / 2))
    assert result.rel_mae == pytest.approx((0.15 + 0.09) / (0.2 + 0.1))
    assert result.rel_rmse == pytest.approx(math.sqrt((0.01 + 0.01) / (0.04 + 0.01)))


def test_a_stock_that_never_moves_has_no_ratio_to_naive():
    result = of([(6.6, 6.6, 6.6, 6.6)] * 3)
    assert (result.n, result.mae, result.naive_mae) == (3, 0, 0)
    assert result.rel_mae is None and result.rel_rmse is None


def test_rows_without_an_actual_are_left_out_of_every_figure():
    known = [(10.0, 11.0, 10.5, 12.0), (100.0, 100.0, 99.0, 90.0)]
    assert of([*known, (5.0, 900.0, 900.0, math.nan)]) == of(known)


@pytest.mark.parametrize("rows", [[(5.0, 5.0, 5.0, math.nan)], []])
def test_without_actual_prices_there_is_no_figure(rows):
    empty = np.array([], dtype=float)
    result = of(rows) if rows else errors(last=empty, raw=empty, published=empty, actual=empty)
    assert result.as_dict() == {name: (0 if name == "n" else None) for name in result.as_dict()}


@settings(max_examples=50, deadline=None)
@given(st.lists(row, min_size=1, max_size=10))
def test_the_naive_forecast_has_a_ratio_of_exactly_one_or_none(rows):
    result = of([(last, last, last, actual) for last, _, _, actual in rows])
    assert result.rel_mae in (1.0, None) and result.rel_rmse in (1.0, None)


@settings(max_examples=50, deadline=None)
@given(st.lists(row, min_size=1, max_size=10))
def test_errors_can_be_written_as_json_that_any_language_reads(rows):
    json.dumps(of(rows).as_dict(), allow_nan=False)


NAN = math.nan
tick = st.integers(10, 60).map(lambda twentieths: twentieths / 20)
maybe = st.one_of(tick, st.just(NAN))
LEVELS = np.array([0.05, 0.5, 0.9])


def columns(rows, count: int) -> list[np.ndarray]:
    """Rows as ``count`` arrays; there may be no rows."""
    return [np.array([row[place] for row in rows], dtype=float) for place in range(count)]


def mean_of(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def same(value: float | None, expected: float | None) -> bool:
    return value is None if expected is None else value == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(tick, maybe, maybe), max_size=30))
def test_direction_equals_the_obvious_loop(rows):
    right, n, moved = [], 0, 0
    for last, forecast, actual in rows:
        if math.isnan(actual) or actual == last:
            continue
        moved += 1
        if not math.isnan(forecast) and forecast != last:
            n += 1
            right.append(float((forecast - last) * (actual - last) > 0))
    result = direction(*columns(rows, 3))
    assert (result.n, result.moved) == (n, moved) and same(result.right, mean_of(right))


def test_direction_on_paper():
    last, forecast = np.full(5, 10.0), np.array([11.0, 9.0, 10.0, 12.0, 8.0])
    assert direction(last, forecast, np.array([10.5, 10.5, 10.5, 10.0, NAN])) == Direction(0.5, 2, 3)
    assert direction(last, last, last) == Direction(None, 0, 0)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(maybe, maybe, maybe, tick), max_size=30), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_coverage_width_and_winkler_equal_the_obvious_loop(rows, level):
    inside, score, wide = [], [], []
    for low, high, actual, last in rows:
        if math.isnan(low) or math.isnan(high):
            continue
        wide.append((high - low) / last * 100)
        if math.isnan(actual):
            continue
        inside.append(float(low <= actual <= high))
        row = high - low
        if actual < low:
            row += 2 / (1 - level) * (low - actual)
        if actual > high:
            row += 2 / (1 - level) * (actual - high)
        score.append(row / last * 100)
    low, high, actual, last = columns(rows, 4)
    assert same(coverage(low, high, actual), mean_of(inside))
    assert same(width(low, high, last), mean_of(wide))
    assert same(winkler(low, high, actual, last, level), mean_of(score))


def test_a_price_on_the_bound_is_inside_and_one_tick_beyond_is_not():
    low, high = np.full(4, 9.5), np.full(4, 10.5)
    assert coverage(low, high, np.array([9.5, 10.5, 9.45, 10.55])) == 0.5


def test_an_interval_missed_by_one_percent_costs_its_width_and_twenty_times_the_miss():
    low, high, last = np.array([90.0]), np.array([110.0]), np.array([100.0])
    assert width(low, high, last) == pytest.approx(20)
    assert winkler(low, high, np.array([100.0]), last, 0.9) == pytest.approx(20)
    assert winkler(low, high, np.array([111.0]), last, 0.9) == pytest.approx(20 + 20 * 1)
    assert winkler(low, high, np.array([89.0]), last, 0.9) == pytest.approx(20 + 20 * 1)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(maybe, tick, tick, tick, maybe), max_size=30))
def test_pinball_equals_the_obvious_loop(rows):
    losses = []
    for *quantiles, last, actual in rows:
        if math.isnan(actual) or any(math.isnan(quantile) for quantile in quantiles):
            continue
        for level, quantile in zip(LEVELS, quantiles, strict=True):
            loss = level * (actual - quantile) if actual >= quantile else (1 - level) * (quantile - actual)
            losses.append(100 * loss / last)
    *quantiles, last, actual = columns(rows, 5)
    assert same(pinball(np.stack(quantiles, axis=1), LEVELS, last, actual), mean_of(losses))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(tick, tick, tick, tick), min_size=1, max_size=20), st.sampled_from([0.8, 0.95]))
def test_the_interval_score_is_the_pinball_loss_of_its_two_ends_in_other_units(rows, level):
    low, high, actual, last = columns(rows, 4)
    ends = pinball(np.stack([low, high], axis=1), np.array([1 - level, 1 + level]) / 2, last, actual)
    assert winkler(low, high, actual, last, level) == pytest.approx(4 / (1 - level) * ends, abs=1e-9)


def test_the_median_s_pinball_loss_is_half_the_absolute_error():
    last, actual = np.array([10.0, 20.0]), np.array([12.0, 19.0])
    assert pinball(last[:, None], np.array([0.5]), last, actual) == pytest.approx(100 * (0.2 + 0.05) / 2 / 2)


@pytest.mark.parametrize("level", [0, 1, 90, NAN])
def test_a_level_that_is_no_probability_is_refused(level):
    one = np.ones(1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        winkler(one, one, one, one, level)
    with pytest.raises(ValueError, match="between 0 and 1"):
        pinball(np.ones((1, 1)), np.array([level]), one, one)


def test_quantiles_that_do_not_fit_their_levels_are_refused():
    with pytest.raises(ValueError, match=r"need \(N, Q\)"):
        pinball(np.ones((2, 2)), LEVELS, np.ones(2), np.ones(2))
