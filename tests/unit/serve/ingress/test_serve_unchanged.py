"""Answers about a release over HTTP: compressed, tagged, and not sent twice; what changes is never kept."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.releases.release import made_release
from support.serving.server import serving

from common.exchange.clock import ExchangeClock
from common.release.registry import Registry
from serve.auth.keys import KeyFile
from serve.ingress.responses import matches

KEPT = (
    *(
        "market",
        "insights",
        "matrix",
        "models/available",
        "models/MOVES",
        "models/card",
        "history/MOVES?days=30",
    ),
    *("predict/all?horizon=5d", "outlook/MOVES"),
)
NEVER = ("health", "stats", "releases", "live")


def two_releases(home: Path) -> Path:
    for name, shift in (("one", 0.0), ("two", 0.3)):
        made_release(home, name, shift=shift)
    Registry(home).promote("one")
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_releases(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[httpx.Client]:
    with (
        serving(home, requests_under_way=8) as url,
        httpx.Client(base_url=f"{url}/api/v4/", timeout=60) as client,
    ):
        yield client


def tagged(api: httpx.Client, path: str, tag: str) -> httpx.Response:
    return api.get(path, headers={"If-None-Match": tag})


@pytest.mark.parametrize("path", KEPT)
def test_an_answer_that_the_client_has_is_not_sent_again(api, path):
    first = api.get(path)
    assert first.status_code == 200 and first.headers["cache-control"] == "private, no-cache"
    assert {"Authorization", "X-API-Key"} <= set(first.headers["vary"].replace(" ", "").split(","))
    again = tagged(api, path, first.headers["etag"])
    assert (
        again.status_code == 304 and again.content == b"" and again.headers["etag"] == first.headers["etag"]
    )
    assert tagged(api, path, 'W/"something-else"').status_code == 200


@pytest.mark.parametrize("path", NEVER)
def test_what_changes_from_second_to_second_is_not_kept(api, path):
    answer = api.get(path)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_other_questions_and_other_days_have_other_tags(api, monkeypatch):
    tags = {
        api.get(path).headers["etag"] for path in (*KEPT, "predict/all?horizon=1d", "history/MOVES?days=31")
    }
    assert len(tags) == len(KEPT) + 2
    before = api.get("outlook/MOVES").headers["etag"]
    for day in ("today", "last_due"):
        with monkeypatch.context() as patch:
            patch.setattr(ExchangeClock, day, lambda _, at=None: dt.date(2030, 1, 1))
            assert api.get("outlook/MOVES").headers["etag"] != before, day
            assert tagged(api, "outlook/MOVES", before).status_code == 200
    assert api.get("outlook/MOVES").headers["etag"] == before


def test_a_failure_has_no_tag(api):
    for path in ("outlook/NOPE", "history/MOVES?days=0", "outlook/SHORT"):
        answer = api.get(path)
        assert answer.status_code in (404, 422) and "etag" not in answer.headers


def test_nothing_is_forecast_for_who_has_the_answer(api):
    tag = api.get("predict/all").headers["etag"]
    before = api.get("stats").json()["tiers"]["mixed"]["requests"]
    assert tagged(api, "predict/all", tag).status_code == 304
    assert api.get("stats").json()["tiers"]["mixed"]["requests"] == before


def test_large_answers_are_compressed_and_the_same(api):
    packed = api.get("history/MOVES", headers={"Accept-Encoding": "gzip"})
    plain = api.get("history/MOVES", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert packed.json() == plain.json() and packed.num_bytes_downloaded < len(plain.content) / 4
    assert "content-encoding" not in api.get("health", headers={"Accept-Encoding": "gzip"}).headers


def test_another_release_has_other_tags_and_one_whose_model_failed_has_none(tmp_path):
    home = two_releases(tmp_path)
    with serving(home) as url, httpx.Client(base_url=f"{url}/api/v4/", timeout=60) as api:
        before = {path: api.get(path).headers["etag"] for path in KEPT}
        Registry(home).promote("two")
        assert api.post("refresh").json()["release"] == "two"
        for path, tag in before.items():
            answer = tagged(api, path, tag)
            assert answer.status_code == 200 and answer.headers["etag"] != tag
        sound = api.get("outlook/MOVES").headers["etag"]
        network = home / "releases" / "two" / "stock_specific_residual" / "MOVES" / "model.onnx"
        network.write_bytes(network.read_bytes()[:-9])
        api.post("cache/clear")
        fallback = api.get("outlook/MOVES")
        assert fallback.json()["predictions"][0]["model_type"] == "general"
        assert "etag" not in fallback.headers and fallback.headers["cache-control"] == "no-store"
        assert tagged(api, "outlook/MOVES", sound).status_code == 200


def test_a_tag_opens_nothing_to_who_has_no_key_and_the_page_needs_none(home, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    key = {"X-API-Key": keys.create("reader", ("read",))}
    with serving(home, keys=str(keys.path)) as url, httpx.Client(base_url=url, timeout=60) as client:
        tag = client.get("/api/v4/matrix", headers=key).headers["etag"]
        assert client.get("/api/v4/matrix", headers={"If-None-Match": tag}).status_code == 401
        assert client.get("/api/v4/matrix", headers=key | {"If-None-Match": tag}).status_code == 304
        assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("header", "same"),
    [
        (None, False),
        ("", False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"a"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
    ],
)
def test_tags_are_compared_weakly(header, same):
    assert matches('W/"a"', header) is same
