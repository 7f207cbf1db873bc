"""The Diebold-Mariano test, against statsmodels, plain Python and its own promise: 5 % false alarms."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.scoring.significance import by_date, diebold_mariano

number = st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 3))
horizons = st.integers(1, 12)


def series(seed: int, length: int, memory: float = 0.6) -> np.ndarray:
    """A correlated series of ``length`` values."""
    shocks = np.random.default_rng(seed).standard_normal(length)
    for t in range(1, length):
        shocks[t] += memory * shocks[t - 1]
    return shocks


def lags_by_hand(n: int, horizon: int) -> int:
    return min(max(horizon - 1, int(4 * (n / 100) ** (2 / 9))), n - 1)


def statistic_by_hand(values: list[float], horizon: int) -> float:
    n = len(values)
    lags = lags_by_hand(n, horizon)
    mean = sum(values) / n
    variance = 0.0
    for t in range(n):
        for s in range(n):
            weight = max(0.0, 1 - abs(t - s) / (lags + 1))
            variance += weight * (values[t] - mean) * (values[s] - mean) / n
    m = lags + 1
    return mean / math.sqrt(variance / n) * math.sqrt((n + 1 - 2 * m + m * (m - 1) / n) / n)


@settings(max_examples=60, deadline=None)
@given(st.lists(number, min_size=13, max_size=40), horizons)
def test_the_statistic_equals_the_double_sum_over_all_pairs_of_dates(values, horizon):
    assume(max(values) - min(values) > 0.01)
    test = diebold_mariano(np.array(values), horizon=horizon)
    assert test.statistic == pytest.approx(statistic_by_hand(values, horizon), rel=1e-7, abs=1e-9)
    assert (test.n, test.lags) == (len(values), lags_by_hand(len(values), horizon))
    assert test.mean == pytest.approx(sum(values) / len(values), abs=1e-9)


@pytest.mark.parametrize(
    ("length", "horizon"),
    [
        (length, horizon)
        for length in (8, 25, 100, 300, 1000)
        for horizon in (1, 5, 10, 30)
        if horizon < length
    ],
)
def test_before_its_small_sample_factor_the_statistic_is_the_hac_t_value_of_statsmodels(length, horizon):
    from statsmodels.api import OLS

    values = series(length + horizon, length) + 0.1
    test = diebold_mariano(values, horizon=horizon)
    fitted = OLS(values, np.ones(length)).fit(
        cov_type="HAC", cov_kwds={"maxlags": test.lags, "kernel": "bartlett", "use_correction": False}
    )
    m = test.lags + 1
    factor = math.sqrt((length + 1 - 2 * m + m * (m - 1) / length) / length)
    assert test.statistic == pytest.approx(factor * float(fitted.tvalues[0]), rel=1e-9)
    assert test.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(test.statistic), df=length - 1), rel=1e-9)


@pytest.mark.parametrize("horizon", [6, 10, 30])
def test_if_the_horizon_sets_the_lags_the_factor_is_the_published_one(horizon):
    values = series(1, 200) + 0.1
    test = diebold_mariano(values, horizon=horizon)
    assert test.lags == horizon - 1
    centred = values - values.mean()
    variance = centred @ centred / 200
    for k in range(1, horizon):
        variance += 2 * (1 - k / horizon) * (centred[k:] @ centred[:-k]) / 200
    published = math.sqrt((200 + 1 - 2 * horizon + horizon * (horizon - 1) / 200) / 200)
    assert test.statistic == pytest.approx(published * values.mean() / math.sqrt(variance / 200), rel=1e-9)


@pytest.mark.parametrize(
    ("n", "horizon", "lags"),
    [(8, 1, 2), (99, 1, 3), (100, 1, 4), (300, 1, 5), (300, 30, 29), (20, 30, 19), (51200, 1, 16), (0, 5, 0)],
)
def test_the_number_of_lags_is_worked_out_on_paper(n, horizon, lags):
    assert diebold_mariano(np.arange(float(n)), horizon=horizon).lags == lags


def rejected(draws: np.ndarray, horizon: int) -> float:
    return float(np.mean([diebold_mariano(row, horizon=horizon).p_value < 0.05 for row in draws]))


@pytest.mark.parametrize("length", [20, 60, 300])
def test_independent_differentials_are_called_different_in_five_percent_of_cases(length):
    draws = np.random.default_rng(length).standard_normal((4000, length))
    assert 0.038 < rejected(draws, 1) < 0.062


def test_correlated_differentials_with_fat_tails_keep_near_five_percent_at_one_day():
    shocks = np.random.default_rng(5).standard_t(4, size=(3000, 301))
    assert 0.04 < rejected(shocks[:, 1:] + 0.3 * shocks[:, :-1], 1) < 0.075


@pytest.mark.parametrize(("horizon", "length"), [(5, 300), (10, 300), (30, 300)])
def test_overlapping_squared_errors_are_called_different_at_most_one_time_in_eight(horizon, length):
    """Two equally good forecasters, ``horizon`` days ahead every day: errors share horizon - 1 days."""
    shocks = np.random.default_rng(horizon).standard_normal((2, 2000, length + horizon))
    paths = np.cumsum(shocks, axis=2)
    errors = paths[..., horizon:] - paths[..., :-horizon]
    draws = errors[0] ** 2 - errors[1] ** 2
    careless = np.abs(scipy.stats.ttest_1samp(draws, 0, axis=1).statistic) > 1.96
    assert 0.03 < rejected(draws, horizon) < 0.125 < careless.mean()


def test_a_real_difference_is_significant():
    draws = np.random.default_rng(3).standard_normal((500, 300)) - 0.25
    assert rejected(draws, 1) > 0.95
    assert all(diebold_mariano(row, horizon=1).statistic < 0 for row in draws)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), horizons, st.sampled_from([1e-9, 1e-3, 7.0, 1e200]))
def test_unit_does_not_matter_and_swapping_the_two_models_only_turns_the_sign(seed, horizon, unit):
    values = series(seed, 40)
    test = diebold_mariano(values, horizon=horizon)
    turned = diebold_mariano(-unit * values, horizon=horizon)
    assert turned.statistic == pytest.approx(-test.statistic, rel=1e-9)
    assert turned.p_value == pytest.approx(test.p_value, rel=1e-9)
    assert turned.mean == pytest.approx(-unit * test.mean, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 30), max_size=10), horizons)
def test_missing_values_are_dropped(seed, places, horizon):
    values = series(seed, 30)
    assert diebold_mariano(np.insert(values, places, np.nan), horizon=horizon) == diebold_mariano(
        values, horizon=horizon
    )


@pytest.mark.parametrize(
    ("values", "horizon"),
    [
        ([], 1),
        ([math.nan] * 20, 1),
        ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0], 1),
        ([0.0] * 50, 1),
        ([0.1] * 50, 5),
        ([0.1 + 0.2, 0.3] * 25, 5),
        ([1.0, -1.0] * 10, 20),
        ([1.0, -1.0] * 10, 25),
        ([1.0, math.inf] * 10, 1),
        ([math.inf, -math.inf] * 10, 1),
    ],
    ids=["none", "all NaN", "seven", "zero", "constant", "rounding", "h = T", "h > T", "inf", "both inf"],
)
def test_untestable_values_give_nan_without_a_warning(values, horizon):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = diebold_mariano(np.array(values), horizon=horizon)
    assert math.isnan(test.statistic) and math.isnan(test.p_value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(), max_size=30), st.integers(1, 40))
def test_no_input_raises_or_warns(values, horizon):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = diebold_mariano(np.array(values, dtype=float), horizon=horizon)
    assert math.isnan(test.p_value) or 0 <= test.p_value <= 1
    assert math.isnan(test.p_value) == math.isnan(test.statistic)


@pytest.mark.parametrize(("values", "horizon"), [(np.zeros((3, 3)), 1), (np.zeros(20), 0)])
def test_a_table_or_a_horizon_of_zero_is_refused(values, horizon):
    with pytest.raises(ValueError, match="need"):
        diebold_mariano(values, horizon=horizon)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.one_of(number, st.just(math.nan))), max_size=40))
def test_means_by_date_equal_the_obvious_loop(pairs):
    days: dict[int, list[float]] = {}
    for day, value in pairs:
        days.setdefault(day, []).append(value)
    expected = []
    for day in sorted(days):
        known = [value for value in days[day] if not math.isnan(value)]
        expected.append(sum(known) / len(known) if known else math.nan)
    dates = np.datetime64("2024-01-01") + np.array([day for day, _ in pairs], dtype=int)
    result = by_date(np.array([value for _, value in pairs], dtype=float), dates)
    assert result.tolist() == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_values_and_dates_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="need the same"):
        by_date(np.zeros(3), np.zeros(2))
