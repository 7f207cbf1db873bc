"""Faults of a real server under load, in their short form: nothing fails twice, no answer mixes releases."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_release import made_exchange

from cluster.chaos.disk import publish_killed
from cluster.chaos.faults import Bench, killed, reloaded, steady
from cluster.chaos.home import prepared
from cluster.chaos.result import Row
from cluster.chaos.server import served
from cluster.chaos.traffic import Traffic
from common.model.release import Release

pytestmark = pytest.mark.integration
A_SECOND = 25.0


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return made_exchange(tmp_path_factory.mktemp("source"), "made", shift=0.3)


@pytest.fixture(scope="module")
def bench(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("home")
    releases = prepared(release, home)
    with served(home) as server:
        yield Bench(server, Traffic(home, releases), home, releases, A_SECOND, rng=random.Random(3))


def test_steady_mixed_requests_all_get_the_releases_own_forecasts(bench: Bench):
    row = steady(bench, 5)
    assert row.passed and row.statuses == {"200": row.requests} and row.requests > 2 * A_SECOND, row


def test_replicas_and_a_router_that_are_killed_cost_no_request_more_than_a_second_try(bench: Bench):
    row = killed(bench, ("SpecificModel", "GeneralModel", "Router"), 3, name="replicas")
    assert row.passed and row.failed_twice == row.wrong == 0 and row.requests > A_SECOND, row


def test_releases_promoted_in_turn_cost_no_request_and_each_answer_is_of_one(bench: Bench):
    row = reloaded(bench, 4)
    assert row.passed and row.failed == row.wrong == 0 and row.requests > A_SECOND, row


def test_publishing_that_is_killed_anywhere_leaves_only_what_loads(release: Release, tmp_path: Path):
    row: Row = publish_killed(release, tmp_path, 5)
    assert row.passed, row.note
