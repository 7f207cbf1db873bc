"""`serve deploy` on a real Ray node that was started as the image starts it: HAProxy hardened, spans on."""

import functools
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import yaml
from support.machine.cluster import nsecast
from support.machine.waiting import until
from support.releases.release import made_release

from cluster.connect.local_cluster import LocalCluster
from cluster.connect.ports import free_port
from cluster.local.cluster import down, up
from common.release.registry import Registry
from serve.launch.private import REQUEST_S
from serve.launch.proxy_environment import THROUGHPUT

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
PREDICT = "/api/v4/predict"
TRACE = "0af7651916cd43dd8448eb211c80319c"
eventually = functools.partial(
    until, patience_s=120, every_s=0.3, pending=(httpx.TransportError, ValueError, KeyError)
)
"""Seldom, because each try may count against the rate limit."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one")
    Registry(home).promote("one")
    return home


@dataclass
class Service:
    """One deployed application and the file that it was deployed from."""

    home: Path
    folder: Path
    cluster: LocalCluster
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def deploy(self, user_config: dict[str, Any]) -> None:
        """Write the configuration with these limits of the router and run `serve deploy`."""
        document = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.port, "request_timeout_s": 15},
            "logging_config": {"enable_access_log": False},
            "tracing_config": {"enabled": True, "sampling_ratio": 1.0},
            "applications": [
                {
                    "name": "nsecast",
                    "route_prefix": "/",
                    "import_path": "serve.app:build_app",
                    "args": {
                        "home": str(self.home),
                        "access_log": str(self.home / "logs"),
                        "specific_max": 1,
                        "forecasts_remembered": 0,
                    },
                    "deployments": [{"name": "Router", "user_config": user_config}],
                }
            ],
        }
        path = self.home / "serve.yaml"
        path.write_text(yaml.safe_dump(document))
        done = subprocess.run(
            [f"{sys.exec_prefix}/bin/serve", "deploy", "--address", self.cluster.dashboard, str(path)],
            cwd=ROOT,
            env=os.environ | {"RAY_AUTH_MODE": "token"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def forecast(self, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}{PREDICT}", json={"symbol": "MOVES"}, headers=headers, timeout=30)

    def pids(self) -> set[int]:
        """Processes of the router and of every model replica."""
        stats = httpx.get(f"{self.url}/api/v4/stats", timeout=30).json()
        return {stats["router"], *(replica["pid"] for replica in stats["replicas"])}

    def spans(self) -> list[dict[str, Any]]:
        """What Ray's own exporter wrote, one JSON object after the other."""
        results = []
        for path in self.folder.glob("*/session_*/logs/serve/spans/*.json"):
            text, decoder = path.read_text(), json.JSONDecoder()
            while text.strip():
                span, end = decoder.raw_decode(text.lstrip())
                results.append(span)
                text = text.lstrip()[end:]
        return results


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="nse-") as sockets:
        exports = nsecast("serve", "haproxy", "--folder", f"{sockets}/haproxy", home=home).stdout
        hardened = dict(shlex.split(line)[1].split("=", 1) for line in exports.splitlines())
        assert os.access(hardened["RAY_SERVE_HAPROXY_BINARY_PATH"], os.X_OK)
        for name, text in (THROUGHPUT | hardened).items():
            patch.setenv(name, text)
        patch.setenv("PYTHONPATH", str(ROOT))
        try:
            cluster, _ = up(home, 1, 2)
            result = Service(home, Path(cluster.folder), cluster, free_port())
            result.deploy({})
            eventually(lambda: httpx.get(f"{result.url}/readyz", timeout=5).status_code == 200, "ready")
            yield result
        finally:
            down(home)


def answer_to(port: int, pieces: list[bytes], pause_s: float) -> tuple[bytes, float]:
    """What a client gets that sends piece by piece and then nothing more, and after how many seconds."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=REQUEST_S + 30) as client:
        answer = b""
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause_s)
        while part := client.recv(65536):
            answer += part
    return answer, time.monotonic() - begun


def test_slow_clients_are_disconnected(service: Service):
    """Ray's own HAProxy keeps both for an hour."""
    host = f"Host: 127.0.0.1:{service.port}\r\n".encode()
    headers = [b"GET /healthz HTTP/1.1\r\n", host, b"X-Slow: "]
    body = [
        b"POST /api/v4/predict HTTP/1.1\r\n" + host,
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n",
        b'{"symbol": ',
    ]
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(answer_to, service.port, pieces, 0.5) for pieces in (headers, body)]
        for item in answers:
            answer, took_s = item.result()
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert took_s >= REQUEST_S
        assert b"urn:nsecast:too-slow" in answer, "of a slow body; HAProxy answers slow headers by itself"
    assert service.forecast().status_code == 200


def test_changed_limits_reach_the_running_router_and_no_process_is_replaced(service: Service):
    before = service.pids()
    assert service.forecast().status_code == 200 and len(before) == 3
    service.deploy({"limits": {"forecasts_per_minute": 2}})
    eventually(lambda: service.forecast().status_code == 429, "the new rate")
    service.deploy({"limits": {"batch_symbols": 1}})
    eventually(lambda: service.forecast().status_code == 200, "the old rate again")
    batch = {"symbols": ["MOVES", "THIN"]}
    refused = httpx.post(f"{service.url}/api/v4/predict/batch", json=batch, timeout=30)
    assert refused.status_code == 422 and "at most 1" in refused.json()["detail"]
    service.deploy({"limits": {"batch_symbol": 1}})  # misspelt
    health = f"{service.url}/api/v4/health"
    problems = eventually(lambda: httpx.get(health, timeout=5).json()["problems"], "the problem")
    assert "batch_symbol" in problems[0]
    assert httpx.post(f"{service.url}/api/v4/predict/batch", json=batch, timeout=30).status_code == 422
    service.deploy({})
    eventually(lambda: httpx.get(health, timeout=5).json()["status"] == "healthy", "the limits of `args`")
    assert service.pids() == before


def test_one_trace_goes_from_the_router_to_the_replica(service: Service):
    parent = f"00-{TRACE}-b7ad6b7169203331-01"
    assert service.forecast(traceparent=parent).status_code == 200

    def joined() -> bool:
        spans = {span["context"]["span_id"]: span for span in service.spans()}
        ours = [span for span in spans.values() if TRACE in span["context"]["trace_id"]]
        models = [span for span in ours if span["attributes"].get("deployment") == "SpecificModel"]
        above = {"POST /api/v4/predict", "route_to_replica SpecificModel forecast"}
        return any(above <= ancestors(span, spans) for span in models)

    eventually(joined, "spans of router and replica in one trace", patience_s=30)


def ancestors(span: dict[str, Any], spans: dict[str, dict[str, Any]]) -> set[str]:
    """Names of the spans above one."""
    result = set()
    while span := spans.get(span["parent_id"] or "", {}):
        result.add(span["name"])
    return result


def test_a_replicas_log_line_names_the_request(service: Service):
    httpx.post(f"{service.url}/api/v4/cache/clear", timeout=30)
    path = next((service.home / "releases/one/stock_specific_residual/MOVES").glob("model.onnx"))
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    try:
        answer = service.forecast().json()
    finally:
        path.write_bytes(content)
    assert answer["model_type"] == "general"

    def named() -> bool:
        logs = [entry.read_text() for entry in (service.home / "logs").glob("warnings-*.log")]
        return any(f"no forecast request_id={answer['request_id']} model=MOVES@one" in log for log in logs)

    eventually(named, "the request id in a replica's log", patience_s=30)
