"""Trials on storage and in the study: scores, interruption, continuation, and proposals."""

import json
import math
import subprocess
import sys
from collections import Counter

import pytest
import ray.tune
from support.processes import Killed
from support.search import EFFORT, SPACE, a_trial, inside, is_fitted, is_inside, planned, record, study_of

from common.errors import ConfigError, UniverseError
from train.run.plan import stored_epochs
from tune.search import StudySearch
from tune.spec import SearchSpec
from tune.study import FILE, sweep
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
    results = [(now.work, now.fold, now.epoch, now.score) for now in progress_by_epoch(folds, 2)]
    assert results == [
        (1, 1, 1, pytest.approx(1.0)),
        (2, 1, 2, pytest.approx(0.9)),
        (3, 2, 1, pytest.approx(0.75)),
        (4, 2, 2, pytest.approx(0.75)),
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
    assert [report.get("again", False) for report in again] == [True] * 6 + [False]
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


def handed_out(search, *, trials=4, compared=None, done=100, ends=None, **more) -> list[tuple[str, dict]]:
    """All that a fresh searcher hands out while every trial ends at once, ``ends`` giving (epochs, score)."""
    study = study_of(search)
    compared = sweep(search.spec, seeds=1, sizes=(2, 8)) if compared is None else compared
    searcher = StudySearch(study, trials=trials, compared=compared, **more)
    points = []
    while len(points) < done:
        name = f"t{len(points)}"
        config = searcher.suggest(name)
        if config == searcher.FINISHED:
            break
        point = {name: config[name] for name in search.spec.default}
        points.append((config["origin"], point))
        work, score = (ends or (lambda number, point: (6, 0.9 + number / 1000)))(config["number"], point)
        searcher.on_trial_complete(name, {"work": work, "score": score} if work else None, error=not work)
    return points


def test_the_default_comes_first_then_proposals_and_sizes_take_turns(tmp_path):
    search = planned(tmp_path)
    result = handed_out(search)
    assert [origin for origin, _ in result] == [
        "sweep",
        "search",
        "sweep",
        "search",
        "sweep",
        "search",
        "search",
    ]
    assert result[0][1] == search.spec.default
    sizes = [point["embedding_dim"] for origin, point in result if origin == "sweep"]
    assert sizes == [3, 2, 8], "the default's own size is among them, first"


def test_the_sizes_compared_differ_from_the_default_in_nothing_else(tmp_path):
    spec = planned(tmp_path).spec
    points = sweep(spec, seeds=2, sizes=(2, 8))
    assert [seed for _, seed in points] == [0, 0, 0, 1, 1, 1]
    assert all(point | {"embedding_dim": 3} == spec.default for point, _ in points)
    assert sweep(spec, seeds=0, sizes=(2, 8)) == [(spec.default, 0)]
    specific = planned(tmp_path, model="specific:MOVES").spec
    assert sweep(specific, seeds=2, sizes=(2, 8)) == [(specific.default, 0)]


def test_a_continued_search_proposes_what_it_would_have_proposed_and_more_trials_go_on(tmp_path):
    one, parts = planned(tmp_path / "one"), planned(tmp_path / "parts")
    everything = handed_out(one, trials=14)
    pieces = handed_out(parts, trials=14, done=3)
    pieces += handed_out(parts, trials=9)
    pieces += handed_out(parts, trials=14)
    assert pieces == everything
    assert Counter(origin for origin, _ in everything) == {"search": 14, "sweep": 3}
    assert handed_out(parts, trials=14) == []


def test_interrupted_trials_come_before_new_ones_and_keep_their_numbers(tmp_path):
    search = planned(tmp_path)
    ended = record(search, totals=[0.9] * 6)
    for size in (30, 40):
        record(search, inside(search, lstm_1=size), [0.9], "running")
    points = handed_out(search, trials=4, compared=[])
    assert [point["lstm_1"] for _, point in points[:2]] == [30, 40] and len(points) == 3
    trials = study_of(search).trials()
    assert trials[0] == ended and [trial.state for trial in trials] == ["done"] * 4
    assert [trial.number for trial in trials] == [0, 1, 2, 3]


def test_a_trial_killed_before_its_parameters_were_drawn_gets_those_it_would_have_had(tmp_path):
    one, parts = planned(tmp_path / "one"), planned(tmp_path / "parts")
    everything = handed_out(one, trials=2, compared=[])
    study_of(parts).study.ask()
    assert study_of(parts).trials() == [] and study_of(parts).left(2, []) == 2
    assert handed_out(parts, trials=2, compared=[]) == everything


def test_no_trial_starts_after_the_deadline(tmp_path):
    assert handed_out(planned(tmp_path), deadline=0) == []


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


def test_the_seconds_of_all_processes_that_worked_on_a_trial_are_added_up(tmp_path):
    search = planned(tmp_path)
    for epochs in ([(1, 4.0), (2, 6.0), (3, 1.0)], [(3, 2.0), (4, 5.0)]):
        searcher = StudySearch(study_of(search), trials=1, compared=[])
        searcher.suggest("t")
        for work, elapsed in epochs:
            searcher.on_trial_result("t", {"work": work, "score": 0.9, "elapsed": elapsed})
    (trial,) = study_of(search).trials()
    assert trial.seconds == 12.0 and trial.state == "interrupted"


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


def test_proposals_stay_in_the_space_and_learn_from_good_and_bad_trials(tmp_path):
    """Where only wide first layers score well, TPE proposes wider ones than chance does."""
    widths = {}
    for sampler in ("tpe", "random"):
        search = planned(tmp_path / sampler, sampler=sampler)

        def ends(number, point):
            return [6, 3, 6, 0][number % 4], 1 - point["lstm_1"] / 1000

        points = [point for _, point in handed_out(search, trials=40, compared=[], ends=ends)]
        assert len(points) == 40 and all(is_inside(search, point) for point in points)
        assert len({json.dumps(point) for point in points}) == 40
        widths[sampler] = [point["lstm_1"] for point in points][10:]
    assert sum(widths["tpe"]) / 30 > 1.3 * sum(widths["random"]) / 30


def test_numbers_are_proposed_with_few_digits(tmp_path):
    for sampler in ("tpe", "random"):
        search = planned(tmp_path / sampler, sampler=sampler)
        for _, point in handed_out(search, trials=14, compared=[]):
            assert all(value == float(f"{value:.4g}") for value in point.values()), point


def test_a_proposal_depends_on_running_trials(tmp_path):
    one, other = planned(tmp_path / "one"), planned(tmp_path / "other")
    assert handed_out(one, trials=12, compared=[]) == handed_out(other, trials=12, compared=[])
    record(other, state="failed")
    [(_, alone)] = handed_out(other, trials=14, compared=[])
    record(one, alone, state="waiting")
    searcher = StudySearch(study_of(one), trials=14, compared=[])
    running, beside = searcher.suggest("a"), searcher.suggest("b")
    assert alone.items() <= running.items() and not alone.items() <= beside.items()


def test_a_default_outside_the_space_breaks_nothing(tmp_path):
    search = planned(tmp_path)
    assert search.spec.default["lstm_1"] == 4 < SPACE.lstm_1.low
    for origin, point in handed_out(search, trials=14):
        assert origin == "sweep" or is_inside(search, point)
    study = study_of(search)
    assert study.trials()[0].parameters == search.spec.default
    assert "lstm_1" not in study.frozen()[0].params and "embedding_dim" in study.frozen()[0].params


READ = """
import json, sys, optuna
from optuna.storages.journal import JournalFileBackend
optuna.logging.disable_default_handler()
storage = optuna.storages.JournalStorage(JournalFileBackend(sys.argv[1]))
study = optuna.load_study(study_name=None, storage=storage)
trials = [[t.number, t.state.name, t.value, t.params, t.user_attrs] for t in study.trials]
assert not any(name.split(".")[0] in ("ray", "tune") for name in sys.modules)
print(json.dumps([study.study_name, study.best_trial.number, trials]))
"""


def test_another_process_reads_every_trial_with_plain_optuna(tmp_path):
    search = planned(tmp_path)
    handed_out(search, trials=5, ends=lambda number, point: ([6, 3, 6, 0][number % 4], 0.9 - number / 1000))
    command = [sys.executable, "-c", READ, str(search.folder / FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    name, best, trials = json.loads(done.stdout)
    own = study_of(search).trials()
    assert name == search.spec.id and len(trials) == len(own) == 8
    states = {"COMPLETE": "done", "PRUNED": "stopped", "FAIL": "failed"}
    assert [states[state] for _, state, *_ in trials] == [trial.state for trial in own]
    assert [value for *_, value, _, _ in trials] == [trial.score for trial in own]
    for trial, (_, _, _, params, attributes) in zip(own, trials, strict=True):
        assert params.items() <= trial.parameters.items() and attributes.get("reason") == trial.reason
        assert (attributes.get("origin") == "sweep") is (trial.origin == "sweep")
    assert best == min((trial for trial in own if trial.state == "done"), key=lambda t: t.score).number


def test_a_continued_search_goes_on_in_the_same_study(tmp_path):
    search = planned(tmp_path)
    handed_out(search, trials=3)
    before = study_of(search).trials()
    handed_out(search, trials=6)
    after = study_of(search)
    assert len(before) == 6 and after.trials()[:6] == before
    assert [study.study_name for study in after.storage.get_all_studies()] == [search.spec.id]
    assert [trial.number for trial in after.trials()] == list(range(9))
