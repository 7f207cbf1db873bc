"""Every route of the application without a key, with an invented one, a read key and an admin key."""

import logging
import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route
from support.serving.server import ADMIN, Client

import serve.auth.keys
from serve.auth.keys import KeyFile
from serve.deployments.router import http_service
from serve.ingress.app import make_api
from serve.model_client.client import ModelClient
from serve.observability.log_files import close_logs
from serve.settings import ServeSettings

PUBLIC = {
    *("/healthz", "/readyz", "/openapi.json", "/docs"),
    *("/", "/static/plotly-{version}.js", "/static/{version}/{name:path}"),
}
"""Probes, the description of the API, and the page, which sends its user's key."""
MADE_UP = "nse_0123456789ab_" + "A" * 43


class Door:
    """The service over an empty storage root, since keys come before the release; and its keys."""

    def __init__(self, home: Path) -> None:
        file = KeyFile(home / "keys.json")
        self.keys = {
            "nobody": None,
            "stranger": MADE_UP,
            "reader": file.create("reader"),
            "admin": file.create("operator", ("admin",)),
        }
        settings = ServeSettings(home=str(home), keys=str(file.path), access_log=str(home / "log"))
        self.model_client = ModelClient(None, None, settings)
        self.routes = make_api(self.model_client).routes
        self.client = Client(http_service(self.model_client))

    def status(self, method: str, path: str, who: str, header: str = "X-API-Key") -> int:
        key = self.keys[who]
        value = f"Bearer {key}" if header == "Authorization" else key
        return self.client.request(method, path, headers={header: value} if key else {}).status_code


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("door"))


def doors(door: Door) -> list[tuple[str, str, str]]:
    """Method, path and the route's own name of its path."""
    return [
        (method, re.sub(r"\{\w+(:path)?\}", "SCOM", route.path), route.path)
        for route in door.routes
        for method in sorted(route.methods)
    ]


def test_the_application_has_only_the_routes_listed_here(door):
    kinds = (APIRoute, Route)
    assert all(isinstance(route, kinds) for route in door.routes), "a mount or socket needs its own test"
    paths = {route.path for route in door.routes}
    assert paths >= PUBLIC | ADMIN and len(paths - PUBLIC) > 15


def test_every_route_that_is_not_public_requires_a_known_key(door):
    for method, path, name in doors(door):
        for who in ("nobody", "stranger"):
            got = door.status(method, path, who)
            assert (got == 401) == (name not in PUBLIC), (method, path, who, got)


def test_a_read_key_reads_and_only_an_admin_key_does_what_changes_the_service(door):
    for method, path, name in doors(door):
        reader, admin = door.status(method, path, "reader"), door.status(method, path, "admin")
        assert (reader == 403) == (name in ADMIN), (method, path, reader)
        assert reader != 401 and admin not in (401, 403), (method, path, reader, admin)


def test_routes_that_neither_read_nor_forecast_need_an_admin_key(door):
    changing = {
        name for method, _, name in doors(door) if method not in ("GET", "HEAD") and "/predict" not in name
    }
    assert changing == ADMIN


def test_a_key_is_taken_from_both_headers_and_from_nowhere_else(door):
    key, path = door.keys["reader"], "/api/v4/stats"
    assert [door.status("GET", path, "reader", name) for name in ("X-API-Key", "Authorization")] == [503, 503]
    assert door.status("GET", f"{path}?X-API-Key={key}&api_key={key}&key={key}", "nobody") == 401
    assert door.client.get(path, headers={"Cookie": f"X-API-Key={key}"}).status_code == 401
    basic = door.client.get(path, headers={"Authorization": f"Basic {key}"})
    assert basic.status_code == 401
    both = {"Authorization": f"Bearer {MADE_UP}", "X-API-Key": key}
    assert door.client.get(path, headers=both).status_code == 401, "the better key of two is not looked for"


def test_a_refusal_says_how_to_send_a_key_and_nothing_of_the_keys_there_are(door):
    known = {part for key in door.keys.values() if key for part in key.split("_", 2)[1:]}
    for who in ("nobody", "stranger"):
        answer = door.client.get("/api/v4/stats", headers={"X-API-Key": door.keys[who] or ""})
        assert answer.status_code == 401 and answer.headers["www-authenticate"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert not any(item in answer.text for item in known)


def test_no_key_is_logged_or_sent_back_by_any_route(door, caplog):
    with caplog.at_level(logging.DEBUG):
        for method, path, _ in doors(door):
            for who, key in door.keys.items():
                if key:
                    answer = door.client.request(method, path, headers={"Authorization": f"Bearer {key}"})
                    assert key.split("_", 2)[2] not in answer.text + str(answer.headers), (path, who)
    close_logs()
    files = [path for path in Path(door.model_client.settings.access_log).rglob("*") if path.is_file()]
    logged = caplog.text + "".join(path.read_text() for path in files)
    assert len(logged.splitlines()) > 50, "requests are logged"
    for key in filter(None, door.keys.values()):
        assert key.split("_", 2)[2] not in logged


@pytest.mark.parametrize("known", [True, False], ids=["wrong secret", "unknown id"])
def test_whether_an_id_is_known_changes_nothing_in_how_a_key_is_compared(door, monkeypatch, known):
    compared = []

    def spy(one: str, other: str, compare=serve.auth.keys.hmac.compare_digest) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(serve.auth.keys.hmac, "compare_digest", spy)
    number = door.keys["reader"].split("_", 2)[1] if known else "0123456789ab"
    got = door.client.get("/api/v4/stats", headers={"X-API-Key": f"nse_{number}_{'B' * 43}"}).status_code
    assert (got, compared) == (401, [(64, 64)])
