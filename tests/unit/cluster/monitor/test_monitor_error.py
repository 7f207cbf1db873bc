"""Realised errors against the backtest's: the tests behind the verdicts, and what trips them."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from support.training.evidence import UNIVERSE, forecasts

from cluster.monitor.served_errors import COLUMNS, judge
from cluster.monitor.settings import MonitorSettings
from cluster.monitor.significance import binomial_coverage, breakdown

SETTINGS = MonitorSettings()


def test_a_breakdown_is_the_studentised_mean_of_surprise_losses():
    rng = np.random.default_rng(0)
    surprise, m, horizon = rng.normal(0.3, 1, 40), 150, 3
    n = len(surprise)
    lags = max(horizon - 1, math.floor(4 * (n / 100) ** (2 / 9)))
    u = surprise - surprise.mean()
    variance = u @ u / n
    for k in range(1, lags + 1):
        variance += 2 * (1 - k / (lags + 1)) * (u[k:] @ u[:-k]) / n
    small = (n + 1 - 2 * (lags + 1) + (lags + 1) * lags / n) / n
    statistic = surprise.mean() / math.sqrt(variance / n) * math.sqrt(small) / math.sqrt(1 + n / m)
    result = breakdown(surprise, horizon=horizon, reference_dates=m)
    assert result.statistic == pytest.approx(statistic, rel=1e-12)
    assert result.p == pytest.approx(scipy.stats.t.sf(statistic, n - 1), rel=1e-9)


def test_only_worse_is_a_breakdown_and_too_few_dates_are_none():
    rng = np.random.default_rng(1)
    assert breakdown(rng.normal(-1, 1, 50), horizon=1, reference_dates=100).p > 0.99
    assert math.isnan(breakdown(rng.normal(1, 1, 5), horizon=1, reference_dates=100).p)
    assert math.isnan(breakdown(rng.normal(1, 1, 20), horizon=30, reference_dates=100).p)


def test_breakdowns_of_forecasts_that_did_not_change_are_as_rare_as_they_claim():
    rng, p = np.random.default_rng(2), []
    for _ in range(600):
        loss = np.abs(np.convolve(rng.standard_normal(264), np.ones(5), "valid"))
        p.append(breakdown(loss[200:] - loss[:200].mean(), horizon=5, reference_dates=200).p)
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_coverage_of_outcomes_that_tell_as_much_as_their_number_is_exactly_binomial():
    inside = np.tile([True, True, True, True, False], 12)  # more even than chance
    result = binomial_coverage(inside, np.arange(60), horizon=1, level=0.99)
    truth = scipy.stats.binomtest(48, 60, 0.9)
    bounds = truth.proportion_ci(0.99, method="exact")
    assert result.effective_n == 60
    assert (result.low, result.high) == pytest.approx((bounds.low, bounds.high), rel=1e-9)
    assert result.p == pytest.approx(2 * scipy.stats.binom.cdf(48, 60, 0.9), rel=1e-9)


def test_stocks_that_move_together_tell_less_than_their_number():
    rng = np.random.default_rng(3)
    days = np.repeat(np.arange(60), 20)
    alone = binomial_coverage(rng.random(1200) < 0.9, days, horizon=1, level=0.99)
    together = binomial_coverage(np.repeat(rng.random(60) < 0.9, 20), days, horizon=1, level=0.99)
    assert alone.effective_n > 600 and together.effective_n < 120
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_coverage_of_nothing_and_of_everything():
    assert math.isnan(binomial_coverage(np.empty(0, bool), np.empty(0), horizon=1, level=0.99).share)
    full = binomial_coverage(np.ones(60, bool), np.arange(60), horizon=30, level=0.99)
    assert full.high == 1 and full.effective_n == 2 and full.p > 0.5


def live(**changes):
    """Forecasts with an interval that misses every tenth outcome."""
    table = forecasts()
    misses = np.arange(len(table)) % 10 == 0
    table = table.assign(lo90=table["actual"] * np.where(misses, 1.001, 0.99), hi90=table["actual"] * 1.01)
    tiers = {stock.symbol: stock.tier for stock in UNIVERSE.stocks}
    return table.assign(tier=table["symbol"].map(tiers), **changes)


def row_of(rows, level, group, horizon=1):
    chosen = rows[(rows["level"] == level) & (rows["group"] == group) & (rows["horizon"] == horizon)]
    (row,) = chosen.to_dict(orient="records")
    return row


def test_forecasts_like_the_backtests_are_as_expected():
    verdict = judge(live(), forecasts(), SETTINGS)
    assert set(verdict["verdict"]) == {"as expected"}
    row = row_of(verdict, "stock", "ALFA")
    alfa = forecasts().query("symbol == 'ALFA' and horizon == 1")
    error = (alfa["published"] - alfa["actual"]).abs()
    assert row["mae"] == pytest.approx(error.mean()) == pytest.approx(row["backtest_mae"])
    assert row["rel_mae"] == pytest.approx(0.6) == pytest.approx(row["backtest_rel_mae"])
    assert row["error_ratio"] == pytest.approx(1) and row["n"] == 60 and row["dates"] == 60
    assert "HALT" not in set(verdict["group"])  # it never moved


def test_planted_errors_are_detected_in_their_stock_its_tier_and_overall():
    table = live()
    bad = table["symbol"] == "BETA"
    shift = np.where(np.arange(len(table)) % 2, 1.05, 0.95)
    table["published"] = table["published"].where(~bad, table["published"] * shift)
    verdict = judge(table, forecasts(), SETTINGS)
    assert {"error", "skill"} <= set(row_of(verdict, "stock", "BETA")["verdict"].split(", "))
    assert row_of(verdict, "stock", "ALFA")["verdict"] == "as expected"
    assert "error" in row_of(verdict, "tier", "general")["verdict"]
    assert row_of(verdict, "tier", "specific")["verdict"] == "as expected"
    assert "error" in row_of(verdict, "all", "all")["verdict"]


def test_a_market_that_moves_more_is_an_error_and_no_loss_of_skill():
    table = live()
    for name in ("published", "raw", "actual"):
        table[name] = table["last_price"] * (table[name] / table["last_price"]) ** 3
    row = row_of(judge(table, forecasts(), SETTINGS), "stock", "ALFA")
    assert "error" in row["verdict"] and "skill" not in row["verdict"]
    assert row["q_error"] < 0.01 and row["q_skill"] > 0.5


def test_intervals_too_narrow_are_a_breach_of_coverage():
    table = live()
    table["lo90"], table["hi90"] = table["published"] * 0.9999, table["published"] * 1.0001
    verdict = judge(table, forecasts(), SETTINGS)
    assert "coverage" in row_of(verdict, "all", "all")["verdict"]
    assert row_of(verdict, "all", "all")["cover90_high"] < 0.9


def test_few_evenings_give_no_verdict():
    table = live()
    newest = np.sort(table["cutoff"].unique())[-8:]
    table = table[table["cutoff"].isin(newest)].assign(published=lambda rows: rows["published"] * 1.3)
    assert set(judge(table, forecasts(), SETTINGS)["verdict"]) == {"too few"}


def test_a_stock_that_the_backtest_lacks_is_shown_without_a_verdict():
    reference = forecasts()
    verdict = judge(live(), reference[reference["symbol"] != "GAMA"], SETTINGS)
    row = row_of(verdict, "stock", "GAMA")
    assert math.isnan(row["backtest_mae"]) and row["mae"] > 0 and row["q_error"] != row["q_error"]
    assert row_of(verdict, "all", "all")["error_ratio"] == pytest.approx(1)


def test_forecasts_without_intervals_have_no_coverage():
    verdict = judge(live(lo90=np.nan, hi90=np.nan), forecasts(), SETTINGS)
    assert verdict["cover90"].isna().all() and set(verdict["verdict"]) == {"as expected"}


def test_brier_scores_are_those_by_hand_next_to_climatology_and_the_backtests():
    table, reference = live(), forecasts()
    planted = table["symbol"] == "ALFA"
    for name, value in {"probability_up": 0.2, "probability_unchanged": 0.1, "probability_down": 0.7}.items():
        table[name] = table[name].mask(planted, value)
    row = row_of(judge(table, reference, SETTINGS), "stock", "ALFA")
    scores = []
    for rows, kind in ((table, "probability"), (reference, "base"), (reference, "probability")):
        squares = []
        for one in rows[(rows["symbol"] == "ALFA") & (rows["horizon"] == 1)].to_dict(orient="records"):
            direction = np.sign(one["actual"] - one["last_price"])
            squares.append(
                sum(
                    (one[f"{kind}_{name}"] - (direction == sign)) ** 2
                    for name, sign in (("up", 1), ("unchanged", 0), ("down", -1))
                )
            )
        scores.append(np.mean(squares))
    assert row["brier"] == pytest.approx(scores[0])
    assert row["brier_skill"] == pytest.approx(1 - scores[0] / scores[1])
    assert row["backtest_brier_skill"] == pytest.approx(1 - scores[2] / scores[1])


def test_rows_without_probabilities_and_releases_without_base_rates_have_no_brier_score_or_skill():
    names = [f"{kind}_{name}" for kind in ("probability", "base") for name in ("up", "unchanged", "down")]
    old = live().drop(columns=names[3:])
    old.loc[old["symbol"] == "ALFA", names[:3]] = np.nan  # served before the log had them
    verdict = judge(old, forecasts(), SETTINGS)
    assert math.isnan(row_of(verdict, "stock", "ALFA")["brier"])
    assert math.isnan(row_of(verdict, "stock", "ALFA")["backtest_brier_skill"])
    assert row_of(verdict, "stock", "BETA")["brier_skill"] > -1
    overall = row_of(verdict, "all", "all")
    rest = judge(old[old["symbol"] != "ALFA"], forecasts(), SETTINGS)
    assert overall["brier"] == pytest.approx(row_of(rest, "all", "all")["brier"])
    assert overall["n"] == 3 * 60
    bare = judge(old.drop(columns=names[:3]), forecasts().drop(columns=names), SETTINGS)
    assert bare[["brier", "brier_skill", "backtest_brier_skill"]].isna().all(axis=None)
    assert bare["verdict"].tolist() == verdict["verdict"].tolist()


def test_an_empty_or_completely_frozen_table_gives_an_empty_result():
    for table in (live().iloc[:0], live().query("symbol == 'HALT'")):
        verdict = judge(table, forecasts(), SETTINGS)
        assert list(verdict.columns) == list(COLUMNS) and not len(verdict)
    assert isinstance(verdict, pd.DataFrame)
