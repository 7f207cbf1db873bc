"""Progress snapshots, early stopping, and what the command refuses."""

import json
import time
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from support.rendering import render
from support.tuning.search import inside, planned, record, study_of

from common.errors import ConfigError
from train.progress.snapshot import PlainLines, RunView, overall
from tune.cli import parse_time
from tune.progress import SearchProgress
from tune.run import execute
from tune.search import early_stopping
from tune.search_plan import SearchBudget


@pytest.fixture
def progress(tmp_path):
    """One trial done, one stopped, one failed, the default done, and two cut off before."""
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
    progress = SearchProgress(study_of(search), planned=9, compared=4)
    progress.state = "searching"
    return progress


def by_trial(snapshot) -> dict[str, dict]:
    return {job["job"]: job for job in snapshot["jobs"]}


def test_the_snapshot_has_every_trial_with_its_state_and_progress(progress):
    progress.study.study.ask()
    snapshot = progress.snapshot()
    jobs = by_trial(snapshot)
    assert [jobs[str(number)]["state"] for number in range(7)] == [
        "done", "done", "done", "stopped", "failed", "running", "waiting"
    ]  # fmt: skip
    assert [jobs[str(number)]["work_done"] for number in range(7)] == [6, 6, 6, 3, 0, 4, 2]
    assert (jobs["5"]["epoch"], jobs["5"]["epochs"], jobs["5"]["score"]) == (4, 6, 0.9)
    assert jobs["4"]["score"] is None and jobs["5"]["settings"].startswith("rate 0.004 emb 3 lstm 23/20")
    assert snapshot["jobs_ahead"] == 2
    assert [job["job"] for job in snapshot["jobs"]][:3] == ["5", "1", "3"], "running, then by score"


def test_the_best_so_far_is_a_proposal_or_the_default_as_the_winner_will_be(progress):
    summary = progress.snapshot()["summary"]
    assert summary == "best 0.9400 (trial 2), default 0.9500, naive 1; 5 proposals and 4 for comparison"


def test_the_time_left_follows_from_the_pace_of_this_session(progress, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("tune.progress.time.time", lambda: now)
    trial = progress.study.study.ask()
    assert overall(progress.snapshot(), now)[1] is None, "its epochs are those of an earlier session"
    now = 1010.0
    trial.report(0.9, 5)
    progress.snapshot()
    now = 1016.0
    trial.report(0.9, 6)
    usual = (6 + 6 + 6 + 3) / 4
    left = 0 + (usual - 2) + usual * 2
    assert overall(progress.snapshot(), now)[1] == pytest.approx(left * 6)


def test_no_trial_is_running_while_the_winner_is_refitted(progress):
    progress.study.study.ask()
    progress.state = "refitting"
    assert by_trial(progress.snapshot())["5"]["state"] == "waiting"


def test_the_table_and_the_log_lines_show_a_search_with_its_trials(progress):
    progress.study.study.ask()
    snapshot = progress.snapshot()
    for width in (80, 140):
        text = render(RunView(snapshot, time.time()), width=width)
        [line] = [line for line in text.splitlines() if line.strip().startswith("5 ")]
        assert "running rate 0.004 emb 3 lstm 23/20" in line
        assert line.split()[-2:] == ["4/6", "0.9000"]
        assert all(len(line) <= width for line in text.splitlines())
        assert "best 0.9400 (trial 2), default 0.9500, naive 1" in text
        assert "5/9 trials, 1 stopped, 1 failed" in text
    first, *trials = PlainLines().lines(snapshot, time.time())
    assert "state=searching" in first and "5 proposals and 4 for comparison" in first
    assert any("trial=5 state=running settings='rate 0.004 emb 3" in line for line in trials)


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
