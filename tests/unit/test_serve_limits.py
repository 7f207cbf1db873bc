"""Caps on bodies and batches, and a rate for each client."""

import pytest
from fastapi import FastAPI, Request
from made_client import Client

from common.errors import BadRequest, ConfigError, TooManyRequests
from serve.limits import BodyCap, Limits, RateLimit


def test_a_client_has_its_forecasts_a_minute_and_then_is_told_when_to_come_again():
    rate = RateLimit(Limits(forecasts_per_minute=5))
    for _ in range(5):
        rate.hit("a")
    with pytest.raises(TooManyRequests, match="more than 5 forecasts a minute") as caught:
        rate.hit("a")
    assert caught.value.http_status == 429 and 0 < caught.value.context["retry_after_s"] <= 60


def test_clients_do_not_share_a_rate():
    rate = RateLimit(Limits(forecasts_per_minute=1))
    rate.hit("a")
    rate.hit("b")
    with pytest.raises(TooManyRequests):
        rate.hit("a")


def test_a_batch_counts_its_symbols_and_one_that_can_never_pass_says_so():
    rate = RateLimit(Limits(forecasts_per_minute=10))
    rate.hit("a", 8)
    with pytest.raises(TooManyRequests):
        rate.hit("a", 8)
    with pytest.raises(BadRequest, match="11 forecasts in one request, at most 10 a minute"):
        rate.hit("b", 11)


def test_a_request_for_every_stock_costs_a_minutes_worth_at_most():
    rate = RateLimit(Limits(forecasts_per_minute=10))
    assert rate.at_most(3) == 3
    rate.hit("a", rate.at_most(10_000))
    with pytest.raises(TooManyRequests):
        rate.hit("a")


def test_a_minute_later_it_may_again(monkeypatch):
    rate, clock = RateLimit(Limits(forecasts_per_minute=1)), [1_000_000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    rate.hit("a")
    with pytest.raises(TooManyRequests) as caught:
        rate.hit("a")
    clock[0] += caught.value.context["retry_after_s"] + 0.001
    rate.hit("a")


def test_no_rate_means_no_limit():
    rate = RateLimit(Limits(forecasts_per_minute=0))
    for _ in range(50):
        rate.hit("a", 1_000)


def test_a_batch_beyond_the_cap_is_refused():
    Limits(batch_symbols=3).check_batch(3)
    with pytest.raises(BadRequest, match="got 4 symbols, at most 3 are allowed"):
        Limits(batch_symbols=3).check_batch(4)


def test_settings_out_of_bounds_are_an_error_that_names_them():
    with pytest.raises(ConfigError, match="batch_symbols"):
        Limits.parse({"batch_symbols": 1_000})
    with pytest.raises(ConfigError, match="no such setting"):
        Limits.parse({"bodybytes": 1})


@pytest.fixture(scope="module")
def client() -> Client:
    app = FastAPI()

    @app.post("/")
    async def size(request: Request) -> int:
        return len(await request.body())

    return Client(BodyCap(app, 1_000))


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1_000, 200), (1_001, 413), (100_000, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_cap_is_a_413_whether_it_says_its_length_or_not(client, size, status, chunked):
    body = b"x" * size

    async def parts():
        for start in range(0, size, 300):
            yield body[start : start + 300]

    answer = client.post("/", content=parts() if chunked else body)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == size
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].startswith("body: more than 1,000 bytes.")
