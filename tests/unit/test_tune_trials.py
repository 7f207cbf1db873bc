"""Trials on storage: scores, cutting off, continuing, and what is proposed next."""

import json
import math
from collections import Counter

import pytest
import ray.tune
from made_search import EFFORT, SPACE, book_of, planned, pretend

from common.errors import ConfigError, UniverseError
from train.plan import history
from tune.book import Book, best_total, standings, trial_score
from tune.proposals import Proposals, propose, sweep
from tune.spec import SearchSpec
from tune.trial import carry_out, run_trial


def epoch(val_loss: float | None, total: float | None) -> dict[str, float | None]:
    return {"loss": 1.0, "val_loss": val_loss, "total": total}


def test_the_score_of_a_fit_is_that_of_the_epoch_whose_weights_are_kept():
    assert best_total([epoch(3, 0.9), epoch(1, 0.97), epoch(2, 0.95), epoch(1, 0.8)]) == 0.97


def test_a_score_that_is_not_finite_is_the_worst():
    assert best_total([epoch(2, None)]) == math.inf
    assert best_total([epoch(None, 0.1), epoch(2, 0.9)]) == 0.9


def test_every_epoch_knows_the_mean_over_the_folds_so_far():
    folds = [[[epoch(3, 1.0), epoch(2, 0.9)]], [[epoch(5, 0.6), epoch(6, 0.2)]]]
    found = [(now.done, now.fold, now.epoch, now.score) for now in standings(folds, 2)]
    assert found == [
        (1, 1, 1, pytest.approx(1.0)),
        (2, 1, 2, pytest.approx(0.9)),
        (3, 2, 1, pytest.approx(0.75)),
        (4, 2, 2, pytest.approx(0.75)),
    ]
    assert trial_score(folds) == pytest.approx(0.75)


def test_several_stocks_are_averaged_inside_a_fold_and_counted_one_after_the_other():
    folds = [[[epoch(1, 0.8)], [epoch(1, 1.0), epoch(0.5, 0.9)]], [[epoch(1, 0.5)], []]]
    found = [(now.done, now.score) for now in standings(folds, 2)]
    assert found == [
        (1, pytest.approx(0.8)),
        (3, pytest.approx(0.9)),
        (4, pytest.approx(0.85)),
        (5, pytest.approx((0.85 + 0.5) / 2)),
    ], "the first stock's fit ended early and counts in full"


def test_nothing_begun_has_no_score():
    assert trial_score([[[]], [[]]]) is None and list(standings([[[]], [[]]], 3)) == []


class Killed(BaseException):
    """Not an Exception, as a signal is not."""


def test_a_trial_cut_off_after_any_epoch_ends_like_one_that_was_not(tmp_path):
    whole, parts = planned(tmp_path / "whole"), planned(tmp_path / "parts")
    undisturbed = book_of(whole).add("search", whole.spec.default, 0)
    carry_out(whole.spec, undisturbed, lambda standing: None)
    total = EFFORT.epochs * EFFORT.folds

    disturbed = book_of(parts).add("search", parts.spec.default, 0)
    seen: list[int] = []
    while len(seen) < total:

        def stop(standing):
            seen.append(standing.done)
            raise Killed

        with pytest.raises(Killed):
            carry_out(parts.spec, disturbed, stop)
        stored = list(standings(disturbed.histories(parts.spec), EFFORT.epochs))
        assert stored[-1].done == seen[-1]
    carry_out(parts.spec, disturbed, lambda standing: pytest.fail("an epoch was repeated"))
    assert seen == list(range(1, total + 1))
    assert disturbed.histories(parts.spec) == undisturbed.histories(whole.spec)
    assert disturbed.is_fitted(parts.spec) and disturbed.cost["weights"] == undisturbed.cost["weights"] > 100


def test_what_a_kill_leaves_half_written_is_as_good_as_absent(tmp_path):
    search = planned(tmp_path)
    book = book_of(search)
    trial, lost = book.add("search", search.spec.default, 0), book.add("search", search.spec.default, 0)
    (trial.folder / "end.json").write_text('{"state": "do')
    (trial.folder / "cost.json").write_text("")
    state = trial.fold_dir(1) / "tasks/general/seed-0/state.npz"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"PK\x03\x04half")
    (lost.folder / "trial.json").write_text("{")
    again = Book(search.folder)
    assert list(again.trials) == [1] and again.trials[1] == trial
    assert trial.end is None and trial.cost["seconds"] == 0
    assert history(trial.fold_dir(1), "general/seed-0") == []
    trial.close("done")
    assert trial.end == {"state": "done", "reason": None}


def test_the_first_end_of_a_trial_stands(tmp_path):
    trial = book_of(search := planned(tmp_path)).add("search", search.spec.default, 0)
    trial.close("stopped", "worse")
    trial.close("done")
    assert trial.end == {"state": "stopped", "reason": "worse"}


def test_an_error_in_a_trial_ends_it_with_its_reason_and_not_the_search(tmp_path, monkeypatch):
    search = planned(tmp_path)
    trial = book_of(search).add("search", search.spec.default, 0)
    in_the_way = trial.fold_dir(1) / "tasks/general/seed-0/weights.npz"
    in_the_way.mkdir(parents=True)
    monkeypatch.setattr(ray.tune, "report", lambda metrics: None)
    monkeypatch.setattr("train.loop.one_thread", lambda: None)
    run_trial({"search": str(search.folder), "number": trial.number})
    assert trial.end["state"] == "failed" and "IsADirectoryError" in trial.end["reason"]
    assert "Traceback" in (trial.folder / "error.log").read_text()


def test_a_search_reads_back_as_it_was_written_and_keeps_its_name(tmp_path):
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
def test_whatever_decides_the_result_changes_the_name(tmp_path, changes):
    assert planned(tmp_path / "a").spec.id == planned(tmp_path / "b").spec.id
    assert planned(tmp_path / "c", **changes).spec.id != planned(tmp_path / "a").spec.id


def test_specific_scope_searches_the_stocks_that_have_enough_history_and_says_which_do_not(tmp_path):
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
    trial = book_of(search).add("search", search.spec.default | {"lstm_1": 7}, 0)
    carry_out(search.spec, trial, lambda standing: None)
    assert trial.is_fitted(search.spec)
    wider = trial.cost["weights"]
    other = book_of(search).add("search", search.spec.default, 0)
    carry_out(search.spec, other, lambda standing: None)
    channels = 14
    assert wider - other.cost["weights"] == 4 * (7 * (channels + 7 + 1) - 4 * (channels + 4 + 1)) + 4 * 4 * 3


def handed_out(search, *, trials=4, compared=None, deadline=math.inf, done=100) -> list[tuple[str, dict]]:
    """All that a fresh searcher hands out while every trial ends at once."""
    book = book_of(search)
    compared = sweep(search.spec, seeds=1, sizes=(2, 8)) if compared is None else compared
    searcher = Proposals(search.spec, book, trials=trials, compared=compared, deadline=deadline)
    found = []
    while len(found) < done:
        config = searcher.suggest(f"t{len(found)}")
        if config == searcher.FINISHED:
            break
        trial = book.trials[config["number"]]
        found.append((trial.origin, trial.parameters))
        pretend(search, trial, [0.9 + trial.number / 1000] * 6, "done")
    return found


def test_the_default_comes_first_then_proposals_and_sizes_take_turns(tmp_path):
    search = planned(tmp_path)
    found = handed_out(search)
    assert [origin for origin, _ in found] == [
        "sweep",
        "search",
        "sweep",
        "search",
        "sweep",
        "search",
        "search",
    ]
    assert found[0][1] == search.spec.default
    sizes = [point["embedding_dim"] for origin, point in found if origin == "sweep"]
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


def test_trials_that_were_cut_off_come_before_new_ones(tmp_path):
    search = planned(tmp_path)
    book = book_of(search)
    point = propose(search.spec, book, 1)
    ended = pretend(search, book.add("search", point | {"lstm_1": 20}, 0), [0.9] * 6, "done")
    cut_off = [book.add("search", point | {"lstm_1": size}, 0) for size in (30, 40)]
    found = handed_out(search, trials=4, compared=[])
    assert [point["lstm_1"] for _, point in found[:2]] == [30, 40]
    assert len(found) == 3 and ended.end["state"] == "done"
    assert cut_off[0].end["state"] == "done", "it ended in its own folder"


def test_after_the_time_is_over_nothing_is_handed_out(tmp_path):
    assert handed_out(planned(tmp_path), deadline=0) == []


def test_a_trial_whose_process_died_too_often_has_failed(tmp_path):
    search = planned(tmp_path)
    book = book_of(search)
    searcher = Proposals(search.spec, book, trials=1, compared=[])
    number = searcher.suggest("t")["number"]
    searcher.on_trial_complete("t", error=True)
    assert book.trials[number].end["state"] == "failed" and "died" in book.trials[number].end["reason"]


def test_proposals_stay_in_the_space_and_learn_from_good_and_bad_trials(tmp_path):
    """Where only wide first layers score well, TPE proposes wider ones than chance does."""
    widths = {}
    for sampler in ("tpe", "random"):
        search = planned(tmp_path / sampler, sampler=sampler)
        book = book_of(search)
        for number in range(1, 41):
            point = propose(search.spec, book, number)
            assert search.spec.space.holds("general", point), point
            trial = book.add("search", point, 0)
            score = 1 - point["lstm_1"] / 1000
            state = ["done", "stopped", "done", "failed"][number % 4]
            pretend(search, trial, [score] * (6 if state == "done" else 3), state)
        widths[sampler] = [trial.parameters["lstm_1"] for trial in book.trials.values()][10:]
    assert sum(widths["tpe"]) / 30 > 1.3 * sum(widths["random"]) / 30


def test_a_proposal_knows_of_trials_still_running(tmp_path):
    search = planned(tmp_path)
    book = book_of(search)
    for number in range(1, 13):
        pretend(search, book.add("search", propose(search.spec, book, number), 0), [0.9] * 6, "done")
    alone = propose(search.spec, book, 14)
    book.add("search", alone, 0)
    assert propose(search.spec, book, 14) != alone


def test_a_default_outside_the_space_teaches_nothing_and_breaks_nothing(tmp_path):
    search = planned(tmp_path)
    book = book_of(search)
    assert search.spec.default["lstm_1"] == 4 < SPACE.lstm_1.low
    pretend(search, book.add("sweep", search.spec.default, 0), [0.9] * 6, "done")
    assert propose(search.spec, book, 2)["lstm_1"] >= 16


def test_what_is_in_a_trials_file_is_plain_json(tmp_path):
    search = planned(tmp_path)
    trial = book_of(search).add("search", propose(search.spec, book_of(search), 1), 0)
    assert json.loads((trial.folder / "trial.json").read_text())["parameters"] == trial.parameters
