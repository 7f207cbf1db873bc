"""Request ids: made by the server, the same in header, body and scope, whatever a client sends."""

import asyncio
import re
import tempfile
from pathlib import Path

import httpx
import pytest
from ray.serve._private import http_util, replica
from ray.serve.config import HTTPOptions
from starlette.responses import JSONResponse

from serve.ingress.middleware import ASSIGNED, RequestIds, ids_of
from serve.launch.proxy_environment import CALLBACK, hardened

MADE = re.compile(r"[0-9a-f]{32}")


async def shows_ids(scope, receive, send):
    """The ids that `serve.ingress.middleware.RequestGuard` reads from the request."""
    request_id, correlation_id = ids_of(scope)
    await JSONResponse({"request": request_id, "correlation": correlation_id})(scope, receive, send)


def asked(app, *headers):
    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/", headers=list(headers))

    return asyncio.run(run())


def as_replica_behind_haproxy(monkeypatch):
    """The application inside the middleware that Ray puts around it in a replica's own HTTP server."""
    callback = hardened(Path(tempfile.mkdtemp()))[CALLBACK]
    monkeypatch.setattr(http_util, CALLBACK, callback)
    options = replica.configure_http_middlewares(HTTPOptions())
    assert [each.cls for each in options.middlewares] == [RequestIds]
    return http_util._apply_middlewares(shows_ids, options.middlewares)


@pytest.mark.parametrize(
    ("sent", "correlation"),
    [
        ([], ""),
        ([("X-Request-ID", "order-7")], "order-7"),
        ([("X-Request-ID", "a"), ("X-Request-ID", "b")], "a"),
        ([("X-Correlation-ID", "order-8")], "order-8"),
        ([("X-Request-ID", "0" * 32), ("X-Correlation-ID", "order-9")], "order-9"),
        ([("X-Request-ID", "x\tinjected")], ""),
        ([("X-Request-ID", "x" * 129)], ""),
    ],
)
def test_behind_rays_middleware_header_and_scope_have_one_id_that_the_server_made(
    monkeypatch, sent, correlation
):
    app = as_replica_behind_haproxy(monkeypatch)
    first, second = asked(app, *sent), asked(app, *sent)
    for answer in (first, second):
        assert answer.headers.get_list("x-request-id") == [answer.json()["request"]]
        assert MADE.fullmatch(answer.json()["request"]) and answer.json()["request"] != "0" * 32
        assert answer.json()["correlation"] == correlation
    assert first.json()["request"] != second.json()["request"]


def test_a_request_that_was_numbered_already_keeps_its_number(monkeypatch):
    """HAProxy and Ray's hook may both be configured."""
    twice = RequestIds(RequestIds(shows_ids))
    assert asked(twice, ("X-Request-ID", "order-7")).json()["correlation"] == "order-7"


def test_no_header_can_pass_for_an_id_that_the_server_made():
    answer = asked(shows_ids, (ASSIGNED, "chosen"), ("X-Request-ID", "chosen"))
    assert MADE.fullmatch(answer.json()["request"]) and answer.json()["correlation"] == "chosen"
