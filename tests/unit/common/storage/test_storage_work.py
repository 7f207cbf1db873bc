"""Work that one machine begins and another goes on with, through a store: runs, trials, nights, serving."""

import asyncio
import datetime as dt
import shutil
import time
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from support.loaded_release import SETTINGS as LOADED
from support.loaded_release import TODAY, bundle
from support.night import LATER_END, _first_night, retrain_request, trained_ahead, write_archive
from support.processes import Killed
from support.release import made_release, made_run
from support.search import EFFORT, a_trial, is_fitted, planned
from support.store import machine, objects
from support.waiting import until

from cluster.monitor.served import read_ledger
from common import storage
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
from train.nightly.nightly import retrain
from train.nightly.nightly_record import STEPS, listed, records
from train.progress.runs import list_runs, read_run, write_progress
from train.run.plan import stored_result
from train.workers.queue import TaskQueue
from tune.search import StudySearch
from tune.spec import SearchSpec
from tune.study import Study
from tune.trial import Trial, fit_folds, progress_by_epoch

pytestmark = pytest.mark.usefixtures("no_mirrors")

NOON = dt.datetime(2022, 4, 1, 9, tzinfo=dt.UTC)


class Away(storage.ObjectStore):
    """Can be out of reach."""

    away = False

    def head(self, key):
        return self._here(super().head, key)

    def read(self, key):
        return self._here(super().read, key)

    def put(self, key, content):
        return self._here(super().put, key, content)

    def download(self, key, target, *, unless=None):
        return self._here(super().download, key, target, unless=unless)

    def below(self, prefix):
        return self._here(super().below, prefix)

    def _here(self, call, *given, **named):
        if self.away:
            raise storage.StorageError(f"{given[0]}: out of reach")
        return call(*given, **named)


@pytest.fixture
def fresh(tmp_path):
    """Makes the storage root of one more machine, all of one store."""
    store = MemoryStore()
    return lambda: machine(tmp_path / f"machine-{len(list(tmp_path.iterdir()))}", store, Away)


def store_of(home: Path) -> Away:
    return storage.mirror_of(home).store


def test_a_record_written_on_one_machine_is_listed_on_another(fresh):
    here, there = fresh(), fresh()
    assert list_runs(there) == []
    snapshot = {"jobs": [{"job": "general", "state": "done"}], "state": "training", "started": time.time()}
    write_progress(here / "runs" / "r", snapshot)
    (here / "runs" / "no-record").mkdir()
    storage.write_bytes(here / "runs/other/spec.json", b"{}")
    (run,) = list_runs(there)
    assert (run["id"], run["state"], run["jobs_done"]) == ("r", "training", 1)
    assert read_run(there / "runs" / "r")["jobs"] == snapshot["jobs"] and read_run(there / "runs/x") is None


def test_a_trial_cut_off_after_any_epoch_goes_on_on_the_next_machine(fresh, tmp_path):
    plain = planned(tmp_path / "plain")
    undisturbed = a_trial(plain)
    fit_folds(plain.spec, undisturbed, lambda standing, weights: None)

    search = planned(first := fresh())
    spec = search.spec
    point, seen = [(spec.default, 0)], []
    total = EFFORT.epochs * EFFORT.folds

    def stop(standing, weights):
        seen.append(standing.work)
        raise Killed

    def continued():
        root = fresh() / "search"
        study = Study(SearchSpec.load(root), root)
        searcher = StudySearch(study, trials=0, compared=point)
        searcher.suggest("t")
        (trial,) = study.trials()
        return searcher, trial

    while len(seen) < total:
        _, trial = continued()
        with pytest.raises(Killed):
            fit_folds(spec, trial, stop)
    searcher, last = continued()
    fit_folds(spec, last, lambda standing, weights: pytest.fail("an epoch was repeated"))
    assert seen == list(range(1, total + 1))
    assert last.histories(spec) == undisturbed.histories(plain.spec) and is_fitted(search, last)
    searcher.on_trial_complete("t", {"work": total, "score": 0.9, "weights": 123})
    (elsewhere,) = Study(spec, fresh() / "search").trials()
    assert (elsewhere.state, elsewhere.score, elsewhere.weights) == ("done", 0.9, 123)
    assert len(list(progress_by_epoch(elsewhere.histories(spec), EFFORT.epochs))) == total
    assert any("/tensorboard/" in key for key in objects(first))


def test_an_epoch_that_cannot_be_stored_does_not_end_a_fit(fresh, caplog):
    home = fresh()
    search = planned(home)
    spec = search.spec
    trial = Trial(0, spec.default, 0, home / "search")
    seen = []
    store = store_of(home)
    real = store.put

    def put(key, content):
        if len(seen) == 1 and key.endswith("state.npz"):
            seen.append("lost")
            raise storage.StorageError("out of reach")
        return real(key, content)

    store.put = put
    fit_folds(spec, trial, lambda standing, weights: seen.append(standing.work))
    assert "lost" in seen and "not stored" in caplog.text and is_fitted(search, trial)


def test_a_night_stopped_on_one_machine_is_finished_on_another_without_repeating_a_step(fresh, tmp_path):
    here = fresh()
    shutil.copytree(_first_night() / "home", here, dirs_exist_ok=True)
    storage.upload(here)
    archive = write_archive(tmp_path / "archive", LATER_END)
    before = Registry(here).production()
    run = trained_ahead(retrain_request(archive, overrides={}, universe=None), here, before)
    storage.upload(run.folder)
    request = retrain_request(archive, overrides={}, universe=None)

    def stop(step, record):
        if step == "train" and record.values["steps"][step]["state"] == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(request, here, watch=stop)
    there = fresh()
    interrupted = next(listed(there))
    assert interrupted["state"] == "interrupted" and Registry(there).production() == before
    record = retrain(request, there)
    assert record.id == interrupted["id"] and record.values["state"] == "promoted"
    assert [record.values["steps"][step]["attempts"] for step in STEPS] == [1, 1, 1, 1, 1]
    third = fresh()
    assert next(records(third)).values == record.values
    assert Registry(third).production() == record.values["release"] != before
    assert not [key for key in objects(third) if key.endswith("panel.parquet") and "retrains/" in key]
    again = retrain(request, third)
    assert again.values["state"] == "current"


def test_a_queue_on_another_machine_knows_what_is_finished(fresh):
    run = made_run(here := fresh())
    storage.upload(run.folder)
    there = fresh() / run.folder.relative_to(here)
    states = {job["state"] for job in TaskQueue(run.plan, there).snapshot()}
    assert states == {"done"}
    storage.remove(run.folder / "tasks/general/bundle/result.json")
    assert stored_result(there, "general/bundle") is None, "though its copy lies there"


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
