"""Rates that several routers share, in a real Redis server; and what happens without it."""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.connect.ports import free_port
from common.errors import ConfigError, TooManyRequests
from serve.app import build_app
from serve.ingress.rate_limit import RETRY_S, RateLimit
from serve.ingress.rate_storage import check_rate_storage
from serve.settings import Limits, ServeSettings, redacted_url


@contextlib.contextmanager
def redis_server(folder: Path, port: int, *options: str) -> Iterator[str]:
    """Run a Redis server on loopback, in memory only; yields its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        reason = "redis-server is not installed (Debian: apt-get install redis-server)"
        pytest.fail(reason) if os.environ.get("NSECAST_NO_SKIPS") == "1" else pytest.skip(reason)
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
    with subprocess.Popen([binary, *words], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while not answers(port):
                assert process.poll() is None and time.monotonic() < deadline, "Redis does not start"
                time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(b"PING\r\n")
        return link.recv(64)[:1] in b"+-"
    return False


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis"), free_port()) as url:
        yield url


def router(url: str, per_minute: int = 3, **more: object) -> RateLimit:
    return RateLimit(Limits(forecasts_per_minute=per_minute, rate_storage=url), **more)


async def refused(rate: RateLimit, client: str, cost: int = 1) -> bool:
    try:
        await rate.hit(client, cost)
    except TooManyRequests as error:
        assert 0 < error.context["retry_after_s"] <= 60
        return True
    return False


def test_two_routers_share_the_rate_of_a_client_in_redis_and_not_in_memory(redis_url):
    async def hits(url: str) -> list[bool]:
        one, two = router(url), router(url)
        return [await refused(rate, "a") for rate in (one, two, one, two, one)]

    assert asyncio.run(hits(redis_url)) == [False, False, False, True, True]
    assert asyncio.run(hits("memory://")) == [False] * 5


def test_clients_do_not_share_a_rate_in_redis_and_a_batch_counts_its_forecasts(redis_url):
    async def hits() -> list[bool]:
        one, two = router(redis_url, 10), router(redis_url, 10)
        seen = [await refused(one, "b", 8), await refused(two, "b", 8), await refused(two, "c", 8)]
        return [*seen, await refused(one, "2001:db8::1/x", 8)]

    assert asyncio.run(hits()) == [False, True, False, False]


def test_while_redis_does_not_answer_the_event_loop_goes_on(tmp_path):
    """A server that accepts connections and says nothing, as one whose machine hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rate = router(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        async def others() -> int:
            turns, waiting = 0, asyncio.ensure_future(refused(rate, "a"))
            while not waiting.done():
                await asyncio.sleep(0.005)
                turns += 1
            assert waiting.result() is False
            return turns

        assert asyncio.run(others()) > 5


def test_a_lost_redis_is_logged_once_counted_without_and_taken_up_again(tmp_path, caplog):
    port, now = free_port(), [0.0]
    with caplog.at_level(logging.WARNING, logger="serve.ingress.rate_limit"):

        async def outage() -> None:
            with redis_server(tmp_path, port) as url:
                one, two = router(url, clock=lambda: now[0]), router(url, clock=lambda: now[0])
                assert [await refused(rate, "a") for rate in (one, two, one, two)] == [False] * 3 + [True]
            lost = [await refused(rate, "a") for rate in (one, one, one, one, two)]
            assert lost == [False] * 3 + [True, False], "each router counts for itself"
            assert len(caplog.records) == 2, "once in each router"
            assert f"127.0.0.1:{port}" in caplog.text and "lost" in caplog.text
            with redis_server(tmp_path, port):
                assert await refused(one, "a"), "not tried again yet"
                now[0] += RETRY_S
                hits = [await refused(rate, "a") for rate in (one, two, one, two)]
                assert hits == [False] * 3 + [True], "shared again"
            again = [record for record in caplog.records if "reachable again" in record.message]
            assert len(again) == 2 and len(caplog.records) == 4

        asyncio.run(outage())


def test_a_lost_redis_is_tried_by_one_request_and_not_by_all(monkeypatch):
    now, tried = [0.0], []
    rate = router(f"redis://127.0.0.1:{free_port()}/0", 100, clock=lambda: now[0])

    async def fails(limiter: object, client: str, cost: int) -> float:
        if limiter is not rate._shared:
            return 0.0
        tried.append(client)
        await asyncio.sleep(0)
        raise TimeoutError

    monkeypatch.setattr(rate, "_count", fails)

    async def burst() -> None:
        await rate.hit("first")
        await asyncio.gather(*(rate.hit("early") for _ in range(5)))
        now[0] += RETRY_S
        await asyncio.gather(*(rate.hit("later") for _ in range(5)))

    asyncio.run(burst())
    assert tried == ["first", "later"]


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:6379", "redsi://localhost:6379", "http://localhost:6379", "memcached://localhost:1"),
        *("redis://", "redis://localhost", "redis://localhost:x", "redis://localhost:99999", "memory://x"),
        *("redis://localhost:6379/db", "redis://:1", "redis+unix://", "async+redis://localhost:1"),
    ],
)
def test_a_url_of_no_rate_storage_is_an_error_that_says_what_to_write(url):
    with pytest.raises(ConfigError, match=r"rate_storage: got .*need memory://.*redis://HOST:PORT/DB"):
        Limits(rate_storage=url)


@pytest.mark.parametrize(
    "url",
    [
        *("memory://", "redis://localhost:6379", "redis://:secret@redis.nsecast:6379/3"),
        *(
            "rediss://user:secret@10.0.0.3:6380/0",
            "redis+unix:///run/redis.sock?db=2",
            "redis://[::1]:6379/0",
        ),
    ],
)
def test_urls_of_rate_storages_are_kept(url):
    assert Limits(rate_storage=url).rate_storage == url
    assert "secret" not in redacted_url(url)


def test_a_wrong_url_is_reported_without_its_password():
    with pytest.raises(ConfigError) as caught:
        ServeSettings.parse({"limits": {"rate_storage": "redsi://user:s3cr@t@host:6379?password=s3cret"}})
    assert "s3cr" not in caught.value.message and "host:6379" in caught.value.message


def settings(url: str) -> ServeSettings:
    return ServeSettings(limits=Limits(rate_storage=url))


def test_an_application_whose_redis_cannot_be_reached_is_not_built(tmp_path):
    with pytest.raises(ConfigError, match=r"127.0.0.1:\d+/0 cannot be used: .*Start the Redis server"):
        build_app(settings(f"redis://:secret@127.0.0.1:{free_port()}/0"))


def test_an_application_whose_redis_wants_another_password_is_not_built(tmp_path):
    port = free_port()
    with redis_server(tmp_path, port, "--requirepass", "right"):
        with pytest.raises(ConfigError, match="cannot be used") as caught:
            build_app(settings(f"redis://:wrong@127.0.0.1:{port}/0"))
        assert "wrong" not in caught.value.message
        check_rate_storage(f"redis://:right@127.0.0.1:{port}/0")


def test_with_a_redis_that_answers_the_application_is_built(redis_url):
    assert build_app(settings(redis_url)) is not None


def test_without_the_client_package_a_start_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    for start in (build_app, lambda settings: RateLimit(settings.limits)):
        with pytest.raises(ConfigError, match=r"not installed.*pip install 'nsecast\[redis\]'"):
            start(settings("redis://127.0.0.1:1/0"))


def test_counting_in_memory_needs_no_client_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    asyncio.run(router("memory://").hit("a"))
    assert build_app(settings("memory://")) is not None
