"""Trials on storage and in the study: scores, interruption, continuation, and proposals."""

import math

import pytest
import ray.tune
from support.machine.processes import Killed
from support.tuning.search import EFFORT, SPACE, a_trial, is_fitted, planned, record, study_of

from common.errors import ConfigError, UniverseError
from train.run.plan import stored_epochs
from tune.search import StudySearch
from tune.spec import SearchSpec
from tune.study import FILE
from tune.trial import best_total, fit_folds, progress_by_epoch, run_trial


def epoch(val_loss: float | None, total: float | None) -> dict[str, float | None]:
    return {"loss": 1.0, "val_loss": val_loss, "total": total}


def test_the_score_of_a_fit_is_that_of_the_epoch_whose_weights_are_kept():
    assert best_total([epoch(3, 0.9), epoch(1, 0.97), epoch(2, 0.95), epoch(1, 0.8)]) == 0.97


def test_a_score_that_is_not_finite_is_the_worst():
    assert best_total([epoch(2, None)]) == math.inf
    assert best_total([epoch(None, 0.1), epoch(2, 0.9)]) == 0.9


def test_the_score_after_an_epoch_is_the_mean_over_the_folds_so_far():
    folds = [[[epoch(3, 1.0), epoch(2, 0.9)]], [[epoch(5, 0.6), epoch(6, 0.2)]]]
    results = [(now.work, now.score) for now in progress_by_epoch(folds, 2)]
    assert results == [
        (1, pytest.approx(1.0)),
        (2, pytest.approx(0.9)),
        (3, pytest.approx(0.75)),
        (4, pytest.approx(0.75)),
    ]


def test_several_stocks_are_averaged_within_a_fold_and_their_epochs_added():
    folds = [[[epoch(1, 0.8)], [epoch(1, 1.0), epoch(0.5, 0.9)]], [[epoch(1, 0.5)], []]]
    results = [(now.work, now.score) for now in progress_by_epoch(folds, 2)]
    assert results == [
        (1, pytest.approx(0.8)),
        (3, pytest.approx(0.9)),
        (4, pytest.approx(0.85)),
        (5, pytest.approx((0.85 + 0.5) / 2)),
    ], "the first stock's fit ended early and counts in full"


def test_a_trial_without_epochs_has_no_score():
    assert list(progress_by_epoch([[[]], [[]]], 3)) == []


def test_a_trial_cut_off_after_any_epoch_ends_like_one_that_was_not(tmp_path):
    complete, parts = planned(tmp_path / "whole"), planned(tmp_path / "parts")
    undisturbed, disturbed = a_trial(complete), a_trial(parts)
    weights = []
    fit_folds(complete.spec, undisturbed, lambda standing, count: weights.append(count))
    total = EFFORT.epochs * EFFORT.folds

    seen: list[int] = []
    while len(seen) < total:

        def stop(standing, count):
            seen.append(standing.work)
            weights.append(count)
            raise Killed

        with pytest.raises(Killed):
            fit_folds(parts.spec, disturbed, stop)
        stored = list(progress_by_epoch(disturbed.histories(parts.spec), EFFORT.epochs))
        assert stored[-1].work == seen[-1]
    fit_folds(parts.spec, disturbed, lambda standing, count: pytest.fail("an epoch was repeated"))
    assert seen == list(range(1, total + 1))
    assert disturbed.histories(parts.spec) == undisturbed.histories(complete.spec)
    assert is_fitted(parts, disturbed) and len(set(weights)) == 1 and weights[0] > 100


def test_a_half_written_journal_line_and_state_are_ignored(tmp_path):
    search = planned(tmp_path)
    trial = record(search, totals=[0.9] * 6)
    with (search.folder / FILE).open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"x","study_')
    (search.folder / f"{FILE}.lock").symlink_to(search.folder / FILE)
    state = a_trial(search, 1).fold_dir(1) / "tasks/general/seed-0/state.npz"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"PK\x03\x04half")
    assert study_of(search).trials() == [trial]
    assert stored_epochs(a_trial(search, 1).fold_dir(1), "general/seed-0") == []
    assert record(search, totals=[0.8]).number == 1 and len(study_of(search).trials()) == 2


def run_here(search, trial, monkeypatch) -> list[dict]:
    """Run a trial in this process; returns its reports."""
    reports: list[dict] = []
    monkeypatch.setattr(ray.tune, "report", reports.append)
    monkeypatch.setattr("train.fit.loop.one_thread", lambda: None)
    known = {"search": str(search.folder), "number": trial.number, "origin": "search", "seed": 0}
    run_trial({**trial.parameters, **known})
    return reports


def test_an_error_in_a_trial_ends_it_with_its_reason_and_not_the_search(tmp_path, monkeypatch):
    search = planned(tmp_path)
    trial = a_trial(search)
    in_the_way = trial.fold_dir(1) / "tasks/general/seed-0/weights.npz"
    in_the_way.mkdir(parents=True)
    last = run_here(search, trial, monkeypatch)[-1]
    assert "IsADirectoryError" in last["reason"] and "complete" not in last
    assert "Traceback" in (trial.folder / "error.log").read_text()


def test_a_continued_trial_reports_stored_epochs_again_and_then_new_ones(tmp_path, monkeypatch):
    search = planned(tmp_path)
    first = run_here(search, a_trial(search), monkeypatch)
    assert [report["work"] for report in first] == [1, 2, 3, 4, 5, 6, 6] and first[-1]["complete"]
    assert all(report["judged_epochs"] == report["work"] for report in first)
    again = run_here(search, a_trial(search), monkeypatch)
    assert ["weights" in report for report in again] == [False] * 7, "nothing was fitted again"
    assert [report["score"] for report in again] == [report["score"] for report in first]


def test_a_saved_search_loads_equal_and_keeps_its_id(tmp_path):
    spec = planned(tmp_path, model="specific:all").spec
    again = SearchSpec.load(tmp_path / "search")
    assert again == spec and again.id == spec.id


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"seed": 1}},
        {"settings": {"network": {"dropout": 0.21}}},
        {"model": "specific:MOVES"},
        {"asha": False},
        {"sampler": "random"},
        {"space": SPACE.model_copy(update={"dropout": SPACE.l2})},
    ],
)
def test_everything_that_decides_the_result_changes_the_id(tmp_path, changes):
    assert planned(tmp_path / "a").spec.id == planned(tmp_path / "b").spec.id
    assert planned(tmp_path / "c", **changes).spec.id != planned(tmp_path / "a").spec.id


def test_specific_models_are_searched_on_stocks_with_enough_history_and_the_others_are_named(tmp_path):
    search = planned(tmp_path, model="specific:all")
    assert search.spec.jobs == ("MOVES", "SPLITS") and set(search.left_out) == {"SHORT"}
    assert [task.id for task in search.spec.tasks] == ["MOVES/scratch-0", "SPLITS/scratch-0"]
    assert "embedding_dim" not in search.spec.default and "window_size" not in search.spec.default
    with pytest.raises(ConfigError, match="SHORT"):
        planned(tmp_path / "short", model="specific:SHORT")
    with pytest.raises(UniverseError, match="THIN"):
        planned(tmp_path / "thin", model="specific:THIN")


def test_a_trial_of_specific_models_fits_their_own_networks(tmp_path):
    search = planned(tmp_path, model="specific:MOVES")
    weights = []
    for trial in (a_trial(search, 0, lstm_1=7), a_trial(search, 1)):
        fit_folds(search.spec, trial, lambda standing, count: weights.append(count))
        assert is_fitted(search, trial)
    channels = 14
    assert weights[0] - weights[-1] == 4 * (7 * (channels + 7 + 1) - 4 * (channels + 4 + 1)) + 4 * 4 * 3


def test_a_trial_interrupted_by_the_deadline_is_continued_and_a_stopped_one_is_not(tmp_path, monkeypatch):
    search, now = planned(tmp_path), 0.0
    monkeypatch.setattr("tune.search.time.time", lambda: now)
    for end, state, left in ((10.0, "interrupted", 1), (9.0, "stopped", 0)):
        searcher = StudySearch(study_of(search), trials=1, compared=[], deadline=10.0)
        now = 0.0
        searcher.suggest("t")
        now = end
        searcher.on_trial_complete("t", {"work": 3, "score": 0.9})
        (trial,) = study_of(search).trials()
        assert (trial.state, trial.score) == (state, 0.9)
        assert study_of(search).left(1, []) == left
    assert trial.reason == "in the worse half after 3 epochs"


def test_a_trial_that_never_started_or_whose_process_ends_with_the_search_stays_unfinished(tmp_path):
    search = planned(tmp_path)
    searcher = StudySearch(study_of(search), trials=1, compared=[])
    searcher.suggest("t")
    searcher.on_trial_complete("t")
    searcher.closed = True
    searcher.on_trial_complete("t", error=True)
    assert study_of(search).trials()[0].state == "interrupted"


@pytest.mark.parametrize(
    ("result", "error", "reason"),
    [
        (None, True, "its process died more than 3 times"),
        ({"work": 0, "reason": "no rows"}, False, "no rows"),
        ({"work": 6, "score": math.inf, "complete": True}, False, "no finite score on validation"),
    ],
)
def test_a_failed_trial_has_a_reason(tmp_path, result, error, reason):
    search = planned(tmp_path)
    searcher = StudySearch(study_of(search), trials=1, compared=[])
    searcher.suggest("t")
    searcher.on_trial_complete("t", result, error)
    (trial,) = study_of(search).trials()
    assert (trial.state, trial.reason) == ("failed", reason)
