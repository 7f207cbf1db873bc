"""A run whose Ray cluster is lost reports it before Ray ends the process."""

from pathlib import Path

import pytest
import ray

from common.errors import RayUnavailable
from train.workers import fleet
from train.workers.fleet import LOST_S, Fleet


@pytest.fixture
def clock(monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(fleet.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def silent(monkeypatch, clock) -> Fleet:
    """A fleet whose queue no longer answers."""
    fleet = object.__new__(Fleet)
    fleet._run_dir, fleet._over_since, fleet._answered = Path("runs/one"), None, clock[0]

    def snapshot(self):
        raise ray.exceptions.GetTimeoutError("10 s")

    monkeypatch.setattr(Fleet, "snapshot", snapshot)
    return fleet


def test_a_queue_that_is_silent_for_a_while_may_be_restarting(silent, clock):
    clock[0] += LOST_S
    assert not silent._is_over()


def test_a_queue_that_stays_silent_is_lost(silent, clock):
    clock[0] += LOST_S + 1
    with pytest.raises(RayUnavailable, match=r"run one: Ray was lost: .* the same command continues"):
        silent._is_over()


def test_an_answer_counts_even_after_a_long_pause_of_this_process(silent, clock, monkeypatch):
    clock[0] += 10 * LOST_S
    monkeypatch.setattr(Fleet, "snapshot", lambda self: [{"state": "running"}])
    assert not silent._is_over()
    clock[0] += LOST_S
    assert silent._answered == clock[0] - LOST_S
