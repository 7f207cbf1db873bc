"""The Python client against a real server on loopback, and against one that misbehaves."""

import asyncio
import datetime as dt
import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import httpx
import numpy as np
import pandas as pd
import pytest
from support.releases.loaded_release import SETTINGS, loaded_release
from support.releases.loaded_release import predict as release_returns
from support.releases.release import made_release
from support.serving.client import GOOD, QUICK, Waited
from support.serving.server import serving

from common.errors import (
    BadRequest,
    ConfigError,
    InsufficientHistory,
    NotAuthenticated,
    NsecastError,
    UnknownSymbol,
)
from common.release.registry import Registry
from common.release.released_models import read_model_card
from serve.auth.keys import KeyFile
from serve.client import AsyncClient, Client, calls
from serve.ingress.app import openapi_description
from serve.schemas.forecast import Model
from serve.settings import ServeSettings
from serve.views import models as pages
from serve.views.market import market_page

ROOT = Path(__file__).resolve().parents[4]
ACROSS_A_CALL = {"timestamp", "request_id", "execution_time", "cached"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    made_release(home, **SETTINGS)
    Registry(home).promote("made")
    with serving(home) as url:
        yield url


@pytest.fixture(params=[Client, Waited], ids=["sync", "async"])
def client(request, server):
    return request.param(server, retry=QUICK)


def same(one: Any, other: Any) -> bool:
    return one.model_dump(exclude=ACROSS_A_CALL) == other.model_dump(exclude=ACROSS_A_CALL)


def test_a_prediction_is_the_servers_to_the_last_digit(client):
    body = {"symbol": "MOVES", "horizon": "5d", "as_of": "2022-01-10"}
    assert same(
        client.predict("MOVES", "5d", as_of=dt.date(2022, 1, 10)), release_returns(loaded_release(), **body)
    )


def test_prices_may_come_as_a_list_an_array_or_a_series(client):
    closes = [10.0 + day % 3 for day in range(60)]
    expected = client.predict("NEWCO", recent_prices=closes, allow_unknown=True)
    for form in (np.array(closes, np.float32), pd.Series(closes), (price for price in closes)):
        assert same(client.predict("NEWCO", recent_prices=form, allow_unknown=True), expected)
    bars = [{"close": price, "volume": 100.0} for price in closes]
    assert client.predict("NEWCO", recent_bars=bars, allow_unknown=True).symbol == "NEWCO"


def test_many_are_answered_and_those_that_fail_are_listed(client):
    result = client.predict_batch(["MOVES", "THIN", "SHORT"], "10d")
    assert [prediction.symbol for prediction in result.predictions] == ["MOVES", "THIN"]
    assert [(error.symbol, error.status) for error in result.summary.errors] == [("SHORT", 422)]
    everything = client.predict_all("10d")
    assert everything.summary.total == 6
    sector = client.predict_sector("unknown", "10d")
    assert [prediction.prediction for prediction in sector.predictions] == [
        prediction.prediction for prediction in everything.predictions
    ]
    closes = [20.0 + day % 2 for day in range(60)]
    own = client.predict_batch(["MOVES", "THIN"], recent_prices={"THIN": closes})
    assert {prediction.symbol: prediction.last_price for prediction in own.predictions}["THIN"] == closes[-1]


def test_the_pages_are_the_servers(client):
    loaded = loaded_release()
    use = pages.ModelUse(
        frozenset(f"{job}@made" for job in ("general", *loaded.own)), ServeSettings().models_loaded
    )
    listed = client.models(include_sectors=True)
    assert listed.cache_stats.cache_size == len(loaded.own) > 0
    assert listed.model_copy(update={"cache_stats": None}) == pages.available(
        loaded, include_sectors=True
    ).model_copy(update={"cache_stats": None})
    assert client.models().sectors is None
    assert client.card() == read_model_card(loaded.release)
    assert client.model("MOVES") == pages.stock_model(loaded, "MOVES", use=use)
    assert client.matrix() == pages.matrix_page(loaded)
    assert client.history("MOVES", "5d", days=30) == pages.history_page(
        loaded, "MOVES", horizon="5d", days=30
    )
    assert client.health().release == "made" and client.stats().release == "made"
    assert client.market() == market_page(loaded)
    assert client.insights().release == client.releases().serving == "made"
    assert client.live().note
    outlook = client.outlook("MOVES")
    assert [prediction.horizon for prediction in outlook.predictions] == ["1d", "5d", "10d", "30d"]


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda client: client.predict("MOVED"), UnknownSymbol, "Did you mean MOVES?"),
        (lambda client: client.predict("SHORT"), InsufficientHistory, "need 12 closes"),
        (lambda client: client.history("../etc"), NsecastError, ""),
        (lambda client: client.history("MOVES", days=0), BadRequest, "days: got '0', need"),
        (lambda client: client.predict_sector("Fishing"), BadRequest, "There are: Unknown"),
    ],
)
def test_a_problem_is_raised_as_the_error_it_was(client, ask, error, message):
    with pytest.raises(error) as caught:
        ask(client)
    raised = caught.value
    assert (
        message in raised.message and 400 <= raised.context["status"] < 500 and raised.context["request_id"]
    )
    assert pickle.loads(pickle.dumps(raised)).context == raised.context
    if error is UnknownSymbol:
        assert raised.context["near"] == ["MOVES"] and raised.context["status"] == raised.http_status == 404


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.predict("MOVES", "7d"),
        lambda client: client.predict("MOVES", recent_prices=[1.0, float("nan")] * 40),
        lambda client: client.predict_batch([]),
        lambda client: client.predict("MOVES", as_of="2024-02-30"),
    ],
)
def test_invalid_requests_are_not_sent(script, kind, ask):
    script.answers = [GOOD]
    with pytest.raises(BadRequest, match="not sent: "):
        ask(kind(script.url))
    assert script.requests == []


def test_the_key_is_sent_only_in_its_header(tmp_path, kind, monkeypatch):
    made_release(tmp_path, **SETTINGS)
    Registry(tmp_path).promote("made")
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("me")
    with serving(tmp_path, keys=str(keys.path)) as url:
        monkeypatch.delenv("NSECAST_KEY", raising=False)
        with pytest.raises(NotAuthenticated):
            kind(url).health()
        assert kind(url, key=key).health().status == "healthy"
        monkeypatch.setenv("NSECAST_KEY", key)
        assert kind(url).health().status == "healthy"
        with pytest.raises(NotAuthenticated) as caught:
            kind(url, key="nse_wrong").health()
    assert key not in repr(Client(url, key=key)) + repr(caught.value) + str(vars(caught.value))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://host:port", ""])
def test_an_invalid_address_is_refused_at_once(url):
    with pytest.raises(ConfigError, match="url: "):
        Client(url)


def test_proxy_settings_of_the_environment_are_ignored_for_this_machine(script, kind, monkeypatch):
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9" if "all" in name.lower() else "http://127.0.0.1:9")
    script.answers = [GOOD]
    assert kind(script.url, retry=QUICK).health().release == "made"


def test_a_client_is_a_context_manager_that_closes_its_connections(script):
    script.answers = [GOOD]
    with Client(script.url) as client:
        client.health()
    with pytest.raises(RuntimeError):
        client.health()

    async def work() -> None:
        async with AsyncClient(script.url) as client:
            await asyncio.gather(*(client.health() for _ in range(5)))

    asyncio.run(work())
    assert len(script.requests) == 6


def test_both_clients_have_a_method_for_each_call_with_its_signature_and_description():
    described = {
        name: function
        for name, function in vars(calls).items()
        if inspect.isfunction(function) and not name.startswith("_") and function.__module__ == calls.__name__
    }
    for kind in (Client, AsyncClient):
        client = kind("http://127.0.0.1:9")
        public = {name for name in dir(client) if not name.startswith("_")}
        assert public - {"close", "url", "retry"} == described.keys()
        for name, call in described.items():
            method = getattr(client, name)
            (answer,) = get_args(inspect.signature(call).return_annotation)
            assert inspect.signature(method) == inspect.signature(call).replace(return_annotation=answer)
            assert method.__doc__ == call.__doc__
            assert issubclass(answer, Model) or (answer is str and name == "card")


def test_every_get_of_the_api_has_its_method():
    results = {describe().path for describe in (calls.models, calls.matrix, calls.market, calls.insights)}
    results |= {describe().path for describe in (calls.releases, calls.live, calls.health, calls.stats)}
    results.add(calls.card().path)
    results |= {describe("{symbol}").path for describe in (calls.outlook, calls.model, calls.history)}
    results = {unquote(path) for path in results} | {calls.predict_all().path}
    paths = openapi_description()["paths"]
    assert results == {
        path for path, methods in paths.items() if "get" in methods and path.startswith(calls.V4)
    }


def test_importing_the_client_loads_no_ray_no_tensorflow_and_no_web_framework():
    code = "import sys; before = set(sys.modules); import serve.client; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "httpx" in loaded
    assert not loaded & {"ray", "tensorflow", "keras", "fastapi", "starlette", "onnxruntime", "uvicorn"}


def test_a_client_may_be_used_by_many_threads(server):
    from concurrent.futures import ThreadPoolExecutor

    with Client(server) as client, ThreadPoolExecutor(8) as pool:
        result = list(pool.map(lambda _: client.predict("THIN").prediction, range(40)))
    assert len(set(result)) == 1
    assert httpx.get(f"{server}/healthz", timeout=60).status_code == 200
