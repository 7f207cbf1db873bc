"""The graph in Serve's local testing mode, without a cluster: answers, pages and bad requests."""

import json

import pytest
from support.serving.server import run_scenario

from common.errors import BundleError
from common.forecast.prices import Prices
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.model_client.model_calls import ModelCall

PREDICT = "/api/v4/predict"


def test_every_stock_is_forecast_with_the_figure_of_the_backtest(home):
    truth = ReleasedModels(Registry(home).open("one"))

    async def scenario(model_client, client):
        everything = (await client.get("/api/v4/predict/all")).json()
        assert everything["summary"]["failed"] == 1  # SHORT has fewer closes than a window
        for answer in everything["predictions"]:
            (expected,) = [f for f in truth.forecast(answer["symbol"]) if f.horizon == 1]
            single = (await client.post(PREDICT, json={"symbol": answer["symbol"]})).json()
            for body in (answer, single):
                assert body["prediction"] == expected.published
                assert body["mean_prediction"] == expected.raw
                assert body["model_type"] == expected.model_type
                assert body["release"] == "one"
                if expected.intervals:
                    got = body["confidence_interval"]
                    assert (got["lower"], got["upper"]) == expected.intervals["90"]
        return {answer["symbol"] for answer in everything["predictions"]}

    assert run_scenario(home, scenario) == {"FROZEN", "GAPS", "MOVES", "SPLITS", "THIN"}


def test_a_specific_bundle_that_is_damaged_after_the_start_falls_back_to_the_general_model(home):
    async def scenario(model_client, client):
        await client.post("/api/v4/cache/clear")
        path = next((home / "releases/one/stock_specific_residual/MOVES").glob("model.onnx"))
        path.write_bytes(path.read_bytes()[:-9])
        answer = await client.post(PREDICT, json={"symbol": "MOVES"})
        health = await client.get("/api/v4/health")
        return answer.status_code, answer.json(), health.json()

    status, answer, health = run_scenario(home, scenario)
    assert status == 200 and answer["model_type"] == "general"
    assert "fallback" in {warning["code"] for warning in answer["warnings"]}
    assert health["status"] == "degraded" and "MOVES@one" in health["problems"][0]


def test_the_same_question_is_put_to_a_model_once_until_the_memory_is_cleared(home):
    async def scenario(model_client, client):
        async def questions_put():
            return sum(
                replica["requests"] for replica in (await client.get("/api/v4/stats")).json()["replicas"]
            )

        seen, answers = [await questions_put()], []
        for _ in range(3):
            answers.append((await client.post(PREDICT, json={"symbol": "MOVES"})).json())
        seen.append(await questions_put())
        await client.post("/api/v4/cache/clear")
        answers.append((await client.post(PREDICT, json={"symbol": "MOVES"})).json())
        seen.append(await questions_put())
        return seen, answers

    (before, after, later), answers = run_scenario(home, scenario)
    assert after - before == 1 and later - after == 1
    assert len({json.dumps([answer["prediction"], answer["intervals"]]) for answer in answers}) == 1


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


def test_an_unknown_symbol_is_forecast_if_the_request_includes_prices_and_allows_it(served):
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
    assert len(set(ids)) == 3 and all(len(item) == 32 for item in ids)
    assert [answer.headers.get_list("x-request-id") for answer in (*answers, refused)] == [
        [item] for item in ids
    ]
    assert [answer.headers["x-correlation-id"] for answer in (*answers, refused)] == [
        "abc-1",
        "abc-1",
        "abc-2",
    ]
    assert len(plain.headers["x-request-id"]) == 32 and "x-correlation-id" not in plain.headers


def test_before_the_first_release_the_service_is_alive_but_not_ready(tmp_path):
    async def scenario(model_client, client):
        answers = [await client.get(path) for path in ("/healthz", "/readyz", "/api/v4/matrix")]
        return [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]

    assert run_scenario(tmp_path, scenario) == [(200, None), (503, "5"), (503, "5")]


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


def test_a_model_that_fails_while_computing_is_reported_and_not_raised(home):
    async def scenario(model_client, client):
        prepared = model_client.loaded.prepare(
            __import__("serve.schemas.forecast", fromlist=["PredictRequest"]).PredictRequest(symbol="MOVES")
        )
        object.__setattr__(prepared.windows, "end", prepared.windows.end + 10_000)
        call = ModelCall(prepared)
        await model_client._complete([call])
        return call.response

    responses = run_scenario(home, scenario)
    assert isinstance(responses.error, BundleError) and not isinstance(responses.prices, Prices)
