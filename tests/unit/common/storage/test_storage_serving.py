"""Servers, keys and logs on several machines that share an object store."""

import asyncio
import datetime as dt
import shutil
import time

import pytest
from obstore.store import MemoryStore
from support.machine.waiting import until
from support.releases.ledger import read_ledger
from support.releases.loaded_release import SETTINGS as LOADED
from support.releases.loaded_release import TODAY, bundle
from support.releases.release import made_release
from support.storage.away_store import Away, store_of
from support.storage.store import machine, objects

from common.errors import BundleError, NotAuthenticated
from common.release.registry import Registry
from serve.audit.ledger import Ledger
from serve.auth import keys as keys_module
from serve.auth.keys import KeyFile
from serve.deployments.model_server import BundleLoader
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import model_key
from serve.inference.release_watcher import ReleaseWatcher
from serve.observability.metrics import Observer
from serve.schemas.forecast import PredictRequest
from serve.settings import LedgerSettings

pytestmark = pytest.mark.usefixtures("no_mirrors")
NOON = dt.datetime(2022, 4, 1, 9, tzinfo=dt.UTC)


@pytest.fixture
def fresh(tmp_path):
    """Makes the storage root of one more machine, all of one store."""
    store = MemoryStore()
    return lambda: machine(tmp_path / f"machine-{len(list(tmp_path.iterdir()))}", store, Away)


def test_a_server_follows_what_another_machine_promotes_and_goes_on_while_the_store_is_away(fresh, caplog):
    here, there = fresh(), fresh()
    for name in ("one", "two", "three"):
        made_release(here, name)
    Registry(here).promote("one")

    async def ready(loaded) -> None:
        pass

    watcher = ReleaseWatcher(there, Observer(), ready)
    assert (result := asyncio.run(watcher.check())).outcome == "taken" and result.release == "one"
    assert asyncio.run(watcher.check()).outcome == "unchanged"
    Registry(here).promote("two")
    assert asyncio.run(watcher.check()).release == "two"

    store_of(there).away = True
    Registry(here).promote("three")
    for _ in range(3):
        result = asyncio.run(watcher.check())
        assert (result.outcome, result.release) == ("unchanged", "two")
    assert caplog.text.count("production alias not readable") == 1
    again = ReleaseWatcher(there, Observer(), ready)
    assert asyncio.run(again.check()).release == "two", (
        "a router that is started meanwhile serves what is here"
    )
    store_of(there).away = False
    for item in (watcher, again):
        assert asyncio.run(item.check(force=True)).release == "three"


def test_a_replica_mends_a_damaged_copy_and_refuses_a_damaged_object(fresh):
    here, there = fresh(), fresh()
    release = made_release(here, "one")
    load, key = BundleLoader(there), model_key("MOVES", "one")
    load(key)
    (name,) = [name for name in release.files if name.endswith("MOVES/model.onnx")]
    copy = Registry(there).resolve("one").path / name
    copy.write_bytes(b"damaged")
    assert load(key).metadata["job"] == "MOVES"
    shutil.rmtree(copy.parents[2])
    assert load(key).metadata["job"] == "MOVES", "a copy that was thrown away is brought again"
    store_of(here).put(f"releases/one/{name}", b"damaged")
    copy.write_bytes(b"damaged")
    with pytest.raises(BundleError, match="one"):
        load(key)


def test_a_stocks_own_model_is_not_loaded_beside_damaged_general_metadata(fresh):
    """The calibration of its probabilities is there."""
    here, there = fresh(), fresh()
    release = made_release(here, "one")
    (name,) = [name for name in release.files if "general" in name and name.endswith("metadata.json")]
    load, key = BundleLoader(there), model_key("MOVES", "one")
    load(key)
    copy = Registry(there).resolve("one").path / name
    published = copy.read_bytes()
    copy.write_bytes(published.replace(b"{", b'{"probability_calibration": null, ', 1))
    load(key)
    assert copy.read_bytes() == published
    copy.unlink()
    load(key)
    assert copy.read_bytes() == published


def test_keys_created_and_revoked_on_one_machine_take_effect_on_another_within_seconds(
    fresh, monkeypatch, caplog
):
    monkeypatch.setattr(keys_module, "FOLLOW_S", 0.05)
    here, there = (KeyFile(home / "serve" / "keys.json") for home in (fresh(), fresh()))
    first = here.create("first")
    assert there.check(first).name == "first"
    second = here.create("second")
    assert soon(lambda: there.check(second)).name == "second"
    here.revoke(there.check(first).id)
    assert soon(lambda: refused(there, first))
    store_of(there.path).away = True
    until(lambda: "keys not downloaded" in caplog.text)
    assert there.check(second).name == "second"


def soon(ask, *, patience_s: float = 60.0):
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except (NotAuthenticated, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def refused(keys: KeyFile, key: str) -> bool:
    try:
        keys.check(key)
    except NotAuthenticated:
        return True
    raise AssertionError("still accepted")


def test_forecasts_that_machines_served_are_read_folded_and_dropped_as_one_log(fresh, caplog):
    loaded = LoadedRelease(made_release(fresh(), "one", **LOADED))
    homes = [fresh(), fresh()]

    def serve(home, symbol, at, **settings):
        ledger = Ledger(home, LedgerSettings(**settings), clock=at.timestamp)
        prepared = loaded.prepare(PredictRequest(symbol=symbol), today=TODAY)
        prices = bundle(loaded, prepared.route.job).forecaster.forecast(prepared.windows, prepared.levels)
        ledger.record(loaded, prepared, prices)
        ledger.close()
        assert ledger.counts["written"] == 1 and not ledger.counts["failures"], caplog.text

    serve(homes[0], "MOVES", NOON)
    serve(homes[1], "THIN", NOON + dt.timedelta(minutes=1))
    rows = read_ledger(fresh())
    assert rows.frame["symbol"].tolist() == ["MOVES", "THIN"] and rows.parts == 2
    serve(homes[1], "GAPS", NOON + dt.timedelta(days=1))
    (path,) = [key for key in objects(homes[0]) if key.startswith("served/2022-04-01/")]
    assert path.startswith("served/2022-04-01/all-")
    again = read_ledger(homes[0])
    assert again.frame["symbol"].tolist() == ["MOVES", "THIN", "GAPS"] and again.parts == 2
    serve(homes[0], "MOVES", NOON + dt.timedelta(days=2), days_kept=2)
    assert {key.split("/")[1] for key in objects(homes[0]) if key.startswith("served/2")} == {
        "2022-04-02",
        "2022-04-03",
    }


def test_a_part_that_cannot_be_stored_is_written_when_the_store_is_back(fresh):
    loaded, home = LoadedRelease(made_release(fresh(), "one", **LOADED)), fresh()
    ledger = Ledger(home, LedgerSettings(), clock=NOON.timestamp)
    prepared = loaded.prepare(PredictRequest(symbol="MOVES"), today=TODAY)
    prices = bundle(loaded, prepared.route.job).forecaster.forecast(prepared.windows, prepared.levels)
    store_of(home).away = True
    ledger.record(loaded, prepared, prices)
    assert not ledger.flush() and ledger.counts["failures"] == 1
    store_of(home).away = False
    assert ledger.flush()
    ledger.close()
    assert len(read_ledger(fresh()).frame) == 1
