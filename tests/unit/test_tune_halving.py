"""Who is stopped early, and who never is."""

import math
from types import SimpleNamespace

import pytest
from made_search import book_of, planned, pretend
from ray.tune.schedulers import TrialScheduler

from tune.book import standings
from tune.halving import FEWEST, Halving
from tune.proposals import propose


@pytest.fixture
def search(tmp_path):
    """Two folds of three epochs."""
    return planned(tmp_path)


def run(search, scheduler, book, totals, origin="search", **changes) -> tuple[int, str | None]:
    """Report a trial epoch by epoch; returns (epochs done, how it ended)."""
    point = propose(search.spec, book, len(book.trials) + 1)
    parameters = search.spec.default if origin == "default" else point | changes
    trial = book.add("search" if origin == "search" else "sweep", parameters, 0)
    tune_trial = SimpleNamespace(trial_id=f"t{trial.number}", config={"number": trial.number})
    scheduler.on_trial_add(None, tune_trial)
    for done in range(1, len(totals) + 1):
        pretend(search, trial, totals[:done])
        *_, now = standings(trial.histories(search.spec), search.spec.epochs)
        if scheduler.on_trial_result(None, tune_trial, now.as_report()) == TrialScheduler.STOP:
            return done, (trial.end or {}).get("state")
    trial.close("done")
    return len(totals), None


def test_the_worse_half_stops_at_the_end_of_the_first_fold_once_there_are_enough_to_compare(search):
    book = book_of(search)
    scheduler = Halving(search.spec, book)
    for place in range(FEWEST - 1):
        assert run(search, scheduler, book, [0.90 + place / 100] * 6) == (6, None)
    assert run(search, scheduler, book, [0.99] * 6) == (3, "stopped")
    assert run(search, scheduler, book, [0.80] * 6) == (6, None)


def test_a_trial_is_judged_when_its_fold_ends_and_not_before(search):
    book = book_of(search)
    scheduler = Halving(search.spec, book)
    for _ in range(FEWEST):
        run(search, scheduler, book, [0.9] * 6)
    late = [1.5, 1.4, 0.8, 0.8, 0.8, 0.8]
    assert run(search, scheduler, book, late) == (6, None)


@pytest.mark.parametrize("origin", ["default", "sweep"])
def test_the_default_and_the_sizes_compared_with_it_are_never_stopped(search, origin):
    book = book_of(search)
    scheduler = Halving(search.spec, book)
    for _ in range(FEWEST):
        run(search, scheduler, book, [0.8] * 6)
    assert run(search, scheduler, book, [0.99] * 6, origin=origin) == (6, None)


def test_the_default_is_compared_with_and_the_other_sizes_are_not(search):
    counts = {}
    for origin in ("default", "sweep"):
        book = book_of(search)
        book.trials.clear()
        scheduler = Halving(search.spec, book)
        for _ in range(FEWEST - 1):
            run(search, scheduler, book, [0.8] * 6, origin=origin)
        counts[origin] = run(search, scheduler, book, [0.99] * 6)
    assert counts == {"default": (3, "stopped"), "sweep": (6, None)}


def test_without_early_stopping_every_trial_goes_to_its_end(tmp_path):
    search = planned(tmp_path, asha=False)
    book = book_of(search)
    scheduler = Halving(search.spec, book)
    assert [run(search, scheduler, book, [0.8 + n / 100] * 6) for n in range(8)] == [(6, None)] * 8


def test_a_trial_at_its_last_epoch_is_done_and_not_stopped(search):
    book = book_of(search)
    scheduler = Halving(search.spec, book)
    for _ in range(FEWEST):
        run(search, scheduler, book, [0.9, 0.9, 0.9, 0.8, 0.8, 0.8])
    assert run(search, scheduler, book, [0.89, 0.89, 0.89, 0.99, 0.99, 0.99]) == (6, None)


def test_earlier_sessions_trials_are_compared_with_too(search):
    book = book_of(search)
    for place in range(FEWEST):
        trial = book.add("search", propose(search.spec, book, place + 1), 0)
        pretend(search, trial, [0.8 + place / 1000] * 6, "done")
    assert run(search, Halving(search.spec, book), book, [0.99] * 6) == (3, "stopped")


def test_a_trial_that_was_let_pass_is_not_judged_again_when_it_is_continued(search):
    book = book_of(search)
    first = Halving(search.spec, book)
    trial = book.add("search", propose(search.spec, book, 1), 0)
    pretend(search, trial, [0.95] * 4)
    for _ in range(FEWEST):
        run(search, first, book, [0.9] * 6)
    again = Halving(search.spec, book)
    tune_trial = SimpleNamespace(trial_id="again", config={"number": trial.number})
    again.on_trial_add(None, tune_trial)
    pretend(search, trial, [0.95] * 5)
    *_, now = standings(trial.histories(search.spec), search.spec.epochs)
    assert again.on_trial_result(None, tune_trial, now.as_report()) == TrialScheduler.CONTINUE


def test_when_the_time_is_over_a_trial_stops_with_its_epoch_and_can_be_continued(search):
    book = book_of(search)
    assert run(search, Halving(search.spec, book, deadline=0), book, [0.9] * 6) == (1, None)
    assert book.trials[1].end is None
    assert run(search, Halving(search.spec, book, deadline=math.inf), book, [0.9] * 6) == (6, None)
