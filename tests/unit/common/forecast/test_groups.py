"""Groups of windows, and the levels of their intervals against a loop over days and groups."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.prices.panel import SPEC, SYMBOLS, made_panel

from common.errors import BundleError
from common.forecast.conformal import GAMMA, GROUP_GAIN, GROUP_PRIOR, HIGHEST, LEVELS, Calibration, Outcomes
from common.forecast.groups import Groups
from common.network.channels import frozen
from common.prices.series import series_from_panel
from common.prices.windows import make_windows

HORIZONS = (1, 5)
START = np.datetime64("2024-01-01")
WINDOWS = make_windows(series_from_panel(made_panel(), SYMBOLS), SPEC)
FOUR = Groups((0.5,), (0.02,))


def outcomes(seed: int, count: int = 300, days: int = 40, groups: int = 4) -> Outcomes:
    """Scores of forecasts of unequal groups, the later ones harder to cover."""
    rng = np.random.default_rng(seed)
    group = np.minimum(rng.geometric(0.5, count) - 1, groups - 1)
    known = (START + rng.integers(0, days, (count, len(HORIZONS)))).astype("datetime64[D]")
    needed = rng.random(known.shape) ** (1 / (1 + group[:, None]))
    known[rng.random(known.shape) < 0.1] = np.datetime64("NaT")
    needed[rng.random(known.shape) < 0.1] = np.nan
    return Outcomes(known, needed, group)


def slow(found: Outcomes, until: np.datetime64, groups: int) -> list[list[list[float]]]:
    """Levels by group and horizon after an evening, one outcome at a time."""
    level = [[list(LEVELS) for _ in HORIZONS] for _ in range(groups)]
    for day in sorted({day for day in found.known.ravel() if day <= until}):
        for h in range(len(HORIZONS)):
            rows = [
                row
                for row in range(len(found.group))
                if found.known[row, h] == day and not np.isnan(found.needed[row, h])
            ]
            if not rows:
                continue
            before = [list(level[each][h]) for each in range(groups)]
            for place, nominal in enumerate(LEVELS):
                missed = [found.needed[row, h] > before[found.group[row]][place] for row in rows]
                pooled = sum(missed) / len(missed) - (1 - nominal)
                for each in range(groups):
                    own = [miss for miss, row in zip(missed, rows, strict=True) if found.group[row] == each]
                    excess = sum(own) / len(own) - (1 - nominal) if own else 0
                    step = pooled + GROUP_GAIN * len(own) / (len(own) + GROUP_PRIOR) * excess
                    level[each][h][place] = min(max(before[each][place] + GAMMA * step, 0), HIGHEST)
            for each in range(groups):
                for place in range(1, len(LEVELS)):
                    level[each][h][place] = max(level[each][h][place], level[each][h][place - 1])
    return level


@pytest.mark.parametrize("seed", range(3))
def test_levels_by_group_equal_the_loop_over_days_and_outcomes(seed):
    found = outcomes(seed)
    calibration = Calibration.nominal(HORIZONS, FOUR).extended(found)
    for day in (START - 1, START + 5, START + 300):
        for each, expected in enumerate(slow(found, day, 4)):
            assert calibration.on(np.array([day]), each)[0] == pytest.approx(np.array(expected), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 39))
def test_no_group_sees_a_later_outcome_of_any_group(seed, day):
    found = outcomes(seed, count=80)
    changed = Outcomes(
        found.known, np.where(found.known > START + day, 1 - found.needed, found.needed), found.group
    )
    evenings = START + np.arange(day + 1)
    for group in range(4):
        before, after = (
            Calibration.nominal(HORIZONS, FOUR).extended(each).on(evenings, group)
            for each in (found, changed)
        )
        assert np.array_equal(before, after)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 39))
def test_groups_learned_in_two_steps_are_learned_in_one(seed, day):
    found = outcomes(seed, count=80)
    known = np.where(found.known > START + day, np.datetime64("NaT"), found.known)
    whole = Calibration.nominal(HORIZONS, FOUR).extended(found)
    first = Calibration.nominal(HORIZONS, FOUR).extended(Outcomes(known, found.needed, found.group))
    stored = Calibration.from_dict(json.loads(json.dumps(first.as_dict())))
    again = stored.extended(found)
    assert np.array_equal(whole.dates, again.dates) and np.array_equal(whole.levels, again.levels)
    assert again.groups == FOUR


def test_each_group_is_covered_at_its_nominal_level_although_one_is_harder():
    rng = np.random.default_rng(3)
    days = np.repeat(START + np.arange(1500), 40).astype("datetime64[D]")
    group = np.tile(np.arange(40) % 4, 1500)
    needed = rng.random(len(days)) ** np.array([1, 0.5, 1, 1.5])[group]
    found = Outcomes(np.stack([days, days], 1), np.stack([needed, needed], 1), group)
    calibration = Calibration.nominal(HORIZONS, FOUR).extended(found)
    levels = calibration.on(days - 1, group)[:, 0]
    late = days > START + 500
    for each in range(4):
        rows = late & (group == each)
        for place, nominal in enumerate(LEVELS):
            assert (needed <= levels[:, place])[rows].mean() == pytest.approx(nominal, abs=0.01)
    assert (needed <= LEVELS[1])[group == 1].mean() < 0.83


def test_a_group_without_outcomes_moves_with_all_stocks_together():
    days = np.repeat(START + np.arange(50), 20).astype("datetime64[D]")
    needed = np.full(len(days), 0.999)
    one = np.zeros(len(days), dtype=int)
    found = Outcomes(days[:, None], needed[:, None], one)
    grouped = Calibration.nominal((1,), FOUR).extended(found).on(np.array([days[0]]), 3)
    alone = Calibration.nominal((1,)).extended(found).on(np.array([days[0]]))
    assert np.array_equal(grouped, alone)


def test_a_calibration_without_groups_is_stored_and_read_as_before():
    found = outcomes(1)
    single = Calibration.nominal(HORIZONS).extended(Outcomes(found.known, found.needed))
    stored = single.as_dict()
    assert "groups" not in stored and "asked_by_group" not in stored
    assert np.array(stored["asked"]).shape == (len(single.dates), len(HORIZONS), len(LEVELS))
    again = Calibration.from_dict(stored)
    assert len(again.groups) == 1
    assert np.array_equal(again.for_windows(WINDOWS), again.on(WINDOWS.cutoff))


def test_the_group_of_a_window_is_that_of_the_obvious_loop():
    groups = Groups.fit([WINDOWS])
    found, moving = groups.of(WINDOWS), []
    for row, end in enumerate(WINDOWS.end):
        returns = WINDOWS.series.log_return[end - SPEC.size + 2 : end + 1]
        moved, spread = np.mean([value != 0 for value in returns]), np.clip(returns.std(), 0.005, 0.06)
        moving.append((moved, spread))
        expected = 3 * sum(moved >= border for border in groups.moved)
        assert found[row] == expected + sum(spread >= border for border in groups.sigma)
    moving = np.array(moving)[~frozen(WINDOWS)]
    assert groups.moved == pytest.approx(np.quantile(moving[:, 0], [1 / 3, 2 / 3]))
    assert groups.sigma == pytest.approx(np.quantile(moving[:, 1], [1 / 3, 2 / 3]))
    assert len(groups) == 9 and set(found) <= set(range(9))


def test_the_borders_and_groups_do_not_depend_on_later_prices():
    day = np.unique(WINDOWS.cutoff)[80]
    early = WINDOWS.take(WINDOWS.cutoff <= day)
    later = np.where(WINDOWS.series.dates <= day, WINDOWS.series.log_return, 9.0)
    future = replace(early, series=replace(early.series, log_return=later))
    assert Groups.fit([early]) == Groups.fit([future])
    assert np.array_equal(FOUR.of(early), FOUR.of(future))


def test_no_moving_window_means_one_group():
    still = WINDOWS.take(frozen(WINDOWS))
    assert Groups.fit([still]) == Groups.fit([WINDOWS.take(slice(0, 0))]) == Groups()
    assert not Groups().of(WINDOWS).any()


@pytest.mark.parametrize(
    "change",
    [
        {"groups": {"moved": [0.5, 0.2], "sigma": [0.1]}},
        {"groups": {"moved": [float("nan")], "sigma": [0.02]}},
        {"groups": {"moved": []}},
        {"asked_by_group": [[1]]},
    ],
)
def test_altered_groups_are_refused(change):
    stored = Calibration.nominal(HORIZONS, FOUR).extended(outcomes(1)).as_dict() | change
    with pytest.raises(BundleError, match="calibration"):
        Calibration.from_dict(stored)
