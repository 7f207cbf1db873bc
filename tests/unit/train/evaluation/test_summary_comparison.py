"""Comparison of two models' forecasts, against figures worked out by hand."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training.summary import forecasts, hac_test, mean, percent, rival_of, seeds

from train.evaluation.summary import COMPARED, TESTS, compare, summarise


@settings(max_examples=12, deadline=None)
@given(seeds, seeds, st.sampled_from([[], ["sector"], ["symbol", "horizon"]]))
def test_a_comparison_equals_the_one_worked_out_by_hand(seed, other_seed, by):
    a = forecasts(seed)
    b = rival_of(a, other_seed)
    keys = by if "horizon" in by else ["horizon", *by]
    rivals = {(row["symbol"], row["cutoff"], row["horizon"]): row for row in b.to_dict("records")}
    groups: dict[tuple, list[tuple[dict, dict]]] = {}
    for row in a.to_dict("records"):
        rival = rivals.get((row["symbol"], row["cutoff"], row["horizon"]))
        if rival and not (row["frozen"] or rival["frozen"] or math.isnan(row["actual"])):
            groups.setdefault(tuple(row[key] for key in keys), []).append((row, rival))
    result = compare(a, b, by)
    assert list(result.columns) == [*keys, *COMPARED]
    assert [tuple(row) for row in result[keys].itertuples(index=False)] == sorted(groups)
    for row in result.to_dict("records"):
        pairs = groups[tuple(row[key] for key in keys)]
        absolute = [
            (abs(percent(x, "published")), abs(percent(y, "published")), x["cutoff"]) for x, y in pairs
        ]
        square = [(percent(x, "raw") ** 2, percent(y, "raw") ** 2, x["cutoff"]) for x, y in pairs]
        expected = {
            "n": len(pairs),
            "rel_mae": mean(x for x, _, _ in absolute) / mean(y for _, y, _ in absolute),
            "rel_rmse": math.sqrt(mean(x for x, _, _ in square) / mean(y for _, y, _ in square)),
        }
        tests = [
            hac_test([(day, x - y) for x, y, day in losses], row["horizon"]) for losses in (absolute, square)
        ]
        expected |= dict(zip(TESTS, [value for test in tests for value in test], strict=True))
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True), name


def test_compared_with_the_last_price_a_model_has_the_figures_of_its_summary():
    table = forecasts(9)
    naive = table.assign(raw=table["last_price"], published=table["last_price"])
    result = compare(table, naive, ["sector"])
    pd.testing.assert_frame_equal(result, summarise(table, ["sector"])[result.columns])


def test_the_two_sides_of_a_comparison_may_store_dates_in_different_units():
    table = forecasts(10)
    seconds = table.assign(cutoff=table["cutoff"].astype("datetime64[s]"))
    assert (compare(table, seconds)["n"] == summarise(table)["n"]).all()


def test_tables_that_disagree_on_what_happened_are_not_compared():
    table = forecasts(11)
    with pytest.raises(ValueError, match="actual / last price"):
        compare(table, table.assign(actual=table["actual"] + 0.05))


def test_a_comparison_takes_one_model_a_side():
    table = forecasts(12)
    twice = pd.concat([table.assign(model="a"), table.assign(model="b")])
    for pair in ((twice, table), (table, twice)):
        with pytest.raises(ValueError, match="one at a time"):
            compare(*pair)
