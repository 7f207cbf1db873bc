"""`nsecast serve` as a user starts it: a real server, real HTTP, releases that come and go."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.machine.waiting import until
from support.releases.release import doctored, made_exchange, made_release
from support.serving.serve_command import serve_command, serve_process, stop
from support.serving.serve_http import (
    SETTINGS,
    SYMBOLS,
    Server,
    cut_the_general_network_short,
    is_true,
    truth,
)
from support.serving.slow import descriptors, slow_clients
from typer.testing import CliRunner

import nsecast
from cluster.connect.ports import Listener, descendants, free_port, listeners
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.launch.private import REQUEST_S

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
FOLLOW_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves ``one`` of three releases; stopped by Ctrl-C, after which nothing of it may be left."""
    home = tmp_path_factory.mktemp("home")
    for name, shift in (("one", 0.0), ("two", 0.3), ("bad", 0.6)):
        made_release(home, name, shift=shift)
    doctored(Registry(home).resolve("bad"), cut_the_general_network_short)
    Registry(home).promote("one")
    log, port = home / "log", free_port()
    with serve_process(serve_command(home, port=port, settings=SETTINGS), log) as process:
        yield Server(home, f"http://127.0.0.1:{port}", process.pid, log)
        ours = descendants(process.pid)
        stop(process)
        assert "stopped." in log.read_text()
        until(lambda: not [pid for pid in ours if Path(f"/proc/{pid}").exists()], patience_s=10)


def test_every_stock_is_forecast_over_http_with_the_figure_of_the_backtest(server: Server):
    expected = truth(server.home, "one")
    for symbol in SYMBOLS:
        answer = server.predict(symbol=symbol)
        assert answer.status_code == 200 and is_true(answer.json(), expected[symbol])
        assert len(answer.headers.get_list("x-request-id")) == 1
    everything = server.get("/api/v4/predict/all").json()
    assert {prediction["symbol"] for prediction in everything["predictions"]} == set(SYMBOLS)
    assert all(
        is_true(prediction, expected[prediction["symbol"]]) for prediction in everything["predictions"]
    )
    assert [error["symbol"] for error in everything["summary"]["errors"]] == ["SHORT"]


def test_ours_are_on_loopback_and_what_ray_opens_beyond_is_named(server: Server):
    sockets = listeners(descendants(server.pid))
    assert server.url.rpartition(":")[2] in {
        str(socket.port) for socket in sockets if socket.process == "haproxy"
    }

    def is_ours(listener: Listener) -> bool:
        return listener.process == "haproxy"

    assert all(socket.on_loopback for socket in sockets if is_ours(socket))
    beyond = [socket for socket in sockets if not socket.on_loopback and "ServeRep" not in socket.process]
    assert beyond and "warning: Ray itself listens beyond loopback" in server.log.read_text()
    status = CliRunner().invoke(nsecast.app, ["serve", "status", "--home", str(server.home)])
    assert status.exit_code == 0 and all(f"{item.port} (" in status.output for item in beyond)


def test_foreign_names_and_pages_are_refused_and_addresses_are_not_to_be_forged(server: Server):
    clear, port = "/api/v4/cache/clear", server.url.rpartition(":")[2]

    def status(path: str, method: str = "GET", **headers: str) -> int:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(method, server.url + path, headers=names, timeout=60).status_code

    assert status("/api/v4/health", Host="evil.example") == 403
    assert status("/readyz", Host="10.0.0.7:8000") == 200
    assert status(clear, "POST", Origin="https://evil.example") == 403
    assert status(clear, "POST", Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200
    path = "/api/v4/models/FORGED"
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.9")) as client:
        client.get(server.url + path, headers={"X-Forwarded-For": "9.9.9.9"}, timeout=60)

    def clients() -> list[str]:
        lines = (line for file in (server.home / "serve" / "logs").glob("access-*") for line in file.open())
        return [entry["client"] for entry in map(json.loads, lines) if entry["path"] == path]

    until(clients, patience_s=10)
    assert clients() == ["127.0.0.9"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        ('{"symbol": "NOPE"}', "application/json", 404),
        ('{"symbol": "../../etc/passwd"}', "application/json", 422),
        ('{"symbol": "MOVES", "recent_prices": [1, 2, Infinity]}', "application/json", 422),
        ('{"symbol": "MOVES"', "application/json", 400),
        ('{"symbol": "MOVES"}', "text/plain", 415),
        ('{"symbol": "MOVES", "recent_prices": [' + "10.25, " * 200_000 + "1]}", "application/json", 413),
    ],
)
def test_bad_input_is_refused_over_http_with_what_to_send(server: Server, content, kind, status):
    answer = httpx.post(
        f"{server.url}/api/v4/predict", content=content, headers={"content-type": kind}, timeout=30
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json" and answer.json()["detail"]


def test_more_than_it_can_take_gets_503_with_retry_after_and_nothing_else_fails(server: Server):
    batch = {  # prices of their own, so that no answer is remembered
        "symbols": [f"NEW{number}" for number in range(20)],
        "recent_prices": [100 + day % 3 for day in range(60)],
        "allow_unknown": True,
    }

    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{server.url}/api/v4/predict/batch", json=batch, timeout=30)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(80)))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
    assert server.get("/healthz").status_code == 200


def test_hundreds_of_slow_clients_are_disconnected_and_other_clients_get_their_responses(server: Server):
    before = descriptors(descendants(server.pid))
    answers: list[int] = []
    with slow_clients(server.url, {"silent": 150, "header": 150, "body": 50}) as held:
        deadline = time.monotonic() + 2 * REQUEST_S + 10
        while any(item.open for item in held.values()):
            assert time.monotonic() < deadline, held
            answers.append(server.predict(symbol="MOVES").status_code)
            time.sleep(0.2)
    assert set(answers) == {200} and len(answers) > 10
    until(lambda: descriptors(descendants(server.pid)) <= before + 20, patience_s=30)


def test_a_hot_stock_is_answered_by_more_than_one_replica(server: Server):
    def requests_by_replica() -> dict[int, int]:
        replicas = server.get("/api/v4/stats").json()["replicas"]
        return {
            replica["pid"]: replica["requests"] for replica in replicas if replica["tier"] == "stock_specific"
        }

    def closes(number: int) -> list[float]:  # its own, so that no answer is remembered
        return [100 + number / 100 + day % 3 for day in range(60)]

    before = requests_by_replica()
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda n: server.predict(symbol="MOVES", recent_prices=closes(n)), range(100))
        )
    assert {answer.status_code for answer in answers} == {200}
    more = {pid: count - before.get(pid, 0) for pid, count in requests_by_replica().items()}
    assert len(more) == 2 and sum(more.values()) == 100 and min(more.values()) >= 10


def test_promoting_swaps_releases_under_load_without_a_failed_or_mixed_answer(server: Server):
    expected = {name: truth(server.home, name) for name in ("one", "two")}
    assert expected["one"]["MOVES"].raw != expected["two"]["MOVES"].raw
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def load(symbol: str) -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not stop.is_set():
                answers.append(client.post("/api/v4/predict", json={"symbol": symbol}))

    threads = [threading.Thread(target=load, args=(symbol,)) for symbol in ("MOVES", "THIN", "GAPS", "MOVES")]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answers) > 20, patience_s=FOLLOW_S)
        Registry(server.home).promote("two")
        until(lambda: answers and answers[-1].json().get("release") == "two", patience_s=FOLLOW_S)
        time.sleep(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        Registry(server.home).promote("one")
    until(lambda: server.get("/api/v4/health").json()["release"] == "one", patience_s=FOLLOW_S)
    assert {answer.status_code for answer in answers} == {200}
    bodies = [answer.json() for answer in answers]
    assert {body["release"] for body in bodies} == {"one", "two"}
    assert all(is_true(body, expected[body["release"]][body["symbol"]]) for body in bodies)


def test_a_corrupt_release_is_refused_and_the_old_one_continues_to_serve(server: Server):
    before = server.predict(symbol="THIN").json()
    Registry(server.home).promote("bad")
    until(lambda: server.get("/api/v4/health").json()["status"] == "degraded", patience_s=FOLLOW_S)
    refused = httpx.post(f"{server.url}/api/v4/refresh", timeout=60)
    assert refused.status_code == 409 and "bad" in refused.json()["detail"]
    after = server.predict(symbol="THIN").json()
    assert after["release"] == before["release"] and after["prediction"] == before["prediction"]
    Registry(server.home).rollback()
    until(lambda: server.get("/api/v4/health").json()["status"] == "healthy", patience_s=FOLLOW_S)


def test_all_stocks_at_all_horizons_are_forecast_with_the_figures_of_the_backtest(server: Server):
    made_exchange(server.home, "exchange")
    Registry(server.home).promote("exchange")
    until(lambda: server.get("/api/v4/health").json()["release"] == "exchange", patience_s=FOLLOW_S)
    models = ReleasedModels(Registry(server.home).open("exchange"))
    symbols = models.universe.symbols
    assert len(symbols) == 66
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for symbol in symbols:
            for expected in models.forecast(symbol):
                body = {"symbol": symbol, "horizon": f"{expected.horizon}d"}
                for answer in (client.post("/api/v4/predict", json=body) for _ in range(2)):
                    assert answer.status_code == 200 and is_true(answer.json(), expected), body
    Registry(server.home).rollback()
    until(lambda: server.get("/api/v4/health").json()["release"] != "exchange", patience_s=FOLLOW_S)


def test_status_names_the_serving_release(server: Server):
    done = subprocess.run(
        [sys.executable, "-m", "nsecast", "serve", "status", "--home", str(server.home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and server.url in done.stdout and "general" in done.stdout
