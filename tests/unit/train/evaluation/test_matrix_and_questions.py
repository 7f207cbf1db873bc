"""The performance matrix and the five questions, on forecasts whose answers are known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.panel import SYMBOLS, made_panel

from common.exchange.universe import Universe
from train.evaluation.embedding_search import find_search
from train.evaluation.evidence import Evidence, reliability
from train.evaluation.forecasts import Forecasts
from train.evaluation.matrix import matrix_markdown, performance_matrix, write_matrix
from train.evaluation.questions import answers, turnover

PANEL = made_panel()
UNIVERSE = Universe.from_symbols([*SYMBOLS, "ABSENT"], specific=["MOVES", "GAPS", "FROZEN"])
DAYS = PANEL.dates[-60:-8]


def forecasts(
    skill: dict[str, float], seed: int = 0, own: tuple[str, ...] = ("MOVES", "GAPS")
) -> pd.DataFrame:
    """Forecasts that foresee that share of each change; FROZEN stands still, ABSENT and SHORT have none."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in ("FROZEN", "GAPS", "MOVES", "SPLITS", "THIN"):
        for horizon in (1, 5):
            last = np.round(rng.uniform(10, 20, len(DAYS)), 2)
            change = (
                0
                if symbol == "FROZEN"
                else rng.choice([-1, 0, 1], len(DAYS)) * rng.uniform(0.1, 1, len(DAYS))
            )
            actual = np.round(last + change, 2)
            said = last + skill.get(symbol, 0) * (actual - last)
            part = pd.DataFrame({"symbol": symbol, "cutoff": DAYS, "horizon": horizon})
            part = part.assign(target_date=DAYS, last_price=last, raw=said, published=said, actual=actual)
            for level, wide in ((80, 1), (90, 1.5), (95, 2)):
                part[f"lo{level}"], part[f"hi{level}"] = last - wide, last + wide
            part = part.assign(p_move=rng.random(len(DAYS)), needed=0.5, frozen=symbol == "FROZEN")
            trusted = skill.get(symbol, 0) > 0
            kind = "stock_specific" if symbol in own else "general"
            parts.append(part.assign(source="model" if trusted else "last_price", model_type=kind))
    return pd.concat(parts, ignore_index=True)


SKILL = {"MOVES": 0.5, "GAPS": 0.1, "SPLITS": -0.3, "THIN": 0.2}
TABLE = forecasts(SKILL)
MATRIX = performance_matrix(TABLE, UNIVERSE, PANEL, {"MOVES": "average", "GAPS": "fine-tuned"})


def evidence(**changes) -> Evidence:
    info = {"preset": "residual", "source": PANEL.source, "quick": False}
    info |= {"train_end": "2021-01-01", "valid_end": "2021-04-01", "test_end": "2021-07-01"}
    shared = forecasts(SKILL | {"MOVES": 0.1, "GAPS": 0.6}, own=())
    shared = shared[shared["symbol"].isin(["MOVES", "GAPS"])]
    made = Evidence(
        release="r1",
        info=info,
        folder=Path("nowhere"),
        universe=UNIVERSE,
        panel=PANEL,
        forecasts=Forecasts(TABLE, UNIVERSE),
        shared=shared,
        matrix=MATRIX,
    )
    return replace(made, **changes)


def row(symbol: str) -> pd.Series:
    return MATRIX.set_index("symbol").loc[symbol]


def test_the_matrix_has_one_row_for_every_counter_in_order():
    assert MATRIX["symbol"].tolist() == list(UNIVERSE.symbols)
    assert MATRIX.columns[:6].tolist() == ["symbol", "name", "sector", "tier", "model", "rank"]


def test_errors_stand_next_to_naive_in_kes():
    rows = TABLE[(TABLE["symbol"] == "MOVES") & (TABLE["horizon"] == 1)]
    assert row("MOVES")["mae_1d"] == pytest.approx((rows["published"] - rows["actual"]).abs().mean())
    assert row("MOVES")["naive_mae_1d"] == pytest.approx((rows["last_price"] - rows["actual"]).abs().mean())
    assert row("MOVES")["rel_mae_1d"] == pytest.approx(0.5) and row("SPLITS")["rel_rmse_5d"] == pytest.approx(
        1.3
    )


def test_ranks_follow_skill_and_a_frozen_stock_has_none():
    ranked = MATRIX.dropna(subset="rank").sort_values("rank")["symbol"].tolist()
    assert ranked == ["MOVES", "THIN", "GAPS", "SPLITS"]
    assert (
        pd.isna(row("FROZEN")["rank"]) and pd.isna(row("FROZEN")["rel_mae_1d"]) and row("FROZEN")["n_1d"] == 0
    )


def test_flags_say_what_is_wrong():
    assert row("FROZEN")["flags"] == "too short, frozen"
    assert "no data" in row("ABSENT")["flags"] and "too short" in row("SHORT")["flags"]
    flags = row("SPLITS")["flags"]
    assert "last price published" in flags and "worse than naive" not in flags, "it is naive"
    of_model = MATRIX[MATRIX["rel_mae_1d"].notna() & ~MATRIX["flags"].str.contains("last price")]
    worse = of_model["rel_mae_1d"].round(3) > 1
    assert of_model["flags"].str.contains("worse than naive").tolist() == worse.tolist()


def test_confidence_follows_the_rule():
    words = MATRIX.set_index("symbol")["confidence"]
    assert words["MOVES"] == "high" and words["THIN"] == "medium"
    assert words["SPLITS"] == words["FROZEN"] == words["ABSENT"] == "low"
    assert "did not beat" in row("SPLITS")["reasons"]


def test_the_matrix_is_written_for_machines_and_for_people(tmp_path):
    write_matrix(tmp_path, MATRIX)
    again = pd.read_csv(tmp_path / "performance_matrix.csv")
    assert again["symbol"].tolist() == MATRIX["symbol"].tolist()
    assert again["rel_mae_1d"].to_numpy() == pytest.approx(MATRIX["rel_mae_1d"].to_numpy(float), nan_ok=True)
    records = pd.read_json(tmp_path / "performance_matrix.json")
    assert len(records) == len(MATRIX)
    lines = matrix_markdown(MATRIX).splitlines()
    assert len(lines) == len(MATRIX) + 2 and len({line.count("|") for line in lines}) == 1


def test_the_mape_is_that_of_the_moving_stocks_next_to_naive():
    moving = TABLE[(TABLE["horizon"] == 1) & ~TABLE["frozen"]]
    expected = 100 * ((moving["published"] - moving["actual"]).abs() / moving["actual"]).mean()
    assert f"{expected:.2f} % one day ahead" in answers(evidence())[0].answer


def test_best_and_worst_are_named():
    found = answers(evidence())[1]
    assert found.answer.startswith("Best: MOVES, THIN") and "squared error: SPLITS" in found.answer


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
    found = find_search(tmp_path, release_info(), 10)
    assert (found["search"], found["because"], found["same_prices"]) == ("own", "Because of own.", True)


def test_the_newest_search_on_other_prices_answers_and_says_until_when_they_went(tmp_path):
    search_of(tmp_path, "older")
    search_of(tmp_path, "newer", made="2026-06-01T00:00:00+00:00")
    found = find_search(tmp_path, release_info(data_sha256="next year's"), 10)
    assert found["search"] == "newer" and not found["same_prices"]
    assert "other prices than this release" in found["because"] and "2019-12-31" in found["because"]


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


def test_a_release_of_another_size_is_answered_only_if_its_size_scored_best(tmp_path):
    search_of(tmp_path)
    assert find_search(tmp_path, release_info(), 4) is None
    assert find_search(tmp_path, release_info(), 20) is None
    found = find_search(tmp_path, release_info(), 32)
    assert found["sufficient"] and found["because"].startswith("Embedding size 32 is sufficient because")
    assert "4, 10," in found["because"]


def test_a_damaged_search_is_passed_over(tmp_path):
    search_of(tmp_path, "whole")
    search_of(tmp_path, "cut", made="2026-06-01T00:00:00+00:00")
    (tmp_path / "tuning" / "cut" / "result.json").write_text('{"id": "cut"')
    assert find_search(tmp_path, release_info(), 10)["search"] == "whole"


def test_turnover_is_the_median_value_traded_a_day():
    frame = PANEL.frame[PANEL.frame["symbol"] == "MOVES"]
    expected = np.median((frame["close"] * frame["volume"].fillna(0)).to_numpy()[1:])
    assert turnover(PANEL)["MOVES"] == pytest.approx(expected, rel=0.05)
    assert not any(symbol.startswith("^") for symbol in turnover(PANEL).index)


def test_reliability_counts_moves_by_tenth():
    rows = pd.DataFrame(
        {
            "horizon": 1,
            "p_move": [0.05, 0.0, 0.95, 1.0],
            "actual": [1, 2, 2, 2.0],
            "last_price": [1, 1, 1, 2.0],
        }
    )
    found = reliability(rows)
    assert found[["bin", "n", "seen"]].to_numpy().tolist() == [[0, 2, 0.5], [9, 2, 0.5]]
    assert found["forecast"].tolist() == pytest.approx([0.025, 0.975])
