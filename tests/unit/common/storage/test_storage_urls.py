"""Addresses of storage roots: which are accepted, and errors of stores that do not respond."""

import socket
import subprocess
import sys
import time

import pytest
from support.storage.store import SECRET, environment, free_port

from common import storage
from common.errors import ConfigError
from common.storage import root as places

pytestmark = pytest.mark.usefixtures("no_mirrors")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("s3:/bucket/prefix/", "s3://bucket/prefix"),
        ("S3://bucket", "s3://bucket"),
        ("gs://bucket/a b", "gs://bucket/a b"),
        ("az://container/x", "az://container/x"),
    ],
)
def test_a_url_names_a_folder_in_the_cache(tmp_path, monkeypatch, given, url):
    monkeypatch.setenv("NSECAST_CACHE", str(tmp_path))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    home = storage.home(given)
    assert home.parent == tmp_path and storage.home(url) == home
    assert storage.address_of(home) == storage.display_path(home) == url
    path = home / "runs" / "r"
    assert storage.address_of(path) == f"{url}#runs/r" and storage.locate(f"{url}#runs/r") == path
    assert storage.display_path(path) == f"{url}/runs/r"
    assert storage.home(f"{url}x") != home
    assert home.stat().st_mode & 0o077 == 0, "copies are for this user alone"


@pytest.mark.parametrize("given", ["ftp://host/x", "https://bucket.example/x", "file:///tmp/x"])
def test_a_url_of_an_unknown_kind_is_refused_with_the_known_kinds(given):
    with pytest.raises(ConfigError, match="s3://, gs://, az://"):
        storage.home(given)


@pytest.mark.parametrize("given", ["s3://", "s3://user:word@bucket/x", "s3://bucket/x?key=word", "s3://b#x"])
def test_a_url_without_a_bucket_or_with_further_parts_is_refused(given):
    with pytest.raises(ConfigError, match="need s3://BUCKET/PREFIX") as caught:
        storage.home(given)
    assert "word" not in str(caught.value)


def test_a_path_into_a_mirror_of_another_process_is_recognised(tmp_path, monkeypatch):
    monkeypatch.setenv("NSECAST_CACHE", str(tmp_path))
    path = storage.home("s3://bucket/prefix") / "runs" / "r"
    code = (
        "import sys; from common import storage; path = storage.home(sys.argv[1]); "
        "print(storage.address_of(path), storage.mirror_of(path).root)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["s3://bucket/prefix#runs/r", str(path.parents[1])]


def test_without_a_mirror_no_path_is_looked_at(monkeypatch, tmp_path):
    class Untouchable(dict):
        def items(self):
            raise AssertionError

    monkeypatch.setattr(places, "_MIRRORS", Untouchable())
    storage.write_bytes(tmp_path / "a", b"1")
    assert storage.fetch_matching(tmp_path, "*") == [tmp_path / "a"]


@pytest.mark.parametrize("kind", ["no listener", "no response"])
def test_an_unreachable_store_is_an_error_that_names_its_address_and_no_secret(tmp_path, monkeypatch, kind):
    silent = socket.create_server(("127.0.0.1", 0))
    port = free_port() if kind == "no listener" else silent.getsockname()[1]
    for name, value in environment(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NSECAST_CACHE", str(tmp_path))
    monkeypatch.setenv("NSECAST_STORE_TIMEOUT_S", "1")
    began = time.monotonic()
    reason = {"no listener": "Connection refused", "no response": "no answer in time"}[kind]
    message = f"s3://bucket/x/a: the object store failed: {reason}"
    with silent, pytest.raises(storage.StorageError, match=message) as caught:
        storage.up_to_date(storage.home("s3://bucket/x") / "a")
    assert time.monotonic() - began < 25, "by itself it would be patient for 30 s"
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__)
