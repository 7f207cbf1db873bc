"""The adaptive levels against a day-by-day loop, and what they promise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BundleError
from common.forecast import conformal
from common.forecast.conformal import GAMMA, HIGHEST, LEVELS, Calibration, Outcomes

HORIZONS = (1, 5)
START = np.datetime64("2024-01-01")


def outcomes(seed: int, count: int = 400, days: int = 60, spread: float = 1.0) -> Outcomes:
    """Scores of forecasts that came due on random days, some never."""
    rng = np.random.default_rng(seed)
    known = START + rng.integers(0, days, (count, len(HORIZONS)))
    needed = np.clip(rng.random((count, len(HORIZONS))) ** (1 / spread), 0, 1)
    never = rng.random(known.shape) < 0.1
    known = known.astype("datetime64[D]")
    known[never] = np.datetime64("NaT")
    needed[rng.random(known.shape) < 0.1] = np.nan
    return Outcomes(known, needed)


def slow(found: Outcomes, until: np.datetime64) -> list[list[float]]:
    """Levels after the evening ``until``, by the obvious loop over days, horizons and levels."""
    level = [list(LEVELS) for _ in HORIZONS]
    days = sorted(
        {d for d, s in zip(found.known.ravel(), found.needed.ravel(), strict=True) if s == s and d == d}
    )
    for day in days:
        if day > until:
            break
        for h in range(len(HORIZONS)):
            rows = found.known[:, h] == day
            scores = [score for score in found.needed[rows, h] if score == score]
            if scores:
                for place, nominal in enumerate(LEVELS):
                    missed = sum(score > level[h][place] for score in scores) / len(scores)
                    level[h][place] = min(max(level[h][place] + GAMMA * (missed - (1 - nominal)), 0), HIGHEST)
                for place in range(1, len(LEVELS)):
                    level[h][place] = max(level[h][place], level[h][place - 1])
    return level


@pytest.mark.parametrize("seed", range(5))
def test_levels_equal_the_day_by_day_loop(seed):
    found = outcomes(seed)
    calibration = Calibration.nominal(HORIZONS).extended(found)
    for day in (START - 1, START, START + 7, START + 33, START + 500):
        assert calibration.on(np.array([day]))[0] == pytest.approx(np.array(slow(found, day)), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 59))
def test_no_evening_sees_a_later_outcome(seed, day):
    found = outcomes(seed, count=80)
    later = found.known > START + day
    changed = Outcomes(found.known, np.where(later, 1 - found.needed, found.needed))
    before, after = (Calibration.nominal(HORIZONS).extended(each) for each in (found, changed))
    evenings = START + np.arange(day + 1)
    assert np.array_equal(before.on(evenings), after.on(evenings))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 59))
def test_learning_in_two_steps_is_learning_in_one(seed, day):
    found = outcomes(seed, count=80)
    first = Outcomes(np.where(found.known > START + day, np.datetime64("NaT"), found.known), found.needed)
    whole = Calibration.nominal(HORIZONS).extended(found)
    again = Calibration.nominal(HORIZONS).extended(first).extended(found)
    assert np.array_equal(whole.dates, again.dates) and np.array_equal(whole.levels, again.levels)


def test_levels_that_are_missed_too_often_rise_until_they_hold():
    """Scores drawn so that the nominal 90 % interval would hold only 81 %."""
    rng = np.random.default_rng(3)
    days = np.repeat(START + np.arange(1500), 30).astype("datetime64[D]")
    needed = np.clip(rng.random(len(days)) ** 0.5, 0, 1)
    found = Outcomes(np.stack([days, days], 1), np.stack([needed, needed], 1))
    calibration = Calibration.nominal(HORIZONS).extended(found)
    asked = calibration.on(days - 1)
    late = days > START + 500
    for place, nominal in enumerate(LEVELS):
        assert (needed <= asked[:, 0, place])[late].mean() == pytest.approx(nominal, abs=0.01)
    assert (needed <= LEVELS[1]).mean() < 0.83


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.2, 5))
def test_intervals_stay_nested(seed, spread):
    asked = Calibration.nominal(HORIZONS).extended(outcomes(seed, spread=spread)).levels
    assert (np.diff(asked, axis=-1) >= 0).all() and (asked >= 0).all() and (asked <= HIGHEST).all()


def test_a_stored_calibration_is_the_same_to_the_last_digit():
    calibration = Calibration.nominal(HORIZONS).extended(outcomes(1))
    again = Calibration.from_dict(json.loads(json.dumps(calibration.as_dict())))
    assert np.array_equal(again.dates, calibration.dates) and np.array_equal(again.levels, calibration.levels)
    assert Calibration.from_dict(Calibration.nominal(HORIZONS).as_dict()).on(np.array([START])).shape == (
        1,
        2,
        3,
    )


def test_a_stored_calibration_states_the_step_that_each_part_of_its_history_was_learned_with(monkeypatch):
    found = outcomes(1)
    with monkeypatch.context() as patch:
        patch.setattr(conformal, "GAMMA", 0.01)
        old = Calibration.nominal(HORIZONS).extended(found)
        stored = old.as_dict()
    assert stored["gamma"] == 0.01 and old.steps == ((str(old.dates[0]), 0.01),)
    before_steps = {name: value for name, value in stored.items() if name != "steps"}
    for document in (stored, before_steps):
        again = Calibration.from_dict(document)
        assert again.as_dict() == stored
        longer = again.extended(Outcomes(found.known + 90, found.needed)).as_dict()
        later = str(np.nanmin(found.known[np.isfinite(found.needed)] + 90))
        first = {"from": str(old.dates[0]), "gamma": 0.01}
        assert longer["steps"] == [first, {"from": later, "gamma": GAMMA}] and longer["gamma"] == GAMMA
    assert Calibration.nominal(HORIZONS).as_dict()["steps"] == []


@pytest.mark.parametrize("change", [{"levels": [0.5]}, {"asked": [[1]]}, {"dates": None}, {"horizons": 3}])
def test_a_calibration_that_was_altered_is_refused(change):
    stored = Calibration.nominal(HORIZONS).extended(outcomes(1)).as_dict() | change
    with pytest.raises(BundleError, match="calibration"):
        Calibration.from_dict(stored)
