"""New limits in a running router."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from support.releases.release import made_release
from support.serving.server import local_tiers

from common.errors import ConfigError
from common.release.registry import Registry
from serve.deployments.router import Router
from serve.model_client.messages import ForecastCall
from serve.settings import Limits, ServeSettings

PREDICT = "/api/v4/predict"


def test_limits_that_are_left_out_stay_as_in_args():
    args = ServeSettings(limits=Limits(batch_symbols=7, timeout_s=3.0), requests_under_way=9)
    changed = args.changed({"limits": {"batch_symbols": 8}})
    assert changed.limits == Limits(batch_symbols=8, timeout_s=3.0)
    assert changed.requests_under_way == 9 and args.changed({}) == args


@pytest.mark.parametrize(
    ("user_config", "names"),
    [
        ({"home": "/elsewhere"}, "home"),
        ({"specific_max": 3, "keys": None}, "keys, specific_max"),
        ({"limits": {"batch_symbol": 1}}, "limits.batch_symbol"),
        ({"limits": {"batch_symbols": 0}}, "limits.batch_symbols"),
        ({"limits": 3}, "limits"),
        ({"requests_under_way": "many"}, "requests_under_way"),
    ],
)
def test_what_cannot_change_or_is_no_value_is_named(user_config, names):
    with pytest.raises(ConfigError, match=names):
        ServeSettings().changed(user_config)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one")
    Registry(home).promote("one")
    return home


@pytest.fixture
def with_router(home: Path) -> Iterator[Any]:
    """Runs a scenario (router, client) with the class that Ray would start, here in this process."""
    tiers = local_tiers(home)

    def run(scenario: Any, **settings: Any) -> Any:
        async def inside() -> Any:
            router = object.__new__(Router.func_or_class.__mro__[1])
            args = ServeSettings(home=str(home), access_log="off", **settings)
            await type(router).__init__(router, *tiers, args.model_dump(mode="json"))
            transport = httpx.ASGITransport(router.__serve_build_asgi_app__())
            try:
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                    return await scenario(router, client)
            finally:
                router._watching.cancel()

        return asyncio.run(inside())

    yield run


async def statuses(client: httpx.AsyncClient, number: int) -> list[int]:
    return [(await client.post(PREDICT, json={"symbol": "MOVES"})).status_code for _ in range(number)]


def test_the_same_application_follows_its_new_limits(with_router):
    async def scenario(router, client):
        before = await statuses(client, 3)
        await router.reconfigure({"limits": {"forecasts_per_minute": 2}})
        fewer = await statuses(client, 3)
        await router.reconfigure({"requests_under_way": 1})
        return before, fewer, await statuses(client, 3), router.model_client.settings.requests_under_way

    assert with_router(scenario) == ([200] * 3, [200, 200, 429], [200] * 3, 1)


def test_the_server_of_a_replica_takes_it_for_an_application_of_asgi_3(with_router):
    async def scenario(router, client):
        config = uvicorn.Config(router.__serve_build_asgi_app__(), lifespan="on")
        config.load()
        return config.interface

    assert with_router(scenario) == "asgi3"


def test_limits_that_are_not_allowed_change_nothing_and_health_says_so(with_router):
    async def scenario(router, client):
        await router.reconfigure({"limits": {"forecasts_per_minute": 2}})
        await router.reconfigure({"limits": {"forecasts_per_minute": -1}, "requests_under_way": 5})
        health = (await client.get("/api/v4/health")).json()
        seen = await statuses(client, 3)
        await router.reconfigure({})
        return health, seen, (await client.get("/api/v4/health")).json()

    health, seen, later = with_router(scenario)
    assert health["status"] == "degraded" and "forecasts_per_minute" in health["problems"][0]
    assert seen == [200, 200, 429] and later["status"] == "healthy"


def test_a_request_that_began_before_keeps_its_limits(with_router):
    async def scenario(router, client):
        slow = asyncio.Event()

        class Waits:
            async def remote(self, call: ForecastCall) -> Any:
                await slow.wait()
                raise RuntimeError("the replica is gone")

        for tier in router.model_client._tiers.values():
            tier.forecast = Waits()
        request = asyncio.ensure_future(client.post(PREDICT, json={"symbol": "MOVES"}))
        await asyncio.sleep(0.05)
        await router.reconfigure({"limits": {"timeout_s": 0.001}})
        slow.set()
        return (await request).json()["detail"]

    assert "cannot be reached" in with_router(scenario)


def test_questions_and_a_replicas_log_lines_name_the_request(with_router, caplog):
    calls: list[ForecastCall] = []

    async def scenario(router, client):
        replica = router.model_client._tiers["stock_specific"].forecast

        class Damaged:
            async def remote(self, call: ForecastCall) -> Any:
                calls.append(call)
                return await replica.remote(replace(call, keys=("NONE@gone",) * len(call.keys)))

        router.model_client._tiers["stock_specific"].forecast = Damaged()
        return (await client.post(PREDICT, json={"symbol": "MOVES"})).json()

    answer = with_router(scenario)
    assert [call.request_ids for call in calls] == [(answer["request_id"],)]
    assert answer["model_type"] == "general"
    assert f"no forecast request_id={answer['request_id']} model=NONE@gone" in caplog.text


def test_a_router_that_shuts_down_closes_its_ledger(with_router, monkeypatch):
    async def scenario(router: Any, client: httpx.AsyncClient) -> int:
        closed: list[bool] = []
        monkeypatch.setattr(router.model_client.ledger, "close", lambda: closed.append(True))
        router.__del__()
        return len(closed)

    assert with_router(scenario) == 1
