"""The matrix of all stocks."""

import numpy as np
import pandas as pd
import pytest
from support.training.matrix import MATRIX, PANEL, TABLE, UNIVERSE

from train.evaluation.evidence import reliability
from train.evaluation.matrix import matrix_markdown, write_matrix
from train.evaluation.questions import turnover


def row(symbol: str) -> pd.Series:
    return MATRIX.set_index("symbol").loc[symbol]


def test_the_matrix_has_one_row_for_every_stock_in_order():
    assert MATRIX["symbol"].tolist() == list(UNIVERSE.symbols)
    assert MATRIX.columns[:6].tolist() == ["symbol", "name", "sector", "tier", "model", "rank"]


def test_errors_in_kes_are_given_beside_those_of_naive():
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


def test_the_page_ends_with_the_stocks_whose_intervals_hold(tmp_path):
    write_matrix(tmp_path, MATRIX)
    page = (tmp_path / "performance_matrix.md").read_text()
    table = page.removeprefix(matrix_markdown(MATRIX)).strip().splitlines()
    judged = MATRIX[(MATRIX["n_1d"].astype(float) >= 20) & MATRIX["cover90_1d"].notna()]
    within = judged["cover90_1d"].astype(float).between(0.85, 0.95).mean()
    assert "perfectly calibrated" in table[0]
    assert table[2].startswith(f"| 1 | {len(judged)} | {within:.0%} |")


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
    result = reliability(rows, "p_move", np.array([0.0, 1.0, 1.0, 0.0]))
    assert result[["bin", "n", "seen"]].to_numpy().tolist() == [[0, 2, 0.5], [9, 2, 0.5]]
    assert result["forecast"].tolist() == pytest.approx([0.025, 0.975])
