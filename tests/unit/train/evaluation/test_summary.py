"""Summaries of forecast tables, against plain Python and statsmodels."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadPrices
from train.evaluation.summary import COMPARED, FIGURES, TESTS, compare, summarise

SECTOR = {"SCOM": "Telecom", "EQTY": "Banking", "KCB": "Banking"}
QUANTILE = {
    "lo95": 0.025,
    "lo90": 0.05,
    "lo80": 0.1,
    "published": 0.5,
    "hi80": 0.9,
    "hi90": 0.95,
    "hi95": 0.975,
}
BOUNDS = [name for name in QUANTILE if name != "published"]
IN_KES = ["mae", "naive_mae", "rmse", "naive_rmse"]
seeds = st.integers(0, 2**32 - 1)


def made(seed: int, *, whole: bool = False) -> pd.DataFrame:
    """Forecasts for three stocks on a grid of ticks, bounds between them, shuffled.

    ``whole``: no frozen, missing or unscored rows.
    """
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2024-01-01", periods=25)
    rows = [(symbol, day, h) for symbol in SECTOR for day in days for h in (1, 5)]
    table = pd.DataFrame(rows, columns=["symbol", "cutoff", "horizon"])
    n = len(table)
    table["target_date"] = table["cutoff"] + pd.to_timedelta(table["horizon"], unit="D")
    table["last_price"] = rng.integers(200, 400, n) / 20
    table["frozen"] = rng.random(n) < 0.15
    table["raw"] = table["last_price"] + rng.normal(0, 0.1, n)
    table["published"] = table["last_price"] + rng.integers(-2, 3, n) / 20
    table["p_move"] = rng.random(n)
    for ticks, level in enumerate((80, 90, 95), start=1):
        table[f"lo{level}"] = table["published"] - (ticks + 0.5) / 20
        table[f"hi{level}"] = table["published"] + (ticks + 0.5) / 20
    table.loc[rng.random(n) < 0.1, BOUNDS] = np.nan
    chances = np.random.default_rng(seed + 1)
    for kind in ("probability", "base"):
        names = [f"{kind}_{direction}" for direction in ("up", "unchanged", "down")]
        table[names] = chances.dirichlet((1, 1, 1), n)
        table.loc[chances.random(n) < 0.1, names] = np.nan
    table["actual"] = table["last_price"] + rng.integers(-4, 5, n) / 20
    table["sector"] = table["symbol"].map(SECTOR)
    if whole:
        table["frozen"] = False
    else:
        table.loc[rng.random(n) < 0.1, "actual"] = np.nan
        table = table[rng.random(n) < 0.85]
    return table.sample(frac=1, random_state=int(rng.integers(2**31))).reset_index(drop=True)


def rival_of(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Another model's forecasts of some of the same events, with frozen windows of its own."""
    row = ["symbol", "cutoff", "horizon"]
    events = table.set_index(row)[["last_price", "actual"]]
    return made(seed).drop(columns=["last_price", "actual"]).join(events, on=row, how="inner")


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def hac_test(differentials: list[tuple], horizon: int) -> tuple[float, float]:
    """Statistic and p of (date, differential) pairs averaged by date, by statsmodels."""
    import scipy.stats
    from statsmodels.api import OLS

    dates = sorted({date for date, _ in differentials})
    means = np.array([mean(value for day, value in differentials if day == date) for date in dates])
    n = len(means)
    if n < 8 or np.ptp(means) < 1e-12:
        return math.nan, math.nan
    lags = min(max(horizon - 1, int(4 * (n / 100) ** (2 / 9))), n - 1)
    fitted = OLS(means, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    statistic = float(fitted.tvalues[0]) * math.sqrt((n - lags - 1) * (n - lags)) / n
    return statistic, float(2 * scipy.stats.t.sf(abs(statistic), df=n - 1))


def percent(row: dict, name: str) -> float:
    return 100 * (row[name] - row["actual"]) / row["last_price"]


def brier_by_hand(used: list[dict]) -> dict[str, float]:
    """Brier scores of the rows with chances, and skills over those that have base rates too."""

    def score(rows: list[dict], kind: str, directions: tuple[str, ...]) -> float:
        return mean(
            sum(
                (row[f"{kind}_{direction}"] - (np.sign(row["actual"] - row["last_price"]) == sign)) ** 2
                for direction, sign in {"up": 1, "unchanged": 0, "down": -1}.items()
                if direction in directions
            )
            for row in rows
        )

    known = [row for row in used if not math.isnan(row["probability_up"])]
    both = [row for row in known if not math.isnan(row["base_up"])]
    figures = {}
    for name, directions in (("brier", ("up", "unchanged", "down")), ("brier_up", ("up",))):
        figures[name] = score(known, "probability", directions)
        ratio = score(both, "probability", directions) / score(both, "base", directions)
        figures[f"{name}_skill"] = 1 - ratio
    return figures


def by_hand(rows: list[dict]) -> dict[str, float]:
    """Every figure of one group and horizon, one row at a time."""
    scored = [row for row in rows if not math.isnan(row["actual"])]
    used = [row for row in scored if not row["frozen"]]
    moved = [row for row in used if row["actual"] != row["last_price"]]
    called = [row for row in moved if row["published"] != row["last_price"]]
    bounded = [row for row in used if not math.isnan(row["lo95"])]
    naive_mae = mean(abs(percent(row, "last_price")) for row in used)
    naive_mse = mean(percent(row, "last_price") ** 2 for row in used)
    figures = {
        "n": len(used),
        "n_frozen": len(scored) - len(used),
        "n_unscored": len(rows) - len(scored),
        "symbols": len({row["symbol"] for row in used}),
        "moved_share": len(moved) / len(used) if used else math.nan,
        "mae": mean(abs(row["published"] - row["actual"]) for row in used),
        "naive_mae": mean(abs(row["last_price"] - row["actual"]) for row in used),
        "rmse": math.sqrt(mean((row["raw"] - row["actual"]) ** 2 for row in used)),
        "naive_rmse": math.sqrt(mean((row["last_price"] - row["actual"]) ** 2 for row in used)),
        "mape": mean(100 * abs(row["published"] - row["actual"]) / row["actual"] for row in used),
        "naive_mape": mean(100 * abs(row["last_price"] - row["actual"]) / row["actual"] for row in used),
        "rel_mae": mean(abs(percent(row, "published")) for row in used) / (naive_mae or math.nan),
        "rel_rmse": math.sqrt(mean(percent(row, "raw") ** 2 for row in used) / (naive_mse or math.nan)),
        "bias": mean(percent(row, "raw") for row in used),
        "direction": mean(
            (row["published"] > row["last_price"]) == (row["actual"] > row["last_price"]) for row in called
        ),
        "direction_n": len(called),
        "called_share": mean(row["published"] != row["last_price"] for row in used),
    }
    for level in (80, 90, 95):
        low, high = f"lo{level}", f"hi{level}"
        figures[f"cover{level}"] = mean(row[low] <= row["actual"] <= row[high] for row in bounded)
        figures[f"width{level}"] = mean(100 * (row[high] - row[low]) / row["last_price"] for row in bounded)
    figures["winkler90"] = mean(
        100 * (row["hi90"] - row["lo90"]) / row["last_price"]
        + 20 * max(percent(row, "lo90"), -percent(row, "hi90"), 0)
        for row in bounded
    )
    for name, column in (("pinball", None), ("naive_pinball", "last_price")):
        figures[name] = mean(
            max(-tau * percent(row, column or quantile), (1 - tau) * percent(row, column or quantile))
            for row in bounded
            for quantile, tau in QUANTILE.items()
        )
    figures |= brier_by_hand(used)
    pairs = [
        [(row["cutoff"], abs(percent(row, "published")) - abs(percent(row, "last_price"))) for row in used],
        [(row["cutoff"], percent(row, "raw") ** 2 - percent(row, "last_price") ** 2) for row in used],
    ]
    tests = [value for found in pairs for value in hac_test(found, rows[0]["horizon"])]
    return figures | dict(zip(TESTS, tests, strict=True))


@settings(max_examples=12, deadline=None)
@given(seeds, st.sampled_from([[], ["horizon"], ["symbol"], ["sector", "horizon"]]))
def test_every_figure_of_every_group_equals_the_one_worked_out_by_hand(seed, by):
    table = made(seed)
    keys = by if "horizon" in by else ["horizon", *by]
    groups: dict[tuple, list[dict]] = {}
    for row in table.to_dict("records"):
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    found = summarise(table, by)
    assert list(found.columns) == [*keys, *FIGURES]
    assert [tuple(row) for row in found[keys].itertuples(index=False)] == sorted(groups)
    for row in found.to_dict("records"):
        expected = by_hand(groups[tuple(row[key] for key in keys)])
        assert set(expected) == set(FIGURES)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True), name


def test_one_case_worked_out_on_paper():
    table = (
        made(0)
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
    table = made(seed)
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
    table, prices = made(seed), ["last_price", "raw", "published", "actual", *BOUNDS]
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
    table = made(seed)
    naive = {name: table["last_price"] for name in ("raw", "published", *BOUNDS)}
    found = summarise(table.assign(**naive), ["symbol"])
    assert (found[["rel_mae", "rel_rmse"]] == 1).all(axis=None)
    assert found[list(TESTS)].isna().all(axis=None)
    assert (found["called_share"] == 0).all() and (found["direction_n"] == 0).all()
    assert (found["mae"] == found["naive_mae"]).all() and (found["pinball"] == found["naive_pinball"]).all()


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_a_perfect_forecast_has_no_error_and_is_better_than_naive(seed):
    table = made(seed, whole=True)
    perfect = {name: table["actual"] for name in ("raw", "published", *BOUNDS)}
    found = summarise(table.assign(**perfect))
    zero = ["mae", "rmse", "mape", "rel_mae", "rel_rmse", "bias", "winkler90", "pinball", "width95"]
    assert (found[zero] == 0).all(axis=None)
    assert (found[["direction", "cover80", "cover95"]] == 1).all(axis=None)
    assert (found[["dm_abs_stat", "dm_sq_stat"]] < 0).all(axis=None)
    assert (found[["dm_abs_p", "dm_sq_p"]] < 0.01).all(axis=None)


def test_a_group_without_a_row_to_score_has_counts_and_no_figure():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summarise(made(1).assign(frozen=True), ["symbol"])
    assert (found["n"] == 0).all() and (found["n_frozen"] > 0).all()
    assert (
        found.drop(columns=["horizon", "symbol", "n", "n_frozen", "n_unscored"])
        .fillna(0)
        .eq(0)
        .all(axis=None)
    )


def test_a_model_without_intervals_has_all_other_figures():
    table = made(2)
    found, whole = summarise(table.assign(**dict.fromkeys(BOUNDS, np.nan))), summarise(table)
    lacking = [f"{name}{level}" for name in ("cover", "width") for level in (80, 90, 95)]
    lacking += ["winkler90", "pinball", "naive_pinball"]
    assert found[lacking].isna().all(axis=None) and whole[lacking].notna().all(axis=None)
    pd.testing.assert_frame_equal(found.drop(columns=lacking), whole.drop(columns=lacking))


def test_an_empty_table_gives_no_rows_and_all_columns():
    found = summarise(made(3).iloc[:0], ["sector"])
    assert len(found) == 0 and list(found.columns) == ["horizon", "sector", *FIGURES]


def test_several_models_are_summed_up_side_by_side_or_refused():
    a, b = made(4).assign(model="a"), made(5).assign(model="b")
    both = pd.concat([a, b])
    apart = pd.concat([summarise(part, ["model"]) for part in (a, b)])
    expected = apart.sort_values(["horizon", "model"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(summarise(both, ["model"]), expected)
    with pytest.raises(ValueError, match="more than once"):
        summarise(both)


def test_a_group_that_has_no_name_is_kept():
    found = summarise(
        made(6).assign(sector=lambda table: table["sector"].where(table["symbol"] != "SCOM")), ["sector"]
    )
    assert found["sector"].isna().sum() == 2 and (found["n"] > 0).all()


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
    table = made(7)
    with pytest.raises(error, match=match):
        summarise(table.assign(**change))
    summarise(table.assign(**change).assign(frozen=True))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="no column tier;"):
        summarise(made(8), ["tier"])


@settings(max_examples=12, deadline=None)
@given(seeds, seeds, st.sampled_from([[], ["sector"], ["symbol", "horizon"]]))
def test_a_comparison_equals_the_one_worked_out_by_hand(seed, other_seed, by):
    a = made(seed)
    b = rival_of(a, other_seed)
    keys = by if "horizon" in by else ["horizon", *by]
    rivals = {(row["symbol"], row["cutoff"], row["horizon"]): row for row in b.to_dict("records")}
    groups: dict[tuple, list[tuple[dict, dict]]] = {}
    for row in a.to_dict("records"):
        rival = rivals.get((row["symbol"], row["cutoff"], row["horizon"]))
        if rival and not (row["frozen"] or rival["frozen"] or math.isnan(row["actual"])):
            groups.setdefault(tuple(row[key] for key in keys), []).append((row, rival))
    found = compare(a, b, by)
    assert list(found.columns) == [*keys, *COMPARED]
    assert [tuple(row) for row in found[keys].itertuples(index=False)] == sorted(groups)
    for row in found.to_dict("records"):
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
    table = made(9)
    naive = table.assign(raw=table["last_price"], published=table["last_price"])
    found = compare(table, naive, ["sector"])
    pd.testing.assert_frame_equal(found, summarise(table, ["sector"])[found.columns])


def test_the_two_sides_of_a_comparison_may_store_dates_in_different_units():
    table = made(10)
    seconds = table.assign(cutoff=table["cutoff"].astype("datetime64[s]"))
    assert (compare(table, seconds)["n"] == summarise(table)["n"]).all()


def test_tables_that_disagree_on_what_happened_are_not_compared():
    table = made(11)
    with pytest.raises(ValueError, match="actual / last price"):
        compare(table, table.assign(actual=table["actual"] + 0.05))


def test_a_comparison_takes_one_model_a_side():
    table = made(12)
    twice = pd.concat([table.assign(model="a"), table.assign(model="b")])
    for pair in ((twice, table), (table, twice)):
        with pytest.raises(ValueError, match="one at a time"):
            compare(*pair)
