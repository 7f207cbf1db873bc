"""What the table is told of a search, and what the command refuses."""

import pytest
from made_search import book_of, planned, pretend

from common.errors import ConfigError
from tune.cli import parse_time
from tune.plan import Effort
from tune.run import execute
from tune.search import Board


@pytest.fixture
def board(tmp_path):
    """One trial done, one stopped, one failed, the default done, one at work and one cut off before."""
    search = planned(tmp_path)
    book = book_of(search)
    default = search.spec.default
    for origin, changes, totals, state in [
        ("sweep", {}, [0.95] * 6, "done"),
        ("sweep", {"embedding_dim": 8}, [0.5] * 6, "done"),
        ("search", {"lstm_1": 20}, [0.94] * 6, "done"),
        ("search", {"lstm_1": 21}, [0.7] * 3, "stopped"),
        ("search", {"lstm_1": 22}, [], "failed"),
        ("search", {"lstm_1": 23}, [0.9] * 4, None),
        ("search", {"lstm_1": 24}, [0.9] * 2, None),
    ]:
        pretend(search, book.add(origin, default | changes, 0), totals, state)
    return Board(search.spec, book, planned=9, compared=4, concurrent=2)


def report(work: int) -> dict[str, float]:
    return {"work": work, "score": 0.9, "fold": 2, "epoch": work - 3, "loss": 2.0, "val_loss": 0.9}


def test_the_snapshot_has_every_trial_with_its_state_and_how_far_it_came(board):
    board.heard(6, report(4))
    found = board.snapshot()
    assert [row["state"] for row in found["trials"]] == [
        "done", "done", "done", "stopped", "failed", "running", "waiting"
    ]  # fmt: skip
    assert [row["done"] for row in found["trials"]] == [6, 6, 6, 3, 0, 4, 2]
    assert found["trials"][5]["fold"] == 2 and found["trials"][4]["score"] is None
    assert (found["trials_done"], found["trials_total"], found["epochs_total"]) == (5, 9, 6)
    assert found["trials_compared"] == 4


def test_the_best_so_far_is_a_proposal_or_the_default_as_the_winner_will_be(board):
    found = board.snapshot()
    assert found["best"]["trial"] == 3 and found["best"]["score"] == pytest.approx(0.94)
    assert found["default_score"] == pytest.approx(0.95)


def test_the_time_left_follows_from_the_pace_of_this_session(board, monkeypatch):
    assert board.snapshot()["eta_s"] is None
    now = 1000.0
    monkeypatch.setattr("tune.search.time.time", lambda: now)
    board.heard(6, report(4))
    now = 1010.0
    board.heard(6, report(5))
    found = board.snapshot()
    assert found["trials"][5]["eta_s"] == pytest.approx(10.0)
    usual = (6 + 6 + 6 + 3) / 4
    left = (usual - 5) + (usual - 2) + usual * 2
    assert found["eta_s"] == pytest.approx(left * 10 / 2)


def test_a_snapshot_after_the_end_of_the_trials_is_as_good_as_one_before(board):
    board.heard(6, report(4))
    board.running.clear()
    assert board.snapshot()["trials"][5]["state"] == "waiting"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400)])
def test_a_time_has_a_unit(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "0m", "-5m", "1d", "30 minutes", ""])
def test_a_time_that_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="30m or 2h"):
        parse_time(text)


def test_a_folder_that_holds_another_search_is_refused_before_anything_starts(tmp_path):
    planned(tmp_path)
    other = planned(tmp_path / "other", settings={"seed": 3}, out=tmp_path / "other/search")
    there = type(other)(**{**vars(other), "folder": tmp_path / "search"})
    with pytest.raises(ConfigError, match="holds search"):
        execute(there, Effort(trials=1), mode="silent")
