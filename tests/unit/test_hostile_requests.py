"""Arbitrary requests to the application get a valid response, or a refusal that says what to send."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from support.serving.hostile import Case, cases
from support.serving.hostile_application import Application, application, problem_with

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@pytest.fixture(scope="module")
def app() -> Iterator[Application]:
    with application() as running:
        yield running


def test_every_request_gets_a_valid_response_or_a_refusal_that_says_what_to_send(app):
    statuses: Counter[int] = Counter()

    @settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
    @given(cases(app.paths))
    def ask(case: Case) -> None:
        answer = app.ask(case)
        statuses[answer.status_code] += 1
        assert not problem_with(answer), case

    ask()
    assert statuses[200] > 20 and statuses[400] and statuses[422]  # all refused would be hardly a test
