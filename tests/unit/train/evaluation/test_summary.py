"""Summaries of forecast tables, against plain Python and statsmodels."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training.summary import BOUNDS, by_hand, forecasts, rival_of, seeds

from common.errors import BadPrices
from train.evaluation.summary import FIGURES, TESTS, compare, summarise

IN_KES = ["mae", "naive_mae", "rmse", "naive_rmse"]


@settings(max_examples=12, deadline=None)
@given(seeds, st.sampled_from([[], ["horizon"], ["symbol"], ["sector", "horizon"]]))
def test_every_figure_of_every_group_equals_the_one_worked_out_by_hand(seed, by):
    table = forecasts(seed)
    keys = by if "horizon" in by else ["horizon", *by]
    groups: dict[tuple, list[dict]] = {}
    for row in table.to_dict("records"):
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    summary = summarise(table, by)
    assert list(summary.columns) == [*keys, *FIGURES]
    assert [tuple(row) for row in summary[keys].itertuples(index=False)] == sorted(groups)
    for row in summary.to_dict("records"):
        expected = by_hand(groups[tuple(row[key] for key in keys)])
        assert set(expected) == set(FIGURES)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True), name


def test_one_case_worked_out_on_paper():
    table = (
        forecasts(0)
        .iloc[:4]
        .assign(
            symbol=["SCOM", "EQTY", "KCB", "SCOM"],
            cutoff=pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-01", "2024-01-02"]),
            horizon=1,
            frozen=[False, False, True, False],
            last_price=[10.0, 100.0, 5.0, 10.0],
            raw=[10.2, 99.0, 5.0, 10.0],
            published=[10.5, 100.0, 5.0, 9.0],
            actual=[11.0, 98.0, 7.0, math.nan],
        )
    )
    (row,) = summarise(table).to_dict("records")
    assert (row["n"], row["n_frozen"], row["n_unscored"], row["symbols"]) == (2, 1, 1, 2)
    assert (row["mae"], row["naive_mae"]) == (1.25, 1.5)
    assert row["rmse"] == pytest.approx(math.sqrt((0.64 + 1) / 2))
    assert row["rel_mae"] == pytest.approx((5 + 2) / (10 + 2))
    assert row["rel_rmse"] == pytest.approx(math.sqrt((64 + 1) / (100 + 4)))
    assert row["bias"] == pytest.approx((-8 + 1) / 2)
    assert (row["moved_share"], row["called_share"]) == (1, 0.5)
    assert (row["direction"], row["direction_n"]) == (1, 1)
    assert math.isnan(row["dm_abs_p"])


@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(0.01, 1000))
def test_a_frozen_row_changes_no_figure_but_its_own_count(seed, price):
    table = forecasts(seed)
    before = summarise(table, ["sector"])
    extra = table[table["symbol"] == "EQTY"].assign(
        symbol="NBV", frozen=True, raw=price, published=price, actual=price * 2, cutoff=table["cutoff"].min()
    )
    after = summarise(pd.concat([table, extra.drop_duplicates("horizon")]), ["sector"])
    banks = (before["sector"] == "Banking").to_numpy()
    assert (after["n_frozen"] == before["n_frozen"] + banks).all()
    pd.testing.assert_frame_equal(after.drop(columns="n_frozen"), before.drop(columns="n_frozen"))


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from([10.0, 0.25, 4000.0]))
def test_a_stock_quoted_in_another_unit_weighs_the_same_in_every_relative_figure(seed, unit):
    table, prices = forecasts(seed), ["last_price", "raw", "published", "actual", *BOUNDS]
    scaled = table.copy()
    scaled.loc[scaled["symbol"] == "KCB", prices] *= unit
    pd.testing.assert_frame_equal(
        summarise(scaled).drop(columns=IN_KES), summarise(table).drop(columns=IN_KES), rtol=1e-7
    )
    rival = rival_of(table, seed + 1)
    pd.testing.assert_frame_equal(compare(scaled, rival), compare(table, rival), rtol=1e-7)
    assert compare(scaled, table)[list(TESTS)].isna().all(axis=None)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_the_last_price_as_a_forecast_has_ratios_of_one_and_nothing_to_test(seed):
    table = forecasts(seed)
    naive = {name: table["last_price"] for name in ("raw", "published", *BOUNDS)}
    summary = summarise(table.assign(**naive), ["symbol"])
    assert (summary[["rel_mae", "rel_rmse"]] == 1).all(axis=None)
    assert summary[list(TESTS)].isna().all(axis=None)
    assert (summary["called_share"] == 0).all() and (summary["direction_n"] == 0).all()
    assert (summary["mae"] == summary["naive_mae"]).all() and (
        summary["pinball"] == summary["naive_pinball"]
    ).all()


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_a_perfect_forecast_has_no_error_and_is_better_than_naive(seed):
    table = forecasts(seed, complete=True)
    perfect = {name: table["actual"] for name in ("raw", "published", *BOUNDS)}
    summary = summarise(table.assign(**perfect))
    zero = ["mae", "rmse", "mape", "rel_mae", "rel_rmse", "bias", "winkler90", "pinball", "width95"]
    assert (summary[zero] == 0).all(axis=None)
    assert (summary[["direction", "cover80", "cover95"]] == 1).all(axis=None)
    assert (summary[["dm_abs_stat", "dm_sq_stat"]] < 0).all(axis=None)
    assert (summary[["dm_abs_p", "dm_sq_p"]] < 0.01).all(axis=None)


def test_a_group_without_a_row_to_score_has_counts_and_no_figure():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = summarise(forecasts(1).assign(frozen=True), ["symbol"])
    assert (summary["n"] == 0).all() and (summary["n_frozen"] > 0).all()
    assert (
        summary.drop(columns=["horizon", "symbol", "n", "n_frozen", "n_unscored"])
        .fillna(0)
        .eq(0)
        .all(axis=None)
    )


def test_a_model_without_intervals_has_all_other_figures():
    table = forecasts(2)
    summary, complete = summarise(table.assign(**dict.fromkeys(BOUNDS, np.nan))), summarise(table)
    lacking = [f"{name}{level}" for name in ("cover", "width") for level in (80, 90, 95)]
    lacking += ["winkler90", "pinball", "naive_pinball"]
    assert summary[lacking].isna().all(axis=None) and complete[lacking].notna().all(axis=None)
    pd.testing.assert_frame_equal(summary.drop(columns=lacking), complete.drop(columns=lacking))


def test_an_empty_table_gives_no_rows_and_all_columns():
    summary = summarise(forecasts(3).iloc[:0], ["sector"])
    assert len(summary) == 0 and list(summary.columns) == ["horizon", "sector", *FIGURES]


def test_several_models_are_summed_up_side_by_side_or_refused():
    a, b = forecasts(4).assign(model="a"), forecasts(5).assign(model="b")
    both = pd.concat([a, b])
    apart = pd.concat([summarise(part, ["model"]) for part in (a, b)])
    expected = apart.sort_values(["horizon", "model"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(summarise(both, ["model"]), expected)
    with pytest.raises(ValueError, match="more than once"):
        summarise(both)


def test_a_group_that_has_no_name_is_kept():
    summary = summarise(
        forecasts(6).assign(sector=lambda table: table["sector"].where(table["symbol"] != "SCOM")), ["sector"]
    )
    assert summary["sector"].isna().sum() == 2 and (summary["n"] > 0).all()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"raw": np.nan}, BadPrices, "no forecast"),
        ({"published": np.inf}, BadPrices, "no forecast"),
        ({"last_price": 0.0}, BadPrices, "no positive price"),
        ({"actual": -1.0}, BadPrices, "no positive price"),
        ({"frozen": None}, ValueError, "frozen"),
    ],
)
def test_a_row_that_would_spoil_the_figures_is_refused_by_name(change, error, match):
    table = forecasts(7)
    with pytest.raises(error, match=match):
        summarise(table.assign(**change))
    summarise(table.assign(**change).assign(frozen=True))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="no column tier;"):
        summarise(forecasts(8), ["tier"])
