"""Trading days against the obvious walk through the calendar."""

import datetime as dt

import holidays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.exchange.calendar import Sessions

HOLIDAY = dt.date(2024, 1, 17)
KNOWN = [
    day
    for day in (dt.date(2024, 1, 1) + dt.timedelta(n) for n in range(40))
    if day.weekday() < 5 and day != HOLIDAY
]
SESSIONS = Sessions(np.array(KNOWN, dtype="datetime64[D]"))
PUBLIC = holidays.Kenya()
DAYS = st.integers(0, 80).map(lambda n: dt.date(2024, 1, 1) + dt.timedelta(n))


def is_session(day: dt.date) -> bool:
    """Real ones inside the data, weekdays that are no holiday before and after."""
    known = KNOWN[0] <= day <= KNOWN[-1]
    return day in KNOWN if known else day.weekday() < 5 and day not in PUBLIC


def walk(day: dt.date, step: int):
    while True:
        day += dt.timedelta(step)
        if is_session(day):
            yield day


@given(DAYS, st.integers(1, 60))
def test_the_target_is_so_many_sessions_ahead(day, horizon):
    steps = walk(day, 1)
    expected = [next(steps) for _ in range(horizon)][-1]
    assert SESSIONS.ahead(np.datetime64(day), horizon) == expected


@given(DAYS, st.integers(1, 60))
def test_the_sessions_up_to_a_day_end_with_it_and_have_the_requested_number(day, count):
    steps = walk(day + dt.timedelta(1), -1)
    expected = [next(steps) for _ in range(count)][::-1]
    assert SESSIONS.until(np.datetime64(day), count).astype(object).tolist() == expected


@given(DAYS, DAYS)
def test_sessions_between_two_days_are_counted(day, end):
    expected = sum(is_session(day + dt.timedelta(n)) for n in range(1, (end - day).days + 1))
    assert SESSIONS.between(np.datetime64(day), np.datetime64(end)) == expected


@pytest.mark.parametrize(("day", "expected"), [("2024-01-16", "2024-01-18"), ("2024-02-09", "2024-02-12")])
def test_a_past_holiday_is_known_and_a_weekend_ahead_is_left_out(day, expected):
    assert str(SESSIONS.ahead(np.datetime64(day), 1)) == expected


def test_easter_and_a_day_of_inauguration_ahead_are_left_out():
    assert str(SESSIONS.ahead(np.datetime64("2024-03-28"), 1)) == "2024-04-02"
    assert str(SESSIONS.ahead(np.datetime64("2024-10-31"), 1)) == "2024-11-04"
