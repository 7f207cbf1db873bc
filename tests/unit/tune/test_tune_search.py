"""Progress snapshots, early stopping, and what the command refuses."""

import json
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from support.tuning.search import inside, planned, record, study_of

from common.errors import ConfigError
from tune.cli import parse_time
from tune.progress import SearchProgress
from tune.run import execute
from tune.search import early_stopping
from tune.search_plan import SearchBudget


@pytest.fixture
def progress(tmp_path):
    """One trial done, one stopped, one failed, the default done, one at work and one cut off before."""
    search = planned(tmp_path)
    default = search.spec.default
    record(search, default, [0.95] * 6, origin="sweep")
    record(search, default | {"embedding_dim": 8}, [0.5] * 6, origin="sweep")
    for size, totals, state in [
        (20, [0.94] * 6, "done"),
        (21, [0.7] * 3, "stopped"),
        (22, [], "failed"),
        (23, [0.9] * 4, "waiting"),
        (24, [0.9] * 2, "waiting"),
    ]:
        record(search, inside(search, lstm_1=size), totals, state)
    return SearchProgress(study_of(search), planned=9, compared=4, concurrent=2, state="searching")


def report(work: int) -> dict[str, float]:
    return {"work": work, "score": 0.9, "fold": 2, "epoch": work - 3, "loss": 2.0, "val_loss": 0.9}


def test_the_snapshot_has_every_trial_with_its_state_and_progress(progress):
    progress.update(5, report(4))
    snapshot = progress.snapshot()
    assert [row["state"] for row in snapshot["trials"]] == [
        "done", "done", "done", "stopped", "failed", "running", "waiting"
    ]  # fmt: skip
    assert [row["done"] for row in snapshot["trials"]] == [6, 6, 6, 3, 0, 4, 2]
    assert snapshot["trials"][5]["fold"] == 2 and snapshot["trials"][4]["score"] is None
    assert (snapshot["trials_done"], snapshot["trials_total"], snapshot["epochs_total"]) == (5, 9, 6)
    assert snapshot["trials_compared"] == 4


def test_the_best_so_far_is_a_proposal_or_the_default_as_the_winner_will_be(progress):
    snapshot = progress.snapshot()
    assert snapshot["best"]["trial"] == 2 and snapshot["best"]["score"] == pytest.approx(0.94)
    assert snapshot["default_score"] == pytest.approx(0.95)


def test_the_time_left_follows_from_the_pace_of_this_session(progress, monkeypatch):
    assert progress.snapshot()["eta_s"] is None
    now = 1000.0
    monkeypatch.setattr("tune.progress.time.time", lambda: now)
    progress.update(5, report(4))
    now = 1010.0
    progress.update(5, report(5))
    snapshot = progress.snapshot()
    assert snapshot["trials"][5]["eta_s"] == pytest.approx(10.0)
    usual = (6 + 6 + 6 + 3) / 4
    left = (usual - 5) + (usual - 2) + usual * 2
    assert snapshot["eta_s"] == pytest.approx(left * 10 / 2)


def test_epochs_reported_again_do_not_count_for_the_pace(progress, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("tune.progress.time.time", lambda: now)
    for work in (1, 2, 3, 4):
        progress.update(5, report(work) | {"again": True})
    assert progress.snapshot()["eta_s"] is None
    now = 1020.0
    progress.update(5, report(5))
    assert progress.snapshot()["trials"][5]["eta_s"] == pytest.approx(20.0)


def test_no_trial_is_running_while_the_winner_is_refitted(progress):
    progress.update(5, report(4))
    progress.state = "refitting"
    assert progress.snapshot()["trials"][5]["state"] == "waiting"


def asha_decides(scheduler, name, totals, *, judged=True) -> tuple[int, str]:
    """Report a trial epoch by epoch; returns (epochs done, the scheduler's last word)."""
    trial = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)
    for work, score in enumerate(totals, start=1):
        result = {"score": score} | ({"judged_epochs": work} if judged else {})
        if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            return work, "stopped"
    return len(totals), "done"


def test_a_trial_is_judged_at_the_end_of_a_fold_and_never_at_its_last_epoch(tmp_path):
    scheduler = early_stopping(study_of(planned(tmp_path)))
    assert asha_decides(scheduler, "first", [0.9] * 6) == (6, "done")
    assert asha_decides(scheduler, "late", [1.5, 1.4, 0.8, 0.8, 0.8, 1.9]) == (6, "done")
    assert asha_decides(scheduler, "worse", [0.1, 0.1, 0.95, 0.1, 0.1, 0.1]) == (3, "stopped")
    assert asha_decides(scheduler, "compared", [1.9] * 6, judged=False) == (6, "done")


def test_early_stopping_uses_proposals_of_earlier_sessions_but_no_comparison_trials(tmp_path):
    search = planned(tmp_path)
    record(search, totals=[0.8] * 6, origin="sweep")
    assert asha_decides(early_stopping(study_of(search)), "new", [0.99] * 6) == (6, "done")
    record(search, totals=[0.85] * 6)
    record(search, totals=[0.9] * 3, state="stopped")
    assert asha_decides(early_stopping(study_of(search)), "new", [0.99] * 6) == (3, "stopped")
    assert asha_decides(early_stopping(study_of(search)), "new", [0.84] * 6) == (6, "done")


@pytest.mark.parametrize("changes", [{"asha": False}, {"effort": SearchBudget(folds=1, epochs=3)}])
def test_without_early_stopping_or_a_second_fold_every_trial_goes_to_its_end(tmp_path, changes):
    assert type(early_stopping(study_of(planned(tmp_path, **changes)))) is FIFOScheduler


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400)])
def test_a_time_has_a_unit(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "0m", "-5m", "1d", "30 minutes", ""])
def test_a_malformed_time_is_refused(text):
    with pytest.raises(ConfigError, match="30m or 2h"):
        parse_time(text)


def test_a_folder_that_holds_another_search_is_refused_before_anything_starts(tmp_path):
    planned(tmp_path)
    other = planned(tmp_path / "other", settings={"seed": 3}, out=tmp_path / "other/search")
    there = type(other)(**{**vars(other), "folder": tmp_path / "search"})
    with pytest.raises(ConfigError, match="holds search"):
        execute(there, SearchBudget(trials=1), mode="silent")


def test_a_folder_of_an_earlier_version_is_refused_with_the_next_step(tmp_path):
    search = planned(tmp_path)
    trial = search.folder / "trials/001/trial.json"
    trial.parent.mkdir(parents=True)
    trial.write_text(json.dumps({"number": 1, "origin": "sweep", "parameters": {}, "seed": 0}))
    with pytest.raises(ConfigError, match="by an earlier version"):
        execute(search, SearchBudget(trials=1), mode="silent")
    assert not (search.folder / "study.journal").exists()
