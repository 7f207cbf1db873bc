"""API keys: only their hashes are kept, and a change to the file counts at once."""

import json
import logging
import stat

import pytest
from support.serving.server import Client

from common.errors import ConfigError, Forbidden, NotAuthenticated
from serve.auth.keys import KeyFile
from serve.deployments.router import http_service
from serve.model_client.client import ModelClient
from serve.settings import ServeSettings


@pytest.fixture
def keys(tmp_path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def test_a_key_is_identified_by_its_owner(keys):
    key = keys.create("dashboard")
    client = keys.check(key)
    assert (client.name, client.scopes) == ("dashboard", {"read"}) and client.id in key


def test_the_file_contains_only_hashes_and_is_private(keys):
    key = keys.create("dashboard", ("admin",))
    text = keys.path.read_text()
    assert key not in text and key.split("_", 2)[2] not in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert set(json.loads(text)["keys"][0]) == {"id", "name", "scopes", "sha256", "created"}


def test_keys_differ_and_are_long(keys):
    results = {keys.create("a") for _ in range(20)}
    assert len(results) == 20 and all(len(key.split("_", 2)[2]) == 43 for key in results)


def test_read_keys_may_not_do_what_needs_admin_and_admin_keys_may_read(keys):
    reader, admin = keys.create("reader"), keys.create("admin", ("admin",))
    assert keys.check(admin, "read").name == keys.check(admin, "admin").name == "admin"
    with pytest.raises(Forbidden, match="has read, need admin") as caught:
        keys.check(reader, "admin")
    assert caught.value.http_status == 403


@pytest.mark.parametrize(
    "change", ["none", "empty", "cut", "longer", "last letter", "other secret", "odd", "huge"]
)
def test_an_altered_key_is_refused(keys, change):
    key, other = keys.create("a"), keys.create("b")
    secret = key.split("_", 2)[2]
    tried = {
        "none": None,
        "empty": "",
        "cut": key[:-1],
        "longer": key + "x",
        "last letter": key[:-1] + ("A" if key[-1] != "A" else "B"),
        "other secret": f"{other.rsplit(other.split('_', 2)[2])[0]}{secret}",
        "odd": "nse_\ud800é",
        "huge": "nse_" + "a" * 1_000_000,
    }[change]
    with pytest.raises(NotAuthenticated) as caught:
        keys.check(tried)
    assert caught.value.http_status == 401 and "nse_" not in caught.value.message


def test_a_new_key_and_a_revoked_one_count_at_once(keys):
    reader = KeyFile(keys.path)
    with pytest.raises(NotAuthenticated):
        reader.check("nse_000000000000_" + "a" * 43)
    key = keys.create("a")
    number = reader.check(key).id
    keys.revoke(number)
    with pytest.raises(NotAuthenticated):
        reader.check(key)
    with pytest.raises(ConfigError, match="not in"):
        keys.revoke(number)


def test_a_missing_key_file_refuses_every_key(keys):
    key = keys.create("a")
    keys.check(key)
    keys.path.unlink()
    with pytest.raises(NotAuthenticated):
        keys.check(key)


def test_a_half_written_file_changes_nothing_until_it_is_complete_and_is_reported_once(keys, caplog):
    key = keys.create("a")
    keys.check(key)
    text = keys.path.read_text()
    keys.path.write_text(text[:-30])
    with caplog.at_level(logging.ERROR):
        assert keys.check(key).name == keys.check(key).name == "a"
    assert len(caplog.records) == 1 and "not a file of API keys" in caplog.text
    with pytest.raises(ConfigError, match="not a file of API keys"):
        keys.create("b")


def test_neither_keys_nor_hashes_are_logged_or_printed(keys, caplog):
    with caplog.at_level(logging.DEBUG):
        key = keys.create("a")
        keys.check(key)
        with pytest.raises(NotAuthenticated) as caught:
            keys.check(key[:-2] + "zz")
    digest = json.loads(keys.path.read_text())["keys"][0]["sha256"]
    for secret in (key.split("_", 2)[2][:20], digest):
        assert secret not in caplog.text and secret not in repr(caught.value) + str(caught.value.context)
        assert secret not in repr(keys.check(key))


@pytest.mark.parametrize(
    ("name", "scopes"), [("", ("read",)), ("a" * 65, ("read",)), ("a\n", ("read",)), ("a", ())]
)
def test_a_key_needs_a_name_and_a_scope(keys, name, scopes):
    with pytest.raises(ConfigError, match="need 1 to 64 printable characters and a scope"):
        keys.create(name, scopes)
    with pytest.raises(ConfigError, match="scope: unknown root"):
        keys.create("a", ("root",))


def test_everyone_with_a_key_is_listed(keys):
    keys.create("a")
    keys.create("b", ("read", "admin"))
    assert [(client.name, sorted(client.scopes)) for client in keys.clients()] == [
        ("a", ["read"]),
        ("b", ["admin", "read"]),
    ]


def test_keys_in_an_object_store_are_downloaded_before_requests_come(two_machines, tmp_path, monkeypatch):
    """The event loop waits for no store."""
    monkeypatch.setattr("serve.auth.keys.FOLLOW_S", 3_600)
    here, there = two_machines
    key = KeyFile(here / "serve" / "keys.json").create("reader")
    keys = str(there / "serve" / "keys.json")
    service = http_service(
        ModelClient(None, None, ServeSettings(home=str(tmp_path), keys=keys, access_log="off"))
    )
    monkeypatch.setattr(
        "serve.auth.keys.storage.up_to_date", lambda path: pytest.fail("a request called the store")
    )
    answer = Client(service).get("/api/v4/stats", headers={"X-API-Key": key})
    assert answer.status_code == 503, "the key is known; there is no release"
