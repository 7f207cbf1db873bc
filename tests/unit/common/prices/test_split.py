"""The chronological split into training, validation and test part."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.prices.panel import SPEC, SYMBOLS, made_panel

from common.errors import ConfigError
from common.presets import SplitSpec
from common.prices.series import series_from_panel
from common.prices.windows import Boundaries, boundaries, make_windows

PANEL = made_panel()
DATES = PANEL.dates.to_numpy().astype("datetime64[D]")
WINDOWS = make_windows(series_from_panel(PANEL, SYMBOLS), SPEC)


def sessions(count: int) -> np.ndarray:
    return pd.bdate_range("2020-01-01", periods=count).to_numpy().astype("datetime64[D]")


@settings(max_examples=200, deadline=None)
@given(st.integers(30, 400), st.integers(50, 85), st.integers(5, 14))
@example(100, 57, 10)
@example(100, 70, 10)
def test_the_parts_hold_their_share_of_the_sessions(count, train_percent, valid_percent):
    dates = sessions(count)
    result = boundaries(dates, SplitSpec(train_share=train_percent / 100, valid_share=valid_percent / 100))
    train = int((dates <= result.train_end).sum())
    before_test = int((dates <= result.valid_end).sum())
    assert train == math.floor(Fraction(train_percent, 100) * count)
    assert before_test == math.floor(Fraction(train_percent + valid_percent, 100) * count)
    assert result.test_end == dates[-1]


def test_explicit_dates_win_over_shares_and_need_not_be_sessions():
    dates = sessions(100)
    spec = SplitSpec(train_share=0.5, train_end="2020-03-01", valid_end="2020-04-05")
    result = boundaries(dates, spec)
    assert (str(result.train_end), str(result.valid_end)) == ("2020-03-01", "2020-04-05")
    assert result.test_end == dates[-1]


@pytest.mark.parametrize(
    "ends",
    [("2019-01-01", "2020-02-03"), ("2020-02-03", "2024-01-01"), ("2018-01-01", "2018-02-01")],
)
def test_explicit_dates_that_leave_a_part_empty_are_refused(ends):
    with pytest.raises(ConfigError, match="must lie in order inside the data"):
        boundaries(sessions(100), SplitSpec(train_end=ends[0], valid_end=ends[1]))


def test_the_last_session_as_valid_end_leaves_no_test_part_and_is_refused():
    dates = sessions(100)
    data = f"inside the data, {dates[0]} to {dates[-1]}, and leave a test part"
    with pytest.raises(ConfigError, match=data):
        boundaries(dates, SplitSpec(train_end="2020-02-03", valid_end=str(dates[-1])))


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("spec", [SplitSpec(), SplitSpec(train_end="2020-01-01", valid_end="2020-01-02")])
def test_too_few_sessions_for_a_split_are_refused(count, spec):
    with pytest.raises(ConfigError, match=f"need at least 3 sessions, got {count}"):
        boundaries(sessions(count), spec)


def test_the_shortest_split_has_one_session_in_each_part():
    dates = sessions(3)
    result = boundaries(dates, SplitSpec(train_share=0.1, valid_share=0.1))
    assert (result.train_end, result.valid_end, result.test_end) == tuple(dates)


def test_a_share_that_leaves_no_session_for_validation_is_refused():
    with pytest.raises(ConfigError, match="must lie in order inside the data"):
        boundaries(sessions(3), SplitSpec(train_share=0.8, valid_share=0.1))


def test_the_first_session_alone_may_be_the_training_part_and_the_one_before_the_last_end_validation():
    dates = sessions(10)
    result = boundaries(dates, SplitSpec(train_end=str(dates[0]), valid_end=str(dates[-2])))
    assert (result.train_end, result.valid_end, result.test_end) == (dates[0], dates[-2], dates[-1])
    day_before = str(dates[0] - 1)
    with pytest.raises(ConfigError, match="must lie in order inside the data"):
        boundaries(dates, SplitSpec(train_end=day_before, valid_end=str(dates[-2])))


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 100), st.integers(1, 40))
def test_a_target_belongs_to_one_part_and_no_target_spans_two(train_day, more):
    days, windows = DATES, WINDOWS
    limits = Boundaries(days[train_day], days[train_day + more], days[-1])
    change, cutoffs, targets = windows.change, windows.cutoff, windows.target_date
    parts = limits.parts(windows)
    owned = [
        {
            (int(part.end[row]), column)
            for row, column in zip(*np.nonzero(np.isfinite(part.change)), strict=True)
        }
        for part in parts
    ]
    expected: list[set] = [set(), set(), set()]
    for row in range(len(windows)):
        for column in range(len(SPEC.horizons)):
            if math.isnan(change[row, column]):
                continue
            cutoff, target = cutoffs[row], targets[row, column]
            if target <= limits.train_end:
                expected[0].add((int(windows.end[row]), column))
            elif cutoff >= limits.train_end and target <= limits.valid_end:
                expected[1].add((int(windows.end[row]), column))
            elif cutoff >= limits.valid_end:
                expected[2].add((int(windows.end[row]), column))
    assert owned == expected
    for part in parts:
        assert np.isfinite(part.change).any(axis=1).all()


def test_every_change_of_a_part_is_that_of_the_same_window_before_the_split():
    expected = {int(end): change for end, change in zip(WINDOWS.end, WINDOWS.change, strict=True)}
    days = np.unique(WINDOWS.cutoff)
    for part in Boundaries(days[60], days[90], days[-1]).parts(WINDOWS):
        for end, change in zip(part.end, part.change, strict=True):
            seen = np.isfinite(change)
            assert (change[seen] == expected[int(end)][seen]).all()
