"""Caps on bodies and batches, and a rate for each client."""

import asyncio
import threading
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from support.serving.server import Client

from common.errors import BadRequest, ConfigError, TooManyRequests
from serve.deployments.router import http_service
from serve.ingress.app import make_api
from serve.ingress.identity import RateLimit
from serve.ingress.middleware import BodyCap
from serve.ingress.responses import PACKED_IN_THREAD_FROM
from serve.model_client.client import ModelClient
from serve.settings import Limits, ServeSettings


class Rate:
    """A `RateLimit` for tests that are not asynchronous."""

    def __init__(self, forecasts_per_minute: int) -> None:
        self._rate = RateLimit(forecasts_per_minute)

    def hit(self, client: str, cost: int = 1) -> None:
        asyncio.run(self._rate.hit(client, cost))


def test_a_client_has_its_forecasts_a_minute_and_then_is_told_when_to_come_again():
    rate = Rate(forecasts_per_minute=5)
    for _ in range(5):
        rate.hit("a")
    with pytest.raises(TooManyRequests, match="more than 5 forecasts a minute") as caught:
        rate.hit("a")
    assert caught.value.http_status == 429 and 0 < caught.value.context["retry_after_s"] <= 60


def test_clients_do_not_share_a_rate():
    rate = Rate(forecasts_per_minute=1)
    rate.hit("a")
    rate.hit("b")
    with pytest.raises(TooManyRequests):
        rate.hit("a")


def test_a_batch_counts_its_symbols_and_one_that_can_never_pass_says_so():
    rate = Rate(forecasts_per_minute=10)
    rate.hit("a", 8)
    with pytest.raises(TooManyRequests):
        rate.hit("a", 8)
    with pytest.raises(BadRequest, match="11 forecasts in one request, at most 10 a minute"):
        rate.hit("b", 11)


def test_a_request_for_every_stock_costs_a_minutes_worth_at_most():
    rate = RateLimit(10)
    assert rate.at_most(3) == 3
    asyncio.run(rate.hit("a", rate.at_most(10_000)))
    with pytest.raises(TooManyRequests):
        asyncio.run(rate.hit("a"))


def test_a_minute_later_it_may_again(monkeypatch):
    rate, clock = Rate(forecasts_per_minute=1), [1_000_000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    rate.hit("a")
    with pytest.raises(TooManyRequests) as caught:
        rate.hit("a")
    clock[0] += caught.value.context["retry_after_s"] + 0.001
    rate.hit("a")


def test_no_rate_means_no_limit():
    rate = Rate(forecasts_per_minute=0)
    for _ in range(50):
        rate.hit("a", 1_000)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, 0),
        ({"keys": "keys.json"}, 6_000),
        ({"keys": "keys.json", "loopback": False}, 6_000),
        ({"trusted_proxies": ["10.0.0.1"]}, 6_000),
        ({"allowed_hosts": ["nse.example"]}, 6_000),
        ({"limits": {"forecasts_per_minute": 5}}, 5),
        ({"keys": "keys.json", "limits": {"forecasts_per_minute": 0}}, 0),
    ],
)
def test_only_a_server_of_its_own_machine_has_no_limit_unless_one_is_set(settings, limit):
    chosen = ServeSettings.parse(settings)
    assert chosen.forecasts_per_minute == limit
    assert ServeSettings.parse(chosen.model_dump(mode="json")).forecasts_per_minute == limit
    assert chosen.changed({"limits": {"batch_symbols": 8}}).forecasts_per_minute == limit


def test_without_keys_only_clients_of_this_machine_have_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("serve.ingress.forecast_routes.SHARED_RATE", 1)
    settings = ServeSettings(home=str(tmp_path), access_log="off", behind_haproxy=True)
    client = Client(http_service(ModelClient(None, None, settings)))

    def status(address: str) -> int:
        headers = {"X-Forwarded-For": address}
        return client.post("/api/v4/predict", headers=headers, json={"symbol": "SCOM"}).status_code

    local, other = ["127.0.0.1", "::1", "127.0.0.1", "::1"], ["203.0.113.5", "203.0.113.5", "203.0.113.6"]
    assert [status(address) for address in local] == [503] * 4  # there is no release, hence 503
    assert [status(address) for address in other] == [503, 429, 503]


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


def answered(chunks: int, app: Any, most: int = 1_000_000) -> list[Message]:
    """What is sent for a body of that many chunks of one byte."""
    sent: list[Message] = []
    left = chunks

    async def receive() -> Message:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"x", "more_body": left > 0}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    asyncio.run(BodyCap(app, most)(scope, receive, send))
    return sent


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    """Read all of the body, and return how many messages it came in, and its length."""
    messages, size, more = 0, 0, True
    while more:
        message = await receive()
        messages, size, more = messages + 1, size + len(message["body"]), message["more_body"]
    await send({"type": "read", "messages": messages, "size": size})


def test_a_body_in_very_many_chunks_goes_on_whole_as_one_message():
    assert answered(50_000, reads) == [{"type": "read", "messages": 1, "size": 50_000}]


def test_the_work_for_a_body_grows_with_its_chunks_and_not_with_their_square():
    def seconds(chunks: int) -> float:
        times = []
        for _ in range(3):
            started = time.process_time()
            answered(chunks, reads)
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(160_000) < 24 * seconds(20_000)  # 8 times the chunks; their square would be 64


def test_very_many_small_chunks_take_no_more_memory_than_a_few_times_the_body():
    tracemalloc.start()
    try:
        answered(100_000, reads)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_client_that_goes_away_in_the_middle_of_its_body_is_seen_to_be_gone():
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([await receive(), await receive()])

    messages = [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "path": "/", "headers": [(b"transfer-encoding", b"chunked")]}
    asyncio.run(BodyCap(app, 1_000)(scope, receive, send))
    assert seen == [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.disconnect"},
    ]


@pytest.mark.parametrize(("size", "threaded"), [(PACKED_IN_THREAD_FROM - 100, False), (60_000, True)])
def test_a_large_answer_is_compressed_by_a_thread(tmp_path, monkeypatch, size, threaded):
    model_client = ModelClient(None, None, ServeSettings(home=str(tmp_path), access_log="off"))
    api, threads, loop = make_api(model_client), set(), []

    @api.get("/large")
    async def large() -> PlainTextResponse:
        loop.append(threading.get_ident())
        return PlainTextResponse("x" * size)

    def spy(*arguments: Any, make: Any = zlib.compressobj) -> Any:
        threads.add(threading.get_ident())
        return make(*arguments)

    monkeypatch.setattr("starlette.middleware.gzip.zlib.compressobj", spy)
    answer = Client(api).get("/large", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip" and answer.text == "x" * size
    assert len(threads) == 1 and (threads != set(loop)) is threaded
