"""Telling a split from a return."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.archive.actions import corporate_actions, describe_action

CLOSES = st.lists(st.floats(0.1, 5000), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("before", "after"),
    [(231, 40), (8.65, 2.6), (3.7, 6.9), (5.3, 10.35), (82, 14), (0.71, 5.32), (42.6, 24.85), (384.25, 240)],
)
def test_a_step_no_day_of_trading_could_make_is_an_action(before, after):
    assert corporate_actions(np.array([before, before, after, after])).tolist() == [False, False, True, False]


@pytest.mark.parametrize(("before", "after"), [(3.5, 5.24), (1.17, 1.0), (2.75, 4.9), (27.8, 20.25)])
def test_a_large_real_move_is_a_return(before, after):
    assert not corporate_actions(np.array([before, after])).any()


def test_an_unknown_close_is_stepped_over():
    assert corporate_actions(np.array([10, np.nan, 5, np.nan])).tolist() == [False, False, True, False]


@given(CLOSES)
def test_actions_equal_the_obvious_loop(closes):
    expected = [False] + [b / a <= 0.65 or b / a >= 1.8 for a, b in pairwise(closes)]
    assert corporate_actions(np.array(closes)).tolist() == expected


@given(CLOSES, st.integers(0, 30))
def test_later_rows_change_no_earlier_flag(closes, cut):
    actions = corporate_actions(np.array(closes))
    np.testing.assert_array_equal(corporate_actions(np.array(closes[:cut])), actions[:cut])


def test_no_closes_have_no_actions():
    assert corporate_actions(np.array([])).shape == (0,)


@pytest.mark.parametrize(
    ("ratio", "kind"),
    [
        (0.505, "split or bonus near 1:2"),
        (0.173, "split or bonus near 1:6"),
        (0.6246, "split or bonus near 3:5"),
        (1.953, "consolidation near 2:1"),
        (7.49, "consolidation near 8:1"),
        (0.3, "jump"),
    ],
)
def test_an_action_is_named_by_the_nearest_simple_ratio(ratio, kind):
    assert describe_action(ratio) == kind
