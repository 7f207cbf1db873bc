"""Errors next to naive, against plain Python."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.metrics import Errors, errors

price = st.floats(0.5, 2000)
row = st.tuples(price, price, price, st.one_of(price, st.just(math.nan)))


def of(rows) -> Errors:
    last, raw, published, actual = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return errors(last=last, raw=raw, published=published, actual=actual)


def by_hand(rows) -> dict:
    rows = [r for r in rows if not math.isnan(r[3])]
    n = len(rows)

    def mean(values):
        return sum(values) / n

    naive = mean([abs(last - actual) / last for last, _, _, actual in rows])
    naive_square = mean([((last - actual) / last) ** 2 for last, _, _, actual in rows])
    return {
        "n": n,
        "mae": mean([abs(published - actual) for _, _, published, actual in rows]),
        "naive_mae": mean([abs(last - actual) for last, _, _, actual in rows]),
        "rmse": math.sqrt(mean([(raw - actual) ** 2 for _, raw, _, actual in rows])),
        "naive_rmse": math.sqrt(mean([(last - actual) ** 2 for last, _, _, actual in rows])),
        "mape": 100 * mean([abs(published - actual) / actual for _, _, published, actual in rows]),
        "naive_mape": 100 * mean([abs(last - actual) / actual for last, _, _, actual in rows]),
        "rel_mae": mean([abs(published - actual) / last for last, _, published, actual in rows]) / naive
        if naive
        else None,
        "rel_rmse": math.sqrt(mean([((raw - actual) / last) ** 2 for last, raw, _, actual in rows]))
        / math.sqrt(naive_square)
        if naive_square
        else None,
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(row, min_size=1, max_size=30).filter(lambda rows: any(not math.isnan(r[3]) for r in rows)))
def test_errors_equal_those_worked_out_by_hand(rows):
    found, expected = of(rows).as_dict(), by_hand(rows)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), name


def test_one_case_worked_out_on_paper():
    found = of([(10.0, 11.0, 10.5, 12.0), (100.0, 100.0, 99.0, 90.0)])
    assert found.n == 2
    assert (found.mae, found.naive_mae) == (5.25, 6.0)
    assert found.rmse == pytest.approx(math.sqrt((1 + 100) / 2))
    assert found.rel_mae == pytest.approx((0.15 + 0.09) / (0.2 + 0.1))
    assert found.rel_rmse == pytest.approx(math.sqrt((0.01 + 0.01) / (0.04 + 0.01)))


def test_a_stock_that_never_moves_has_no_ratio_to_naive():
    found = of([(6.6, 6.6, 6.6, 6.6)] * 3)
    assert (found.n, found.mae, found.naive_mae) == (3, 0, 0)
    assert found.rel_mae is None and found.rel_rmse is None


def test_rows_without_an_actual_are_left_out_of_every_figure():
    known = [(10.0, 11.0, 10.5, 12.0), (100.0, 100.0, 99.0, 90.0)]
    assert of([*known, (5.0, 900.0, 900.0, math.nan)]) == of(known)


@pytest.mark.parametrize("rows", [[(5.0, 5.0, 5.0, math.nan)], []])
def test_no_actual_at_all_gives_no_figure(rows):
    empty = np.array([], dtype=float)
    found = of(rows) if rows else errors(last=empty, raw=empty, published=empty, actual=empty)
    assert found.as_dict() == {name: (0 if name == "n" else None) for name in found.as_dict()}


@settings(max_examples=50, deadline=None)
@given(st.lists(row, min_size=1, max_size=10))
def test_the_naive_forecast_has_a_ratio_of_exactly_one_or_none(rows):
    found = of([(last, last, last, actual) for last, _, _, actual in rows])
    assert found.rel_mae in (1.0, None) and found.rel_rmse in (1.0, None)


@settings(max_examples=50, deadline=None)
@given(st.lists(row, min_size=1, max_size=10))
def test_errors_can_be_written_as_json_that_any_language_reads(rows):
    json.dumps(of(rows).as_dict(), allow_nan=False)
