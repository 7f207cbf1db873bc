"""The mixture's quantiles against a slow inversion of its distribution function, and the tick table."""

import math
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from common.exchange.ticks import round_to_tick
from common.network.mixture import OUTPUTS, TAUS, Mixture

SCORES = ndtri(TAUS)
levels = st.floats(0.02, 0.98)
chances = st.one_of(st.just(0.0), st.just(1.0), st.floats(0.02, 1.0))
gaps = st.lists(st.sampled_from([0.0, 0.05, 0.3, 1.0]), min_size=10, max_size=10)


def mixture(p_move: float, quantiles) -> Mixture:
    return Mixture(np.zeros((1, 1)), np.full((1, 1), p_move), np.asarray(quantiles, dtype=float)[None, None])


def given_move(score: float, quantiles) -> float:
    """The change given a move at a normal score: straight lines between the stored levels and beyond."""
    place = 0
    while place < len(SCORES) - 2 and score > SCORES[place + 1]:
        place += 1
    slope = (quantiles[place + 1] - quantiles[place]) / (SCORES[place + 1] - SCORES[place])
    return quantiles[place] + slope * (score - SCORES[place])


def share_up_to(x: float, quantiles) -> float:
    """P(change <= x | move), by bisecting the line."""
    low, high = -9.0, 9.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if given_move(middle, quantiles) <= x else (low, middle)
    return float(ndtr(low))


def slow_quantile(level: float, p_move: float, quantiles) -> float:
    """The smallest change whose cumulative probability reaches ``level``."""
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        reached = p_move * share_up_to(middle, quantiles) + (1 - p_move) * (middle >= 0) >= level
        low, high = (low, middle) if reached else (middle, high)
    return high


@settings(max_examples=150, deadline=None)
@given(st.floats(-4, 2), gaps, chances, levels)
@example(0.0, [0.0] * 10, 0.7, 0.5)
@example(-1.0, [0.05] * 10, 1.0, 0.5)
def test_a_quantile_is_the_inverse_of_the_distribution_function(first, steps, p_move, level):
    quantiles = first + np.concatenate([[0.0], np.cumsum(steps)])
    # Where the distribution function is flat just at the level, any change in the gap is a quantile.
    assume(abs(level - p_move * share_up_to(-1e-9, quantiles)) > 1e-6)
    found = mixture(p_move, quantiles).quantile(level)
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(slow_quantile(level, p_move, quantiles), abs=2e-5)


@settings(max_examples=100, deadline=None)
@given(st.floats(-4, 2), gaps, chances, st.lists(levels, min_size=2, max_size=6))
def test_quantiles_rise_with_the_level(first, steps, p_move, asked):
    made = mixture(p_move, first + np.concatenate([[0.0], np.cumsum(steps)]))
    found = [made.quantile(level)[0, 0] for level in sorted(asked)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(found))


@settings(max_examples=150, deadline=None)
@given(st.floats(-3, 1), st.lists(st.floats(0.02, 0.6), min_size=10, max_size=10), st.floats(0.02, 1))
def test_the_median_is_the_published_rule(first, steps, p_move):
    """The last price, unless p G(0) > .5 (the .5/p quantile of G) or p (1 - G(0)) > .5 (1 - .5/p)."""
    quantiles = first + np.concatenate([[0.0], np.cumsum(steps)])
    falls = share_up_to(0.0, quantiles)
    expected = 0.0
    if p_move * falls > 0.5:
        expected = given_move(float(ndtri(0.5 / p_move)), quantiles)
    elif p_move * (1 - falls) > 0.5:
        expected = given_move(float(ndtri(1 - 0.5 / p_move)), quantiles)
    assert mixture(p_move, quantiles).quantile(0.5)[0, 0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", [0.013, 0.05, 0.07, 0.33, 0.5, 0.61, 0.777, 0.95, 0.993])
@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (0.4, 0.7), (-6.0, 2.0), (3.0, 0.01)])
def test_a_normal_change_that_always_moves_has_exact_quantiles_between_and_beyond_the_levels(
    level, mean, spread
):
    made = mixture(1.0, mean + spread * SCORES)
    assert made.quantile(level)[0, 0] == pytest.approx(mean + spread * float(ndtri(level)), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(-1, 1), st.floats(0.1, 2), levels)
def test_a_normal_change_that_may_not_move_has_the_quantiles_of_the_formula(p_move, mean, spread, level):
    falls = p_move * float(ndtr(-mean / spread))
    if level < falls:
        expected = mean + spread * float(ndtri(level / p_move))
    elif level > falls + 1 - p_move:
        expected = mean + spread * float(ndtri((level - 1 + p_move) / p_move))
    else:
        expected = 0.0
    found = mixture(p_move, mean + spread * SCORES).quantile(level)[0, 0]
    assert found == pytest.approx(expected, abs=1e-7)


@settings(deadline=None)
@given(st.lists(st.floats(-8, 8), min_size=11, max_size=11), levels)
def test_a_price_that_never_moves_has_only_zero_quantiles(quantiles, level):
    assert mixture(0.0, sorted(quantiles)).quantile(level)[0, 0] == 0


@pytest.mark.parametrize("p_move", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("level", [0.02, 0.5, 0.98])
def test_quantiles_that_are_all_zero_give_zero(p_move, level):
    assert mixture(p_move, np.zeros(11)).quantile(level)[0, 0] == 0


@pytest.mark.parametrize(("value", "p_move", "expected"), [(2.0, 0.6, 2.0), (-2.0, 0.6, -2.0), (2.0, 0.4, 0)])
def test_a_change_of_one_size_is_the_median_if_it_is_more_likely_than_not(value, p_move, expected):
    assert mixture(p_move, np.full(11, value)).quantile(0.5)[0, 0] == expected


@settings(deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=11, max_size=11),
    st.permutations(range(11)),
    st.floats(0.05, 1),
    levels,
)
def test_crossing_quantiles_are_put_in_order(quantiles, order, p_move, level):
    outputs = np.zeros((2, 1, OUTPUTS))
    outputs[..., 0], outputs[..., 1], outputs[..., -1] = 0.7, p_move, 99.0
    outputs[0, 0, 2:-1] = sorted(quantiles)
    outputs[1, 0, 2:-1] = np.array(sorted(quantiles))[list(order)]
    made = Mixture.from_outputs(outputs)
    assert (made.mean == 0.7).all() and made.quantile(level)[0, 0] == made.quantile(level)[1, 0]


def test_a_broken_network_is_not_taken_for_the_naive_forecast():
    outputs = np.full((1, 1, OUTPUTS), np.nan)
    assert np.isnan(Mixture.from_outputs(outputs).quantile(0.5)).all()


def test_many_windows_and_horizons_at_once_equal_one_after_the_other():
    rng = np.random.default_rng(5)
    p_move, quantiles = rng.random((4, 3)), np.sort(rng.normal(0, 2, (4, 3, 11)), axis=-1)
    together = Mixture(np.zeros((4, 3)), p_move, quantiles)
    for level in (0.05, 0.4, 0.5, 0.9):
        alone = [
            [mixture(p_move[n, h], quantiles[n, h]).quantile(level)[0, 0] for h in range(3)] for n in range(4)
        ]
        assert (together.quantile(level) == np.array(alone)).all()


def tick_of(price: Decimal) -> Decimal:
    table = [(Decimal(5), "0.01"), (Decimal(10), "0.02"), (Decimal(50), "0.05"), (Decimal(500), "0.25")]
    return next((Decimal(tick) for below, tick in table if price < below), Decimal(1))


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.floats(0.0001, 5), st.floats(4.9, 60), st.floats(49, 5000)))
@example(4.999)
@example(5.0)
@example(5.01)
@example(9.999)
@example(10.0)
@example(10.025)
@example(49.98)
@example(50.0)
@example(499.9)
@example(500.0)
@example(500.5)
@example(0.0001)
def test_a_price_is_rounded_to_the_nearest_one_that_can_be_quoted(price):
    exact, tick = Decimal(price), tick_of(Decimal(price))
    found = float(round_to_tick(np.array([price]))[0])
    quoted = Decimal(repr(found))
    assert quoted % tick == 0, "not a multiple of the tick"
    assert quoted >= tick
    assert abs(quoted - exact) <= tick / 2 + Decimal("1e-9") or exact < tick / 2
    assert quoted % tick_of(quoted) == 0, "not a price in the band it was rounded into"


@settings(deadline=None)
@given(st.one_of(st.integers(1, 499).map(lambda n: n / 100), st.integers(251, 499).map(lambda n: n / 50)))
def test_a_price_on_the_tick_is_left_alone(price):
    assert round_to_tick(np.array([price]))[0] == price
    assert round_to_tick(round_to_tick(np.array([price])))[0] == price


def test_a_price_near_nothing_is_one_tick_and_an_unknown_one_stays_unknown():
    assert list(round_to_tick(np.array([1e-9, 0.0, 0.0049]))) == [0.01] * 3
    assert math.isnan(round_to_tick(np.array([math.nan]))[0])


@settings(max_examples=300, deadline=None)
@given(
    st.floats(-3, 1),
    st.lists(st.floats(0.02, 0.6), min_size=10, max_size=10),
    st.floats(0.02, 1),
    st.floats(-5, 5).map(lambda change: round(change, 2)),
)
def test_the_needed_level_is_where_the_interval_begins_to_hold_the_change(first, steps, p_move, change):
    made = mixture(p_move, first + np.concatenate([[0.0], np.cumsum(steps)]))
    needed = made.needed_level(np.full((1, 1), change))[0, 0]

    def holds(level: float) -> bool:
        low, high = (made.quantile((1 + side * level) / 2)[0, 0] for side in (-1, 1))
        return low - 1e-7 <= change <= high + 1e-7

    assert 0 <= needed <= 1
    if needed < 0.998:
        assert holds(needed + 1e-3)
    if needed > 2e-3:
        assert not holds(needed - 1e-3)


def test_the_needed_level_of_what_is_not_known_is_not_known():
    assert np.isnan(mixture(0.7, np.linspace(-1, 1, 11)).needed_level(np.full((1, 1), np.nan)))[0, 0]


@settings(max_examples=100, deadline=None)
@given(st.lists(levels, min_size=3, max_size=3), st.floats(0.1, 1))
def test_a_level_for_each_window_gives_what_each_gives_alone(asked, p_move):
    quantiles = np.linspace(-1.5, 1.2, 11)
    three = Mixture(np.zeros((3, 1)), np.full((3, 1), p_move), np.tile(quantiles, (3, 1, 1)))
    together = three.quantile(np.array(asked)[:, None])[:, 0]
    assert together.tolist() == [mixture(p_move, quantiles).quantile(level)[0, 0] for level in asked]
