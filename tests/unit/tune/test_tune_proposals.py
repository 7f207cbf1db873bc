"""Proposals of parameters: order, repeatability, and the Optuna study."""

import json
import subprocess
import sys
from collections import Counter

from support.tuning.search import SPACE, inside, is_inside, planned, record, study_of

from tune.search import StudySearch
from tune.study import FILE, sweep


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


def test_a_continued_search_proposes_the_same_parameters_and_then_more(tmp_path):
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


def test_a_continued_search_uses_the_same_study(tmp_path):
    search = planned(tmp_path)
    handed_out(search, trials=3)
    before = study_of(search).trials()
    handed_out(search, trials=6)
    after = study_of(search)
    assert len(before) == 6 and after.trials()[:6] == before
    assert [study.study_name for study in after.storage.get_all_studies()] == [search.spec.id]
    assert [trial.number for trial in after.trials()] == list(range(9))
