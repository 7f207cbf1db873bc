"""Clients of the earlier system at the same paths: the names and types of its answers are in ours."""

import datetime as dt
from typing import Any

import httpx
import pytest
from support.releases.loaded_release import SETTINGS, loaded_release
from support.releases.release import made_release
from support.serving.server import serving

from common.release.registry import Registry

NUMBER = (int, float)
CACHE = {
    "cache_hit_rate": float,
    "specific_models": int,
    "general_model_stocks": int,
    "cache_size": int,
    "cache_capacity": int,
    "total_requests": int,
    "cache_hits": int,
}
PREDICTION = {
    "symbol": str,
    "prediction": NUMBER,
    "horizon": str,
    "confidence_interval": {"lower": NUMBER, "upper": NUMBER},
    "mape": NUMBER,
    "model_version": str,
    "execution_time": NUMBER,
    "cached": bool,
    "timestamp": dt.datetime,
}
DONE = {"status": str, "message": str, "timestamp": dt.datetime}
CLOSES = [20.0 + day % 2 for day in range(60)]
ANSWERS: dict[tuple[str, str], tuple[dict[str, Any] | None, dict[str, Any]]] = {
    ("GET", "health"): (
        None,
        {
            "status": str,
            "service": str,
            "total_coverage": int,
            "specific_models": int,
            "general_model_stocks": int,
            "cache_size": str,
            "cache_hit_rate": float,
            "timestamp": dt.datetime,
        },
    ),
    ("GET", "models/available"): (
        None,
        {
            "total_stocks": int,
            "trained_models": int,
            "available_stocks": [str],
            "models_by_sector": {"Unknown": [str]},
            "model_version": str,
            "cache_stats": CACHE,
        },
    ),
    ("GET", "models/MOVES"): (
        None,
        {
            "symbol": str,
            "available": bool,
            "cached": bool,
            "training_date": dt.date,
            "test_mape": NUMBER,
            "model_version": str,
        },
    ),
    ("POST", "predict"): ({"symbol": "MOVES"}, PREDICTION),
    ("POST", "predict/batch"): (
        {"symbols": ["MOVES", "THIN", "NONE"], "recent_prices": CLOSES},
        {
            "predictions": [PREDICTION],
            "summary": {"total": int, "successful": int, "failed": int, "errors": list},
            "execution_time": NUMBER,
            "timestamp": dt.datetime,
        },
    ),
    ("GET", "stats"): (None, {"cache_stats": CACHE, "cached_stocks": [str]}),
    ("POST", "refresh"): (None, DONE),
    ("POST", "cache/clear"): (None, DONE),
}


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    made_release(home, **SETTINGS)
    Registry(home).promote("made")
    with serving(home) as url, httpx.Client(base_url=f"{url}/api/v4/") as client:
        yield client


def check(value: Any, kind: Any) -> None:
    if isinstance(kind, dict):
        for name, inner in kind.items():
            check(value[name], inner)
    elif isinstance(kind, list):
        assert isinstance(value, list) and value
        for item in value:
            check(item, kind[0])
    elif kind in (dt.datetime, dt.date):
        kind.fromisoformat(value)
    else:
        assert isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


@pytest.mark.parametrize(("method", "page"), ANSWERS)
def test_an_answer_has_the_earlier_names_and_types(http, method, page):
    body, kinds = ANSWERS[method, page]
    answer = http.request(method, page, json=body)
    assert answer.status_code == 200, answer.text
    check(answer.json(), kinds)


def test_the_status_word_is_the_earlier_one(http):
    assert http.get("health").json()["status"] == "healthy"


def test_the_counts_of_models_agree_and_follow_what_happens(http):
    http.post("cache/clear")
    assert http.get("stats").json()["cached_stocks"] == []
    before = http.get("models/available").json()["cache_stats"]
    assert http.get("models/MOVES").json()["cached"] is False
    http.post("predict", json={"symbol": "MOVES"})
    stats = http.get("stats").json()
    after = stats["cache_stats"]
    assert stats["cached_stocks"] == ["MOVES"] and http.get("models/MOVES").json()["cached"] is True
    assert after["total_requests"] == before["total_requests"] + 1
    assert after["cache_hit_rate"] == after["cache_hits"] / after["total_requests"]
    health = http.get("health").json()
    assert health["cache_size"] == f"1/{after['cache_capacity']}"
    assert health["total_coverage"] == after["specific_models"] + after["general_model_stocks"]


def test_one_list_of_prices_serves_every_symbol_of_a_batch(http):
    body = {"symbols": ["MOVES", "THIN"], "recent_prices": CLOSES}
    answers = http.post("predict/batch", json=body).json()["predictions"]
    assert [answer["last_price"] for answer in answers] == [CLOSES[-1]] * 2


def test_a_stock_without_a_figure_has_the_general_models_and_says_so(http):
    rows = loaded_release().matrix.values()
    known = [row.horizons["1d"] for row in rows if row.model == "general" and row.horizons["1d"].n]
    total = sum(errors.n for errors in known)
    body = {"symbol": "NEWCO", "recent_prices": CLOSES, "allow_unknown": True}
    answer = http.post("predict", json=body).json()
    assert answer["mape_source"] == "general" and answer["naive_mape"] is None
    assert answer["mape"] == pytest.approx(sum(errors.mape * errors.n for errors in known) / total)
    assert http.post("predict", json={"symbol": "MOVES"}).json()["mape_source"] == "stock"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"symbol": " nse:moves ", "horizon": 5}, 200),
        ({"symbol": "MOVES.KE", "horizon": "5D"}, 200),
        ({"symbol": ""}, 422),
        ({"symbol": "x" * 10_000}, 422),
        ({"symbol": "\u041c\u041e\u0412\u0415\u0405"}, 422),  # Cyrillic letters
        ({"symbol": "MOVES", "horizon": True}, 422),
        ({"symbol": "MOVES", "horizon": "7"}, 422),
    ],
)
def test_symbols_and_horizons_as_people_write_them(http, body, status):
    answer = http.post("predict", json=body)
    assert answer.status_code == status
    if status == 200:
        assert (answer.json()["symbol"], answer.json()["horizon"]) == ("MOVES", "5d")


def test_a_path_has_them_too(http):
    assert http.get("outlook/NSE%3AMOVES").json()["symbol"] == "MOVES"
    assert http.get("models/moves.ke").json()["symbol"] == "MOVES"
    assert http.get("history/%20MOVES?horizon=5D").json()["horizon"] == "5d"
    assert http.get("outlook/MOVES%2F..%2Fhealth").status_code == 404
    assert http.get("models/" + "x" * 10_000).status_code == 422
