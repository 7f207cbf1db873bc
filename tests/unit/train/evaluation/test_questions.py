"""The report's questions and their answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.training.matrix import MATRIX, PANEL, SKILL, TABLE, UNIVERSE, forecasts

from train.evaluation.embedding_search import find_search
from train.evaluation.evidence import Evidence
from train.evaluation.forecasts import Forecasts
from train.evaluation.questions import answers


def evidence(**changes) -> Evidence:
    info = {"preset": "residual", "source": PANEL.source, "quick": False}
    info |= {"train_end": "2021-01-01", "valid_end": "2021-04-01", "test_end": "2021-07-01"}
    shared = forecasts(SKILL | {"MOVES": 0.1, "GAPS": 0.6}, own=())
    shared = shared[shared["symbol"].isin(["MOVES", "GAPS"])]
    result = Evidence(
        release="r1",
        info=info,
        folder=Path("nowhere"),
        universe=UNIVERSE,
        panel=PANEL,
        forecasts=Forecasts(TABLE, UNIVERSE),
        shared=shared,
        matrix=MATRIX,
    )
    return replace(result, **changes)


def test_the_mape_is_that_of_the_moving_stocks_next_to_naive():
    moving = TABLE[(TABLE["horizon"] == 1) & ~TABLE["frozen"]]
    expected = 100 * ((moving["published"] - moving["actual"]).abs() / moving["actual"]).mean()
    assert f"{expected:.2f} % one day ahead" in answers(evidence())[0].answer


def test_best_and_worst_are_named():
    result = answers(evidence())[1]
    assert result.answer.startswith("Best: MOVES, THIN") and "squared error: SPLITS" in result.answer


def test_stocks_that_cannot_be_judged_are_named():
    table = answers(evidence())[2].table.set_index("symbol")
    assert set(table.index) >= {"FROZEN", "ABSENT", "SHORT"}
    assert "frozen" in table.loc["FROZEN", "reason"] and table.loc["ABSENT", "reason"] == "no data"


def test_each_own_model_is_compared_with_the_general_one():
    verdicts = answers(evidence())[3].table.set_index("symbol")["verdict"]
    assert verdicts.to_dict() == {"FROZEN": "no model", "GAPS": "worse", "MOVES": "better"}
    nothing = answers(evidence(shared=None))[3].table["verdict"]
    assert set(nothing) == {"no model"}


def test_an_embedding_is_called_sufficient_only_by_a_search(tmp_path):
    vectors = {"A": [1.0, 0.0], "B": [-1.0, 0.0], "C": [0.0, 0.0]}
    (tmp_path / "general_residual").mkdir()
    (tmp_path / "general_residual" / "embedding.json").write_text(json.dumps(vectors))
    unknown = answers(evidence(folder=tmp_path))[4]
    assert (
        unknown.answer.startswith("Not answered yet")
        and "have 2 dimensions" in unknown.answer
        and "over 1.0 of them" in unknown.answer
    )
    sizes = [{"size": 16, "fits": 6, "score": 0.96, "difference": -0.01, "low": -0.02, "high": -0.001}]
    tuning = {"sufficient": False, "because": "16 was better beyond noise.", "sizes": sizes}
    searched = answers(evidence(folder=tmp_path, tuning=tuning))[4]
    assert searched.answer.startswith("No: 16 was better beyond noise.")
    assert searched.table.to_dict(orient="records") == sizes
    assert searched.second["share_of_variance"].sum() == pytest.approx(1)


def search_of(home: Path, name: str = "one", **changes) -> None:
    """A search's result below ``home``, of the release that `release_info` describes unless changed."""
    sizes = [
        {"size": size, "fits": 6, "score": score, "difference": score - 0.97, "low": None, "high": None}
        for size, score in ((4, 0.98), (10, 0.97), (32, 0.969))
    ]
    embedding = {"sizes": sizes, "default": 10, "sufficient": True, "because": f"Because of {name}."}
    result = {"id": name, "made": "2026-01-01T00:00:00+00:00", "model": "general", "preset": "residual"}
    result |= {"source": "archive", "data_sha256": "ours", "quick": False, "embedding": embedding}
    result |= {"folds": [{"train_end": "2018-12-31", "valid_end": "2019-12-31"}]}
    folder = home / "tuning" / name
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result | changes))


def release_info(**changes) -> dict:
    return {"preset": "residual", "source": "archive", "data_sha256": "ours", "quick": False} | changes


def test_a_search_on_the_releases_own_prices_comes_before_a_newer_one(tmp_path):
    assert find_search(tmp_path, release_info(), 10) is None
    search_of(tmp_path, "own")
    search_of(tmp_path, "newer", made="2026-06-01T00:00:00+00:00", data_sha256="others")
    result = find_search(tmp_path, release_info(), 10)
    assert (result["search"], result["because"], result["same_prices"]) == ("own", "Because of own.", True)


def test_the_newest_search_on_other_prices_is_used_and_its_last_date_is_named(tmp_path):
    search_of(tmp_path, "older")
    search_of(tmp_path, "newer", made="2026-06-01T00:00:00+00:00")
    result = find_search(tmp_path, release_info(data_sha256="next year's"), 10)
    assert result["search"] == "newer" and not result["same_prices"]
    assert "other prices than this release" in result["because"] and "2019-12-31" in result["because"]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "specific:SCOM"},
        {"preset": "v4_log"},
        {"source": "synthetic seed=1"},
        {"quick": True},
        {"embedding": None},
        {"folds": []},
    ],
)
def test_a_search_of_something_else_does_not_answer(tmp_path, changes):
    search_of(tmp_path, **changes)
    assert find_search(tmp_path, release_info(), 10) is None


def test_a_quick_search_answers_for_a_quick_release(tmp_path):
    search_of(tmp_path, quick=True)
    assert find_search(tmp_path, release_info(quick=True), 10)["sufficient"]


@pytest.mark.parametrize("size", [4, 20, 32])
def test_a_release_of_another_size_is_not_answered(tmp_path, size):
    search_of(tmp_path)
    assert find_search(tmp_path, release_info(), size) is None


def test_a_damaged_search_is_passed_over(tmp_path):
    search_of(tmp_path, "whole")
    search_of(tmp_path, "cut", made="2026-06-01T00:00:00+00:00")
    (tmp_path / "tuning" / "cut" / "result.json").write_text('{"id": "cut"')
    assert find_search(tmp_path, release_info(), 10)["search"] == "whole"
