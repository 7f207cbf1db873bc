"""A night that first brings what the publisher has: real HTTP on loopback, a connection that breaks off."""

import functools
import hashlib
from pathlib import Path

import pytest
from support.prices.archive import Publisher, publishing, zipped
from support.training.night import FIRST_END, retrain_request, trained_ahead, write_archive
from typer.testing import CliRunner

import nsecast
from common.archive import fetch
from common.archive.layouts import SYNTHETIC_FILE
from common.archive.sources import Source
from common.release.registry import Registry
from train.nightly.nightly import retrain


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def prices(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("NSE_data_all_stocks_*.csv"))}


@pytest.fixture
def publisher(monkeypatch):
    with publishing(monkeypatch) as server:
        yield server


def test_a_night_fetches_trains_on_what_came_and_a_wrong_file_changes_nothing(
    tmp_path,
    monkeypatch,
    publisher: Publisher,
):
    home, archive = tmp_path / "home", tmp_path / "archive"
    published = write_archive(tmp_path / "published", FIRST_END)
    (published / SYNTHETIC_FILE).unlink()  # what is fetched is never synthetic
    files = prices(published)
    trained_ahead(retrain_request(published), home, None)
    source = Source(id="abc", version=2, years="2021-2022", files={k: sha(v) for k, v in files.items()})
    publisher.body, publisher.plan = zipped(**{f"prices/{k}": v for k, v in files.items()}), ["drop"]
    from_here = functools.partial(
        fetch.fetch_archive, sources=[source], base_url=publisher.url, sleep=lambda seconds: None
    )
    monkeypatch.setattr(fetch, "fetch_archive", from_here)

    record = retrain(retrain_request(archive, fetch=True), home).values
    assert record["state"] == "promoted" and prices(archive) == files
    assert record["steps"]["ingest"]["decision"]["fetched"]["written"] == sorted(files)
    first, second = (headers for _, headers in publisher.requests)
    assert "Range" not in first, "and the second goes on where the first broke off"
    assert second["Range"] == f"bytes={len(publisher.body) // 3}-"
    production = Registry(home).production()
    assert production == record["release"] and production.startswith(f"{FIRST_END:%Y%m%d}-")

    words = ["retrain", "--home", str(home), "--archive", str(archive), "--fetch"]
    answer = CliRunner().invoke(nsecast.app, words)
    assert answer.exit_code == 0 and answer.stdout.startswith("nothing to do: ")
    assert len(publisher.requests) == 2, "what is there is not asked for again"

    name = max(files)
    (archive / name).write_bytes(b"damaged")
    publisher.body, publisher.etag = zipped(**{f"prices/{k}": v + b"\n" for k, v in files.items()}), '"v2"'
    answer = CliRunner().invoke(nsecast.app, words)
    assert answer.exit_code == 1 and len(publisher.requests) == 3
    assert "sha256" in answer.stderr and f"still {production}" in answer.stderr
    assert prices(archive) == files | {name: b"damaged"}
    assert Registry(home).production() == production and len(Registry(home).history()) == 1
