"""Failures as problem+json: what is wrong, what to send, and nothing of the inside."""

import json

import pytest
from fastapi import FastAPI, HTTPException
from support.errors import every_error
from support.serving.server import Client

from common.errors import BundleError, NotAuthenticated, NsecastError, TooManyRequests, UnknownSymbol
from serve.schemas.forecast import Day, PredictRequest
from serve.schemas.problems import MEDIA_TYPE, problem_of, register, responses


class Wrapped(Exception):
    """As Ray brings what a replica raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("Traceback of a replica")
        self.cause = cause


RAISED = {
    "symbol": UnknownSymbol("SCMO: not a counter. Did you mean SCOM?", symbol="SCMO", near=["SCOM"]),
    "rate": TooManyRequests("more than 5.", retry_after_s=12.2),
    "bundle": BundleError("model.onnx: bad. Publish it again."),
    "wrapped": Wrapped(UnknownSymbol("KBC: no.", near=["KCB"])),
    "surprise": RuntimeError("the secret /etc/inside"),
    "http": HTTPException(418, "short and stout"),
}


@pytest.fixture(scope="module")
def client() -> Client:
    app = FastAPI()
    register(app)

    @app.post("/predict", responses=responses(404, 422))
    def predict(body: PredictRequest) -> str:
        return body.symbol

    @app.get("/raise/{name}")
    def fail(name: str) -> None:
        raise RAISED[name]

    @app.get("/day")
    def day(as_of: Day) -> str:
        return str(as_of)

    return Client(app)


def test_an_expected_error_keeps_its_status_message_and_near_names(client):
    answer = client.get("/raise/symbol")
    assert answer.status_code == 404 and answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json() == {
        "type": "urn:nsecast:unknown-symbol",
        "title": "Unknown symbol",
        "status": 404,
        "detail": "SCMO: not a counter. Did you mean SCOM?",
        "instance": "/raise/symbol",
        "near": ["SCOM"],
    }


def test_an_error_that_ray_brought_from_a_replica_is_the_error_itself(client):
    answer = client.get("/raise/wrapped").json()
    assert (answer["status"], answer["near"], answer["detail"]) == (404, ["KCB"], "KBC: no.")


def test_too_many_and_unavailable_say_when_to_come_again(client):
    assert client.get("/raise/rate").headers["retry-after"] == "13"
    answer = client.get("/raise/bundle")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_surprise_says_nothing_of_the_inside(client):
    answer = client.get("/raise/surprise")
    assert answer.status_code == 500 and answer.headers["content-type"] == MEDIA_TYPE
    assert "inside" not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("send", "status", "said"),
    [
        ({"content": b'{"symbol": "SC'}, 400, "The body is not JSON"),
        ({"content": b"\xff\xfe"}, 400, "body"),
        ({"content": b""}, 422, "the body: got nothing, need this field"),
        ({"content": b"[]"}, 422, "the body: got a list of 0"),
        ({"content": b"null"}, 422, "the body"),
        ({"content": b'"SCOM"'}, 422, "the body: got 'SCOM'"),
        ({"content": b'{"symbol": "SCOM", "recent_prices": [NaN]}'}, 422, "recent_prices[0]: got nan"),
        ({"content": b"[" * 100_000}, 400, ""),
        ({"content": b'{"symbol": ' + b"9" * 5_000 + b"}"}, 400, ""),
        ({"content": b'{"symbol": "\\ud800"}'}, 422, "symbol: got '"),
        ({"content": b'{"\\ud800": 1, "symbol": "A"}'}, 422, "need a valid string"),
        (
            {"content": b'{"symbol": "SCOM"}', "headers": {"content-type": "text/plain"}},
            415,
            "got text/plain",
        ),
        ({"data": {"symbol": "SCOM"}}, 415, "got application/x-www-form-urlencoded, need application/json"),
    ],
)
def test_a_body_that_is_no_request_is_a_4xx(client, send, status, said):
    headers = {} if "data" in send else {"content-type": "application/json"}
    answer = client.post("/predict", **{"headers": headers} | send)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE and said in answer.json()["detail"]


def test_an_unknown_path_a_wrong_method_and_a_bad_query_are_problems_too(client):
    for answer, status in (
        (client.get("/nowhere"), 404),
        (client.request("DELETE", "/predict"), 405),
        (client.get("/raise/http"), 418),
        (client.get("/day", params={"as_of": "12"}), 422),
    ):
        assert answer.status_code == status and answer.headers["content-type"] == MEDIA_TYPE
        assert answer.json()["status"] == status
    assert answer.json()["detail"] == "as_of: got '12', need a day as YYYY-MM-DD."


@pytest.mark.parametrize(
    "method, path, said",
    [
        ("GET", "/nowhere", "GET /nowhere: there is nothing at this path. /docs lists all paths."),
        ("DELETE", "/predict", "DELETE /predict: need POST. See /docs."),
    ],
)
def test_a_wrong_path_or_method_is_named_with_what_to_do(client, method, path, said):
    assert client.request(method, path).json()["detail"] == said


def test_many_problems_are_told_in_short(client):
    answer = client.post("/predict", json={"symbol": "SCOM"} | {f"name{number}": 1 for number in range(90)})
    assert answer.status_code == 422 and len(answer.text) < 2_000
    assert len(answer.json()["errors"]) == 10 and "(87 more)" in answer.json()["detail"]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_makes_a_whole_problem(kind):
    problem = problem_of(kind("what, where."), instance="/x", request_id="r1")
    document = json.loads(problem.response().body)
    assert document["status"] == kind.http_status and document["detail"] == "what, where."
    assert document["request_id"] == "r1" and document["type"].startswith("urn:nsecast:")


def test_a_key_that_is_missing_says_how_it_is_sent():
    assert problem_of(NotAuthenticated("no key")).response().headers["www-authenticate"] == "Bearer"
    assert "www-authenticate" not in problem_of(NsecastError("x")).response().headers


def test_the_description_of_a_route_lists_its_problems(client):
    paths = client.get("/openapi.json").json()["paths"]
    found = paths["/predict"]["post"]["responses"]
    assert {"401", "403", "404", "422", "429", "500", "503"} <= found.keys()
    assert MEDIA_TYPE in found["404"]["content"]
