"""Work that several machines share through an object store."""

import shutil
import time

import pytest
from obstore.store import MemoryStore
from support.machine.processes import Killed
from support.releases.release import made_run
from support.storage.away_store import Away, store_of
from support.storage.store import machine, objects
from support.training.night import LATER_END, first_night, retrain_request, trained_ahead, write_archive
from support.tuning.search import EFFORT, a_trial, is_fitted, planned

from common import storage
from common.release.registry import Registry
from train.nightly.nightly import retrain
from train.nightly.nightly_record import listed, records
from train.progress.runs import list_runs, read_run, write_progress
from train.run.plan import stored_result
from train.workers.queue import TaskQueue
from tune.search import StudySearch
from tune.spec import SearchSpec
from tune.study import Study
from tune.trial import Trial, fit_folds, progress_by_epoch

pytestmark = pytest.mark.usefixtures("no_mirrors")


@pytest.fixture
def fresh(tmp_path):
    """Makes the storage root of one more machine, all of one store."""
    store = MemoryStore()
    return lambda: machine(tmp_path / f"machine-{len(list(tmp_path.iterdir()))}", store, Away)


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


def test_a_night_stopped_on_one_machine_is_finished_on_another_without_a_second_training(fresh, tmp_path):
    here = fresh()
    shutil.copytree(first_night() / "home", here, dirs_exist_ok=True)
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
    assert record.values["state"] == "promoted" and record.values["release"] == interrupted["release"]
    assert record.decision("train")["published_before"]
    third = fresh()
    assert next(records(third)).values == record.values
    assert Registry(third).production() == record.values["release"] != before
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
