"""A service on two nodes, one of which dies under steady requests."""

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from support.machine.cluster import command, environment
from support.machine.processes import running
from support.machine.waiting import until
from support.releases.release import made_release

from bench.chaos.elsewhere import end_node
from cluster.connect.local_cluster import LocalCluster
from cluster.connect.ports import free_port
from cluster.connect.processes import processes_with_mark
from cluster.local.cluster import down, up
from common.release.registry import Registry
from serve.launch.proxy_environment import environment as haproxy
from serve.server import GONE_S

pytestmark = [pytest.mark.integration, pytest.mark.long]
SETTINGS = {
    "routers": 2,
    "general_replicas": 2,
    "specific_min": 2,
    "specific_max": 2,
    "forecasts_remembered": 0,
}
PARTS = ("GeneralModel", "Router", "SpecificModel")
COUNTERS = ("MOVES", "THIN", "SPLITS", "GAPS")
A_SECOND, BEFORE_S, AFTER_S, BURST = 20, 3.0, 12.0, 24


@dataclass
class Requests:
    """Steady requests, each retried once if it fails."""

    url: str
    sent: list[tuple[float, float, list[int]]] = field(default_factory=list)
    """When each first try began and ended, and the statuses of both; 0: no answer."""

    def ask(self, client: httpx.Client, number: int) -> None:
        statuses, first = [], (time.monotonic(), 0.0)
        while len(statuses) < 2 and statuses[-1:] != [200]:
            try:
                body = {"symbol": COUNTERS[number % len(COUNTERS)]}
                statuses.append(client.post(f"{self.url}/api/v4/predict", json=body).status_code)
            except httpx.TransportError:
                statuses.append(0)
            if len(statuses) == 1:
                first = first[0], time.monotonic()
                time.sleep(0.5 if statuses != [200] else 0)
        self.sent.append((*first, statuses))

    def burst(self, pool: ThreadPoolExecutor, client: httpx.Client) -> None:
        for number in range(BURST):
            pool.submit(self.ask, client, number)

    def steady(self, pool: ThreadPoolExecutor, client: httpx.Client, over: threading.Event) -> None:
        number, begun = 0, time.monotonic()
        while not over.wait(max(0.0, begun + number / A_SECOND - time.monotonic())):
            pool.submit(self.ask, client, number)
            number += 1


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    made_release(home, "one")
    Registry(home).promote("one")
    (home / "settings.json").write_text(json.dumps(SETTINGS))
    return home


@pytest.fixture(scope="module")
def cluster(home: Path) -> Iterator[LocalCluster]:
    """Two nodes, started for HAProxy."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="nse-") as sockets:
        for name, text in haproxy(Path(sockets), haproxy=True).items():
            patch.setenv(name, text)
        try:
            yield up(home, 2, 1)[0]
        finally:
            down(home)


@dataclass(frozen=True)
class Server:
    """``nsecast serve`` on the cluster."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    port, log = free_port(), home / "log"
    words = ("serve", "--address", "auto", "--port", str(port), "--settings", str(home / "settings.json"))
    with (
        log.open("w") as out,
        running(command(*words), env=environment(home), stdout=out, stderr=out) as process,
    ):
        deadline = time.monotonic() + 180
        while "Ctrl-C stops" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield Server(f"http://127.0.0.1:{port}", process, log)


@pytest.fixture(scope="module")
def server(home: Path, cluster: LocalCluster) -> Iterator[Server]:
    with serving(home) as started:
        yield started


def replicas(cluster: LocalCluster, node: str) -> Counter[str]:
    """How many replicas of each deployment run on a node."""
    result: Counter[str] = Counter()
    for pid in processes_with_mark(f"{cluster.id}/{node}"):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0 ")
        except OSError:
            continue
        result.update(part for part in PARTS if title.startswith(f"ray::ServeReplica:nsecast:{part}"))
    return result


@dataclass(frozen=True)
class Loss:
    """The second node's end under steady requests."""

    before: tuple[Counter[str], Counter[str]]
    """What ran on each node."""
    sent: list[tuple[float, float, list[int]]]
    killed: float
    ended: int
    """How many processes."""


@pytest.fixture(scope="module")
def loss(cluster: LocalCluster, server: Server) -> Loss:
    before = replicas(cluster, "node-0"), replicas(cluster, "node-1")
    requests, over = Requests(server.url), threading.Event()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    with httpx.Client(timeout=30, limits=limits) as client, ThreadPoolExecutor(100) as pool:
        side = threading.Thread(target=requests.steady, args=(pool, client, over))
        side.start()
        time.sleep(BEFORE_S)
        requests.burst(pool, client)
        killed = time.monotonic()
        ended = end_node(cluster, "node-1")
        time.sleep(AFTER_S)
        over.set()
        side.join()
    until(lambda: replicas(cluster, "node-0") == before[0] + before[1])
    return Loss(before, requests.sent, killed, ended)


def test_when_a_node_dies_under_replicas_only_requests_under_way_may_fail_and_none_twice(loss: Loss):
    one_each = Counter(dict.fromkeys(PARTS, 1))
    assert loss.before == (one_each, one_each) and loss.ended >= 4
    assert len(loss.sent) >= A_SECOND * (BEFORE_S + AFTER_S) * 0.9
    failed = [item for item in loss.sent if item[2] != [200]]
    assert [item for item in failed if not item[0] < loss.killed < item[1]] == [], "beyond those under way"
    assert {item[2][-1] for item in loss.sent} == {200}, "a second try failed"
    assert [begun for begun, _, _ in loss.sent if begun > loss.killed + AFTER_S / 2], "no later requests"


@pytest.fixture(scope="module")
def stopped(loss: Loss, server: Server) -> int:
    """The exit status of the server after Ctrl-C."""
    server.process.send_signal(signal.SIGINT)
    return server.process.wait(90)


def test_ctrl_c_ends_a_service_of_a_cluster_in_good_order(server: Server, stopped: int):
    assert stopped == 0, server.log.read_text()


@pytest.mark.usefixtures("stopped")
def test_a_service_that_lost_the_head_of_its_cluster_ends_and_says_what_to_do(
    home: Path, cluster: LocalCluster
):
    with serving(home) as server:
        assert httpx.get(f"{server.url}/readyz", timeout=30).status_code == 200
        assert end_node(cluster, "node-0") >= 4
        assert server.process.wait(GONE_S + 120) == 1
        text = server.log.read_text()
        assert f"the cluster's head at {cluster.address} is gone" in text
        assert "Restart the head" in text and "Traceback" not in text
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/readyz", timeout=30)
