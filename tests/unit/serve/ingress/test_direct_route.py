"""The short way of a request to the endpoint: the answers of FastAPI's own way, whatever is sent."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request, Response
from hypothesis import HealthCheck, given, settings
from support.serving.hostile import posts, texts
from support.serving.server import Client as HttpClient

from common.errors import NotAuthenticated
from serve.auth.keys import Client
from serve.ingress.forecast_routes import direct_route
from serve.ingress.identity import client_check, client_dependency
from serve.ingress.responses import PREDICT
from serve.schemas.forecast import PredictRequest
from serve.schemas.problems import register
from serve.settings import ServeSettings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


class Keys:
    """One key, ``good``."""

    def check(self, sent: str | None, scope: str) -> Client:
        if sent != "good":
            raise NotAuthenticated(f"key: got {sent!r}.")
        return Client("one", "", frozenset({"read"}))


def both_ways(keys: Any) -> HttpClient:
    """An application with one endpoint at ``/direct`` and ``/general``, which returns what it is given."""
    api, given_settings = FastAPI(), ServeSettings(home="/")
    register(api)
    reader = Depends(client_dependency(given_settings, keys, "read"))

    async def endpoint(request: Request, body: PredictRequest, client: Client = reader) -> Response:
        return Response(f"{client.id} {body!r}")

    check = client_check(given_settings, keys, "read")
    direct = direct_route(PredictRequest, check)
    api.router.add_api_route("/general", endpoint, methods=["POST"])
    api.router.add_api_route("/direct", endpoint, methods=["POST"], route_class_override=direct)

    async def with_facts(scope: Any, receive: Any, send: Any) -> None:
        await api({**scope, "state": {"facts": SimpleNamespace()}}, receive, send)

    return HttpClient(with_facts)


def answers(client: HttpClient, body: bytes, headers: dict[str, Any]) -> tuple[int, str]:
    """Status and text of both ways, which must be the same."""
    seen = [client.post(f"/{way}", content=body, headers=headers) for way in ("direct", "general")]
    (status, text), general = ((found.status_code, found.text) for found in seen)
    assert (status, text.replace("/direct", "/general")) == general
    return status, text


def test_any_body_has_the_same_answer_both_ways():
    client, statuses = both_ways(None), Counter[int]()

    @settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
    @given(texts(PREDICT))
    def ask(body: bytes) -> None:
        statuses[answers(client, body, {"content-type": "application/json"})[0]] += 1

    ask()
    assert statuses[200] > 5 and statuses[400] and statuses[422]


def test_any_content_type_has_the_same_answer_both_ways():
    client = both_ways(None)

    @settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
    @given(posts())
    def ask(case: Any) -> None:
        headers = {name: value.encode("latin-1") for name, value in case.headers.items()}
        answers(client, case.body, headers)

    ask()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer good"}, 200),
        ({"Authorization": "bearer  good "}, 200),
        ({"Authorization": "Bearer good", "X-API-Key": "bad"}, 200),
        ({"Authorization": "Bearer bad", "X-API-Key": "good"}, 401),
        ({"Authorization": "Bearer", "X-API-Key": "good"}, 200),
        ({"Authorization": "Basic good", "X-API-Key": "good"}, 200),
        ({"Authorization": "Basic good"}, 401),
        ({"X-API-Key": "good"}, 200),
        ({"X-API-Key": ""}, 401),
    ],
)
def test_an_api_key_is_found_where_the_description_says(headers, status):
    sent = {"content-type": "application/json", **headers}
    assert answers(both_ways(Keys()), b'{"symbol": "SCOM"}', sent)[0] == status


def test_a_page_of_another_site_is_refused_both_ways():
    sent = {"content-type": "application/json", "origin": "https://elsewhere.example"}
    assert answers(both_ways(None), b'{"symbol": "SCOM"}', sent)[0] == 403
