"""Requests of the last minutes, against a list of them and the obvious count."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.observability.metrics import LATENCIES_KEPT, SLICE_S, SLICES, Traffic, quantile


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


REQUEST = st.tuples(st.floats(0, 9), st.floats(0.1, 500), st.booleans(), st.booleans())


@given(st.lists(REQUEST, max_size=60))
def test_slices_are_the_obvious_count_of_what_came_in_them(requests):
    clock, seen = Clock(), []
    traffic = Traffic(clock)
    for pause, took, forecasts, failed in requests:
        clock.now += pause
        traffic.add(took, called_model=forecasts, failed=failed)
        seen.append((int(clock.now // SLICE_S), took, forecasts, failed))
    clock.now += SLICE_S
    slices = traffic.slices()
    assert [item["at"] for item in slices] == list(
        range(slices[0]["at"], int(clock.now // SLICE_S) * SLICE_S, SLICE_S)
    )
    for entry in slices:
        mine = [request for request in seen if request[0] * SLICE_S == entry["at"]]
        took = sorted(took for _, took, item, _ in mine if item)
        assert entry["forecasts"] == len(took) and entry["other"] == len(mine) - len(took)
        assert entry["errors"] == sum(failed for *_, failed in mine)
        median = np.quantile(took, 0.5, method="inverted_cdf") if took else None
        assert entry["p50_ms"] == (None if median is None else pytest.approx(median, abs=6e-4))
        assert (entry["p99_ms"] is None) == (not took)


def test_ten_minutes_are_kept_and_an_idle_night_costs_nothing():
    clock = Clock()
    traffic = Traffic(clock)
    traffic.add(5, called_model=True, failed=False)
    clock.now += 30 * 86_400
    slices = traffic.slices()
    assert len(slices) == SLICES and sum(item["forecasts"] for item in slices) == 0
    assert slices[-1]["at"] == int(clock.now // SLICE_S) * SLICE_S - SLICE_S
    assert [b["at"] - a["at"] for a, b in itertools.pairwise(slices)] == [SLICE_S] * (SLICES - 1)


def test_the_current_slice_is_not_reported():
    clock = Clock()
    traffic = Traffic(clock)
    traffic.add(5, called_model=True, failed=False)
    assert traffic.slices() == []


def test_in_a_busy_slice_all_requests_are_counted_and_a_sample_is_timed():
    clock = Clock()
    traffic = Traffic(clock)
    for place in range(LATENCIES_KEPT + 500):
        traffic.add(1.0 if place < LATENCIES_KEPT else 1e6, called_model=True, failed=False)
    clock.now += SLICE_S
    (result,) = traffic.slices()
    assert result["forecasts"] == LATENCIES_KEPT + 500 and result["p99_ms"] == 1


def test_a_clock_set_back_breaks_nothing():
    clock = Clock()
    traffic = Traffic(clock)
    clock.now -= 3_600
    traffic.add(5, called_model=True, failed=False)
    assert traffic.slices() == []


def test_a_quantile_of_nothing_is_none():
    assert quantile([], 0.5) is None and quantile([3.0], 0.99) == 3
