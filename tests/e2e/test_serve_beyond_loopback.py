"""`nsecast serve` for other machines: only on the requested address, and only with a key."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from support.machine.hosts import Host, second_host, why_no_hosts
from support.releases.release import made_release
from support.serving.serve_command import serve_command, serve_process
from typer.testing import CliRunner

import nsecast
from cluster.connect.ports import descendants, free_port, listeners
from common.release.registry import Registry

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
MADE_UP = "nse_0123456789ab_" + "A" * 43
ASK = """
import json, sys, urllib.error, urllib.request
path, key, body = json.loads(sys.argv[1])
headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
content = json.dumps(body).encode() if body else None
try:
    with urllib.request.urlopen(urllib.request.Request(path, content, headers), timeout=60) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


@dataclass(frozen=True)
class Server:
    url: str
    pid: int
    host: Host
    """The machine that sends the requests."""
    keys: dict[str, str]

    def request(self, path: str, who: str = "", body: dict | None = None) -> tuple[int, str]:
        """Status and content that the other machine gets, with a key of ``keys`` or without one."""
        words = json.dumps([self.url + path, self.keys.get(who, who), body])
        command = [*self.host.through, sys.executable, "-I", "-c", ASK, words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        status, _, content = done.stdout.partition(" ")
        return int(status), content


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if reason := why_no_hosts():
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one")
    Registry(home).promote("one")
    added = {"reader": [], "operator": ["--admin"]}
    keys = {name: key_of(home, name, *more) for name, more in added.items()}
    log, port, settings = home / "log", free_port(), {"specific_max": 1, "reload_every_s": 0.5}
    with second_host() as host:
        command = serve_command(home, "--host", host.here, port=port, settings=settings)
        with serve_process(command, log) as process:
            assert f"keys: {home / 'serve' / 'keys.json'}" in re.sub(r"\s*\n\s*", " ", log.read_text())
            yield Server(f"http://{host.here}:{port}", process.pid, host, keys)


def key_of(home: Path, name: str, *more: str) -> str:
    done = CliRunner().invoke(nsecast.app, ["serve", "keys", "--home", str(home), "--add", name, *more])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_another_machine_gets_a_forecast_with_a_key_and_nothing_without(server: Server):
    ask = {"symbol": "MOVES"}
    status, content = server.request("/api/v4/predict", "reader", ask)
    answer = json.loads(content)
    assert status == 200 and (answer["symbol"], answer["release"]) == ("MOVES", "one")
    for who in ("", MADE_UP, server.keys["reader"][:-1] + "_"):
        status, content = server.request("/api/v4/predict", who, ask)
        assert status == 401 and json.loads(content)["status"] == 401, who
        assert "last_price" not in content and "release" not in content


def test_another_machine_may_only_with_an_admins_key_change_the_service(server: Server):
    assert server.request("/api/v4/cache/clear", "", {"a": 1})[0] == 401
    assert server.request("/api/v4/cache/clear", "reader", {"a": 1})[0] == 403
    assert server.request("/api/v4/cache/clear", "operator", {"a": 1})[0] == 200


def test_probes_answer_without_a_key_and_say_nothing_of_the_data(server: Server):
    for path in ("/healthz", "/readyz"):
        status, content = server.request(path)
        assert status == 200 and len(content) < 200 and "MOVES" not in content


def test_the_server_listens_only_on_the_requested_address(server: Server):
    port = int(server.url.rpartition(":")[2])
    results = [socket for socket in listeners(descendants(server.pid)) if socket.port == port]
    assert {result.address for result in results} == {server.host.here} and results
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5)


def test_routers_and_their_statistics_are_reachable_only_through_haproxy(server: Server):
    beyond = [socket for socket in listeners(descendants(server.pid)) if not socket.on_loopback]
    proxies = {item.port for item in beyond if item.process == "haproxy"}
    assert proxies == {int(server.url.rpartition(":")[2])}, beyond
    for entry in beyond:  # every Ray worker has a port for Ray itself, which speaks gRPC and wants a token
        if "ServeRep" in entry.process:
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://{server.host.here}:{entry.port}/healthz", timeout=5).raise_for_status()
