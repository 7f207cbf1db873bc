"""Retries of the HTTP clients: which failures, how often, how long."""

import json
import time

import pytest
from support.serving.client import GOOD, HEALTH, QUICK

from common.errors import BadRequest, BundleError, Busy, Forbidden, NsecastError, TooManyRequests
from serve.client import BadResponse, RetryPolicy, Unavailable
from serve.client.retry import RetryLoop

PROBLEM = {"Content-Type": "application/problem+json"}


def test_too_busy_is_tried_again_not_before_retry_after(script, kind):
    busy = json.dumps(
        {"type": "urn:nsecast:overloaded", "title": "Overloaded", "status": 503, "detail": "busy"}
    )
    script.answers = [(503, PROBLEM | {"Retry-After": "1"}, busy.encode()), GOOD]
    assert kind(script.url, retry=QUICK).health().release == "made"
    first, second = script.times
    assert second - first >= 1.0


def test_a_wait_beyond_the_deadline_is_not_begun(script, kind):
    body = json.dumps({"type": "urn:nsecast:too-many-requests", "status": 429, "detail": "come in an hour"})
    script.answers = [(429, PROBLEM | {"Retry-After": "3600"}, body.encode())]
    with pytest.raises(TooManyRequests, match="come in an hour") as caught:
        kind(script.url, retry=QUICK).health()
    assert len(script.requests) == 1
    assert caught.value.context["retry_after_s"] == 3600


@pytest.mark.parametrize(
    ("answer", "error", "tries"),
    [
        ((500, PROBLEM, b'{"type": "urn:nsecast:x", "status": 500, "detail": "ours"}'), NsecastError, 1),
        ((423, PROBLEM, b'{"type": "urn:nsecast:busy", "status": 423, "detail": "a refresh"}'), Busy, 5),
        ((423, {}, b"locked"), Busy, 5),
        ((502, {}, b"<html>Bad Gateway</html>"), Unavailable, 5),
        ((503, PROBLEM, b"{"), Unavailable, 5),
        ((503, PROBLEM, b'{"type": "urn:nsecast:bundle-error", "detail": "d"}'), BundleError, 5),
        ((403, PROBLEM, b'{"type": "urn:nsecast:forbidden", "status": 403, "detail": "no"}'), Forbidden, 1),
        ((418, PROBLEM, b'{"type": "urn:nsecast:teapot", "status": 418, "detail": "tea"}'), BadRequest, 1),
        ((404, {"Content-Type": "text/html"}, b"<h1>Not here</h1>"), BadResponse, 1),
        ((302, {"Location": "http://127.0.0.1:9/steal"}, b""), BadResponse, 1),
        ((200, {}, b"{"), BadResponse, 1),
        ((200, {}, b'{"status": "ok"}'), BadResponse, 1),
        ((200, {"Content-Encoding": "gzip"}, b"not gzip"), Unavailable, 5),
        ((0, {}, b""), Unavailable, 5),
    ],
)
def test_every_failure_is_an_nsecast_error_and_only_temporary_ones_are_retried(
    script, kind, answer, error, tries
):
    script.answers = [answer]
    with pytest.raises(error) as caught:
        kind(script.url, key="secret", retry=QUICK).health()
    assert len(script.requests) == tries and caught.value.message
    assert "secret" not in caught.value.message


def test_a_server_that_comes_back_is_used_again(script, kind):
    script.answers = [(0, {}, b""), (0, {}, b""), GOOD]
    assert kind(script.url, retry=QUICK).health().release == "made"


def test_no_server_says_so_and_names_the_address(kind):
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9: .*`nsecast serve` starts one"):
        kind("http://127.0.0.1:9", retry=RetryPolicy(deadline_s=1, tries=2, base_s=0.01)).health()


def test_an_answer_that_drips_ends_with_the_deadline(script, kind):
    script.answers = [(-1, {}, HEALTH)]
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no complete response within 0\.7 s"):
        kind(script.url, retry=RetryPolicy(deadline_s=0.7, timeout_s=20)).health()
    assert 0.6 < time.monotonic() - began < 0.2 * len(HEALTH), "it would drip for longer"


def test_the_deadline_holds_for_all_tries_together(script, kind):
    script.answers = [(503, {"Retry-After": "0"}, b"")]
    policy = RetryPolicy(deadline_s=0.8, tries=1_000, base_s=0.1, longest_s=0.1)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        kind(script.url, retry=policy).health()
    assert time.monotonic() - began < 60, "a thousand tries would take longer"
    assert len(script.requests) > 1


def test_no_try_begins_after_the_deadline_by_the_clients_own_clock():
    now, waits = [0.0], []
    policy = RetryPolicy(deadline_s=0.8, tries=1_000, base_s=0.1, longest_s=0.1)
    tries = RetryLoop(policy, clock=lambda: now[0], drawn=lambda low, high: high)
    with pytest.raises(Unavailable):
        while True:
            waits.append(tries.wait_s(Unavailable("gone")))
            now[0] += waits[-1] + 0.01
    assert len(waits) == 7 and now[0] < 0.8


def test_a_retry_waits_for_retry_after_plus_at_most_the_drawn_wait():
    tries = RetryLoop(
        RetryPolicy(deadline_s=60, base_s=0.25), clock=lambda: 0.0, drawn=lambda low, high: high
    )
    assert tries.wait_s(Unavailable("busy", retry_after_s=1.0)) == 1.25


def test_waits_are_drawn_from_a_bound_that_doubles_up_to_a_limit():
    bounds, error = [], Unavailable("gone")

    def drawn(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    tries = RetryLoop(
        RetryPolicy(deadline_s=1e6, tries=8, base_s=1, longest_s=10), clock=lambda: 0.0, drawn=drawn
    )
    assert [tries.wait_s(error) for _ in range(7)] == [1, 2, 4, 8, 10, 10, 10]
    assert {low for low, _ in bounds} == {0.0}
    with pytest.raises(Unavailable):
        tries.wait_s(error)
