"""The graph in Serve's local testing mode at its limits: time, load, rate, replicas, keys."""

import asyncio
from typing import Any

from support.serving.server import run_scenario

from common.release.registry import Registry
from serve.auth.keys import KeyFile

PREDICT = "/api/v4/predict"


class Never:
    """A tier whose replicas never answer."""

    def __init__(self) -> None:
        self.forecast = self

    async def remote(self, questions: Any) -> Any:
        await asyncio.sleep(60)


def test_slow_and_excess_requests_get_503_with_retry_after(home):
    async def scenario(model_client, client):
        model_client._tiers = {tier: Never() for tier in model_client._tiers}
        return await asyncio.gather(
            *(client.post(PREDICT, json={"symbol": "MOVES"}) for _ in range(5)), client.get("/healthz")
        )

    *answers, alive = run_scenario(home, scenario, requests_under_way=3, limits={"timeout_s": 0.3})
    assert {answer.status_code for answer in answers} == {503} and alive.status_code == 200
    assert sorted(answer.headers["retry-after"] for answer in answers) == ["1", "1", "2", "2", "2"]


def test_a_client_beyond_its_rate_gets_429_with_retry_after(home):
    async def scenario(model_client, client):
        return [await client.post(PREDICT, json={"symbol": "MOVES"}) for _ in range(3)]

    answers = run_scenario(home, scenario, limits={"forecasts_per_minute": 2})
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61


def test_a_request_for_all_stocks_is_accepted_even_if_they_exceed_the_rate_limit(home):
    async def scenario(model_client, client):
        return [(await client.get("/api/v4/predict/all")).status_code for _ in range(2)]

    assert run_scenario(home, scenario, limits={"forecasts_per_minute": 3}) == [200, 429]


def test_a_replica_that_does_not_report_is_named_in_the_stats_and_left_out(home):
    class Gone:
        _actor_id = b"\x0a\x0b"

        async def get_async(self):
            raise ConnectionError("gone")

    class Half:
        """A handle of two replicas, one of which is gone."""

        def __init__(self, handle):
            self.handle = handle

        def __getattr__(self, name):
            return getattr(self.handle, name)

        def broadcast(self, *call):
            self.call = call
            return self

        async def _fetch_replica_results_async(self):
            return [*await self.handle.broadcast(*self.call)._fetch_replica_results_async(), Gone()]

    async def scenario(model_client, client):
        model_client._tiers = {tier: Half(handle) for tier, handle in model_client._tiers.items()}
        Registry(home).promote("two")
        taken = (await client.post("/api/v4/refresh")).json()
        cleared = (await client.post("/api/v4/cache/clear")).json()
        return taken, cleared, (await client.get("/api/v4/stats")).json()

    taken, cleared, stats = run_scenario(home, scenario)
    assert (taken["outcome"], taken["release"]) == ("taken", "two") and cleared["cleared"] >= 2
    assert [replica["tier"] for replica in stats["replicas"]] == ["general", "stock_specific"]
    assert [(item["tier"], item["actor"], item["pid"]) for item in stats["silent"]] == [
        ("general", "0a0b", None),
        ("stock_specific", "0a0b", None),
    ]
    assert stats["rehearsals_incomplete"] == 2


def test_with_a_key_file_reading_needs_a_key_and_refresh_an_admin_key(home, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    read, admin = keys.create("reader"), keys.create("operator", ("admin",))

    async def scenario(model_client, client):
        def bearing(key):
            return {"Authorization": f"Bearer {key}"}

        return [
            (await client.post(PREDICT, json={"symbol": "MOVES"})).status_code,
            (await client.post(PREDICT, json={"symbol": "MOVES"}, headers=bearing("nse_x"))).status_code,
            (await client.post(PREDICT, json={"symbol": "MOVES"}, headers=bearing(read))).status_code,
            (await client.post("/api/v4/refresh", headers=bearing(read))).status_code,
            (await client.post("/api/v4/refresh", headers={"X-API-Key": admin})).status_code,
            (await client.get("/readyz")).status_code,
        ]

    assert run_scenario(home, scenario, keys=str(keys.path)) == [401, 401, 200, 403, 200, 200]
