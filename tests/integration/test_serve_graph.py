"""The graph in Serve's local testing mode: no cluster, real handles, replicas, loaded release and routes."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray.serve
from support.release import doctored, made_release

from common.errors import BundleError
from common.forecast.prices import Prices
from common.release.forecasts import ReleasedModels
from common.release.registry import Registry
from serve.auth.keys import KeyFile
from serve.deployments.model_server import GeneralModel, SpecificModel
from serve.deployments.router import http_service
from serve.model_client.client import Item, ModelClient
from serve.settings import ServeSettings

PREDICT = "/api/v4/predict"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root with two releases, ``one`` in production."""
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one")
    made_release(home, "two", shift=0.3)
    Registry(home).promote("one")
    return home


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "home"))


@pytest.fixture(scope="module")
def graph(original: Path) -> Iterator[Any]:
    """Makes handles of both tiers for a storage root."""

    def handles(home: Path) -> tuple[Any, Any]:
        return tuple(
            ray.serve.run(tier.bind(str(home), 4), name=tier.name, _local_testing_mode=True)
            for tier in (GeneralModel, SpecificModel)
        )

    yield handles


@asynccontextmanager
async def client_of(model_client: ModelClient) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(http_service(model_client), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def model_client_of(graph: Any, home: Path, **settings: Any) -> ModelClient:
    return ModelClient(*graph(home), ServeSettings(home=str(home), access_log="off", **settings))


def asked(graph: Any, home: Path, scenario: Any, **settings: Any) -> Any:
    """Run a scenario (office, client) once a release serves."""

    async def run() -> Any:
        model_client = model_client_of(graph, home, **settings)
        await model_client.watcher.look()
        async with client_of(model_client) as client:
            return await scenario(model_client, client)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def served(graph: Any, original: Path) -> Iterator[Any]:
    """Runs a scenario (client) that changes nothing with one service that all of them share."""
    with asyncio.Runner() as runner:
        model_client = model_client_of(graph, original)
        runner.run(model_client.watcher.look())

        async def run(scenario: Any) -> Any:
            async with client_of(model_client) as client:
                return await scenario(client)

        yield lambda scenario: runner.run(run(scenario))


def test_every_counter_gets_the_figure_of_the_code_that_the_backtest_uses(graph, home):
    truth = ReleasedModels(Registry(home).open("one"))

    async def scenario(model_client, client):
        everything = (await client.get("/api/v4/predict/all")).json()
        assert everything["summary"]["failed"] == 1  # SHORT has fewer closes than a window
        for answer in everything["predictions"]:
            (expected,) = [f for f in truth.forecast(answer["symbol"]) if f.horizon == 1]
            single = (await client.post(PREDICT, json={"symbol": answer["symbol"]})).json()
            for found in (answer, single):
                assert found["prediction"] == expected.published
                assert found["mean_prediction"] == expected.raw
                assert found["model_type"] == expected.model_type
                assert found["release"] == "one"
                if expected.intervals:
                    got = found["confidence_interval"]
                    assert (got["lower"], got["upper"]) == expected.intervals["90"]
        return {answer["symbol"] for answer in everything["predictions"]}

    assert asked(graph, home, scenario) == {"FROZEN", "GAPS", "MOVES", "SPLITS", "THIN"}


def test_a_specific_bundle_that_is_damaged_after_the_start_falls_back_to_the_general_model(graph, home):
    async def scenario(model_client, client):
        await client.post("/api/v4/cache/clear")
        path = next((home / "releases/one/stock_specific_residual/MOVES").glob("model.onnx"))
        path.write_bytes(path.read_bytes()[:-9])
        answer = await client.post(PREDICT, json={"symbol": "MOVES"})
        health = await client.get("/api/v4/health")
        return answer.status_code, answer.json(), health.json()

    status, answer, health = asked(graph, home, scenario)
    assert status == 200 and answer["model_type"] == "general"
    assert "fallback" in {warning["code"] for warning in answer["warnings"]}
    assert health["status"] == "degraded" and "MOVES@one" in health["problems"][0]


def test_the_same_question_is_put_to_a_model_once_until_the_memory_is_cleared(graph, home):
    async def scenario(model_client, client):
        async def questions_put():
            return sum(each["requests"] for each in (await client.get("/api/v4/stats")).json()["replicas"])

        seen, answers = [await questions_put()], []
        for _ in range(3):
            answers.append((await client.post(PREDICT, json={"symbol": "MOVES"})).json())
        seen.append(await questions_put())
        await client.post("/api/v4/cache/clear")
        answers.append((await client.post(PREDICT, json={"symbol": "MOVES"})).json())
        seen.append(await questions_put())
        return seen, answers

    (before, after, later), answers = asked(graph, home, scenario)
    assert after - before == 1 and later - after == 1
    assert len({json.dumps([each["prediction"], each["intervals"]]) for each in answers}) == 1


def test_a_promotion_is_taken_and_no_answer_mixes_two_releases(graph, home):
    truth = {
        name: {
            f.symbol: f
            for s in ("MOVES", "THIN")
            for f in ReleasedModels(Registry(home).open(name)).forecast(s)
            if f.horizon == 1
        }
        for name in ("one", "two")
    }

    async def scenario(model_client, client):
        stop, answers = asyncio.Event(), []

        async def load(symbol):
            while not stop.is_set():
                answers.append(await client.post(PREDICT, json={"symbol": symbol}))
                await asyncio.sleep(0)  # an answer that is remembered waits for nothing

        loads = [asyncio.create_task(load(symbol)) for symbol in ("MOVES", "THIN", "MOVES")]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(Registry(home).promote, "two")
        assert (await client.post("/api/v4/refresh")).json() == {"outcome": "taken", "release": "two"}
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*loads)
        return answers

    answers = asked(graph, home, scenario)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["release"] for answer in answers} == {"one", "two"}
    for body in (answer.json() for answer in answers):
        assert body["mean_prediction"] == truth[body["release"]][body["symbol"]].raw
    assert truth["one"]["MOVES"].raw != truth["two"]["MOVES"].raw


def cut_short(folder: Path) -> None:
    path = folder / "general_residual" / "model.onnx"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("published_so", [False, True])
def test_a_corrupt_release_is_refused_and_the_old_one_goes_on(graph, home, published_so, caplog):
    """Once with files altered after publishing, once published with a network that does not load."""
    release = Registry(home).resolve("two")

    async def scenario(model_client, client):
        if published_so:
            doctored(release, cut_short)
            Registry(home).promote("two")
        else:
            Registry(home).promote("two")
            cut_short(release.path)
        refused = await client.post("/api/v4/refresh")
        answer = await client.post(PREDICT, json={"symbol": "MOVES"})
        health = (await client.get("/api/v4/health")).json()
        return refused, answer.json(), health, model_client.observer.snapshot()

    refused, answer, health, seen = asked(graph, home, scenario)
    assert refused.status_code == 409 and "one continues to serve" in refused.json()["detail"]
    assert answer["release"] == "one" and health["status"] == "degraded"
    assert seen["reloads_refused"] == 1 and "release refused release=two" in caplog.text


@pytest.mark.parametrize("ended_by", ["the client", "the time limit"])
def test_a_refresh_that_is_cut_off_while_it_rehearses_still_leads_to_the_new_release(graph, home, ended_by):
    limits = {"limits": {"timeout_s": 0.2}} if ended_by == "the time limit" else {}

    async def scenario(model_client, client):
        rehearse, begun = model_client.watcher._rehearse, asyncio.Event()

        async def slow(loaded):
            begun.set()
            await asyncio.sleep(1)
            await rehearse(loaded)

        model_client.watcher._rehearse = slow
        Registry(home).promote("two")
        post = asyncio.create_task(client.post("/api/v4/refresh"))
        await begun.wait()
        await asyncio.sleep(0.2)
        if ended_by == "the client":
            post.cancel()
            with pytest.raises(asyncio.CancelledError):
                await post
        else:
            assert (await post).status_code == 503
        looks = [await model_client.watcher.look() for _ in range(2)]
        return looks[-1], (await client.get("/api/v4/health")).json()

    look, health = asked(graph, home, scenario, **limits)
    assert (look.outcome, look.release) == ("unchanged", "two")
    assert (health["status"], health["release"]) == ("ok", "two")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"symbol": "NOPE"}, 404),
        ({"symbol": "../../etc/passwd"}, 422),
        ({"symbol": "A" * 10_000}, 422),
        ({"symbol": "MOVES", "horizon": "2d"}, 422),
        ({"symbol": "MOVES", "as_of": "2999-01-01"}, 422),
        ({"symbol": "MOVES", "recent_prices": [10.0] * 59}, 422),
        ({"symbol": "MOVES", "recent_prices": [10.0] * 59 + [0.0]}, 422),
        ({"symbol": "MOVES", "recent_prices": ["10"] * 60}, 422),
        ('{"symbol": "MOVES", "recent_prices": [NaN]}', 422),
        ('{"symbol": ', 400),
        (b"\xff\xfe", 400),
        ({"symbol": "MOVES", "recent_prices": [10.25] * 1_000_000}, 413),
    ],
)
def test_bad_input_gets_a_4xx_that_says_what_to_send(served, body, status):
    async def scenario(client):
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return await client.post(PREDICT, content=content, headers={"content-type": "application/json"})

    answer = served(scenario)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json" and answer.headers["x-request-id"]
    assert answer.json()["detail"]


def test_a_stranger_is_forecast_if_the_request_brings_prices_and_asks_for_it(served):
    prices = [10 + (day % 7) / 10 for day in range(60)]

    async def scenario(client):
        body = {"symbol": "NEWCO", "recent_prices": prices, "allow_unknown": True}
        return (await client.post(PREDICT, json=body)).json()

    answer = served(scenario)
    assert answer["model_type"] == "general" and answer["confidence"] == "low" and answer["name"] is None


def test_the_server_makes_the_request_id_and_returns_the_clients_as_the_correlation_id(served):
    async def scenario(client):
        answers = []
        for _ in range(2):
            answers.append(await client.post(PREDICT, json=BODY, headers={"x-request-id": "abc-1"}))
        refused = await client.post(PREDICT, json={"symbol": "NOPE"}, headers={"x-correlation-id": "abc-2"})
        plain = await client.get("/healthz", headers={"x-request-id": "x\tinjected"})
        return answers, refused, plain

    BODY = {"symbol": "MOVES"}
    answers, refused, plain = served(scenario)
    ids = [answer.json()["request_id"] for answer in (*answers, refused)]
    assert len(set(ids)) == 3 and all(len(each) == 32 for each in ids)
    assert [answer.headers.get_list("x-request-id") for answer in (*answers, refused)] == [
        [each] for each in ids
    ]
    assert [answer.headers["x-correlation-id"] for answer in (*answers, refused)] == [
        "abc-1",
        "abc-1",
        "abc-2",
    ]
    assert len(plain.headers["x-request-id"]) == 32 and "x-correlation-id" not in plain.headers


class Never:
    """A tier whose replicas never answer."""

    def __init__(self) -> None:
        self.forecast = self

    async def remote(self, questions: Any) -> Any:
        await asyncio.sleep(60)


def test_what_takes_too_long_or_is_too_much_gets_503_with_retry_after(graph, home):
    async def scenario(model_client, client):
        model_client._tiers = {tier: Never() for tier in model_client._tiers}
        return await asyncio.gather(
            *(client.post(PREDICT, json={"symbol": "MOVES"}) for _ in range(5)), client.get("/healthz")
        )

    *answers, alive = asked(graph, home, scenario, requests_under_way=3, limits={"timeout_s": 0.3})
    assert {answer.status_code for answer in answers} == {503} and alive.status_code == 200
    assert sorted(answer.headers["retry-after"] for answer in answers) == ["1", "1", "2", "2", "2"]


def test_a_client_beyond_its_rate_gets_429_with_retry_after(graph, home):
    async def scenario(model_client, client):
        return [await client.post(PREDICT, json={"symbol": "MOVES"}) for _ in range(3)]

    answers = asked(graph, home, scenario, limits={"forecasts_per_minute": 2})
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61


def test_every_stock_can_be_asked_for_though_there_are_more_than_a_client_may_have_a_minute(graph, home):
    async def scenario(model_client, client):
        return [(await client.get("/api/v4/predict/all")).status_code for _ in range(2)]

    assert asked(graph, home, scenario, limits={"forecasts_per_minute": 3}) == [200, 429]


def test_a_replica_that_does_not_report_is_named_in_the_stats_and_left_out(graph, home):
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

    taken, cleared, stats = asked(graph, home, scenario)
    assert taken == {"outcome": "taken", "release": "two"} and cleared["cleared"] >= 2
    assert [each["tier"] for each in stats["replicas"]] == ["general", "stock_specific"]
    assert [(each["tier"], each["actor"], each["pid"]) for each in stats["silent"]] == [
        ("general", "0a0b", None),
        ("stock_specific", "0a0b", None),
    ]
    assert stats["rehearsals_incomplete"] == 2


def test_with_a_key_file_reading_needs_a_key_and_refresh_an_admin_key(graph, home, tmp_path):
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

    assert asked(graph, home, scenario, keys=str(keys.path)) == [401, 401, 200, 403, 200, 200]


def test_before_the_first_release_the_service_is_alive_but_not_ready(graph, tmp_path):
    async def scenario(model_client, client):
        answers = [await client.get(path) for path in ("/healthz", "/readyz", "/api/v4/matrix")]
        return [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]

    assert asked(graph, tmp_path, scenario) == [(200, None), (503, "5"), (503, "5")]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v4/models/available?include_sectors=true",
        "/api/v4/models/MOVES",
        "/api/v4/matrix",
        "/api/v4/history/MOVES?days=30",
        "/api/v4/stats",
        "/api/v4/health",
        "/openapi.json",
        "/docs",
    ],
)
def test_every_page_answers(served, path):
    async def scenario(client):
        return await client.get(path)

    assert served(scenario).status_code == 200


def test_a_model_that_fails_while_computing_is_said_and_never_raised(graph, home):
    async def scenario(model_client, client):
        prepared = model_client.loaded.prepare(
            __import__("serve.schemas.forecast", fromlist=["PredictRequest"]).PredictRequest(symbol="MOVES")
        )
        object.__setattr__(prepared.windows, "end", prepared.windows.end + 10_000)
        item = Item(prepared)
        await model_client._fill([item])
        return item.result

    said = asked(graph, home, scenario)
    assert isinstance(said.error, BundleError) and not isinstance(said.prices, Prices)
