"""Is the default embedding wide enough: the statistics against SciPy's and plain loops."""

from statistics import mean

import pandas as pd
import pytest
from scipy import stats

from tune import embedding

FOLDS = ["fold_1", "fold_2", "fold_3"]
KEYS = [(fold, seed) for fold in range(3) for seed in (0, 1)]


def compare(given: dict[int, dict[tuple[int, int], float]], default: int):
    """Compare scores by size and then (fold, seed), as the rows of finished trials."""
    rows: dict[tuple[int, int], dict] = {}
    for size, fits in given.items():
        for (fold, seed), score in fits.items():
            row = rows.setdefault((size, seed), {"embedding_dim": size, "seed": seed})
            row[FOLDS[fold]] = score
    table = pd.DataFrame(list(rows.values()), columns=["embedding_dim", "seed", *FOLDS])
    return embedding.compare(table, FOLDS, default)


def scores(**changes: list[float]) -> dict[int, dict[tuple[int, int], float]]:
    """The default's fits vary a lot from fold to fold; the other sizes differ from them by ``changes``."""
    own = dict(zip(KEYS, [0.95, 0.952, 0.99, 0.989, 0.90, 0.903], strict=True))
    other = {
        int(name[1:]): {key: own[key] + change for key, change in zip(KEYS, values, strict=True)}
        for name, values in changes.items()
    }
    return {10: own, **other}


def test_the_intervals_are_paired_and_hold_all_at_once():
    changes = {"s2": [0.004, 0.001, 0.003, 0.002, 0.005, 0.001], "s32": [-0.001, 0.001, 0, 0, -0.002, 0.001]}
    result = compare(scores(**changes), 10)
    rows = {row["size"]: row for row in result["sizes"]}
    assert list(rows) == [2, 10, 32]
    for size, values in ((2, changes["s2"]), (32, changes["s32"])):
        interval = stats.ttest_1samp(values, 0).confidence_interval(1 - 0.05 / 2)
        assert rows[size]["difference"] == pytest.approx(mean(values))
        assert rows[size]["low"] == pytest.approx(interval.low)
        assert rows[size]["high"] == pytest.approx(interval.high)
    assert rows[10] == {
        "size": 10,
        "fits": 6,
        "score": pytest.approx(mean([0.95, 0.952, 0.99, 0.989, 0.90, 0.903])),
        "difference": 0.0,
        "low": 0.0,
        "high": 0.0,
    }


def test_a_size_that_is_only_luckier_leaves_the_default_sufficient():
    result = compare(scores(s2=[0.001] * 5 + [0.002], s32=[-0.009, 0.006, -0.008, 0.005, -0.007, 0.004]), 10)
    assert result["sufficient"]
    assert result["because"].startswith(
        "Embedding size 10 is sufficient because no size from 2 to 32 is better"
    )
    assert "32, differs by -0.0015" in result["because"] and "6 pairs" in result["because"]


def test_a_size_that_is_better_every_time_makes_it_insufficient():
    result = compare(scores(s2=[0.003] * 5 + [0.001], s32=[-0.009, -0.01, -0.011, -0.01, -0.009, -0.012]), 10)
    assert not result["sufficient"]
    assert "not sufficient because size 32 is better beyond noise" in result["because"]


def test_a_certain_gain_too_small_to_be_worth_it_does_not_count():
    result = compare(scores(s32=[-0.0005, -0.00051, -0.00049, -0.0005, -0.00052, -0.00048]), 10)
    assert result["sizes"][1]["high"] < 0 and result["sufficient"]


def test_the_more_sizes_are_compared_the_wider_each_interval():
    changes = {"s32": [0.001, 0.003, 0.002, 0.001, 0.004, 0.002]}
    few, many = compare(scores(**changes), 10), compare(scores(**changes, s2=[0.01] * 6, s4=[0.02] * 6), 10)
    widths = [
        row["high"] - row["low"] for result in (few, many) for row in result["sizes"] if row["size"] == 32
    ]
    assert widths[0] < widths[1]


def test_only_pairs_count_where_a_fit_is_missing():
    given = scores(s32=[-0.001, -0.002, -0.003, -0.001, -0.002, -0.003])
    del given[32][(0, 0)], given[10][(2, 1)]
    (row,) = [row for row in compare(given, 10)["sizes"] if row["size"] == 32]
    assert row["fits"] == 5
    assert row["difference"] == pytest.approx(mean([-0.002, -0.003, -0.001, -0.002]))


def test_one_pair_has_no_interval_and_proves_nothing():
    result = compare({10: {(0, 0): 0.95}, 32: {(0, 0): 0.90}}, 10)
    assert result["sizes"][1]["low"] is None and result["sufficient"]
    assert "one pair" in result["because"]


@pytest.mark.parametrize(
    "given", [{}, {10: {(0, 0): 0.9}}, {32: {(0, 0): 0.9}}, {10: {(0, 0): 1}, 2: {(1, 0): 1}}]
)
def test_without_a_pair_there_is_no_statement(given):
    assert compare(given, 10) is None
