"""Rank skill, portfolios after costs and skill by group, against obvious loops and planted signals."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from support.prices.panel import SYMBOLS, made_panel
from support.training.worth import DAYS, STOCKS, made_table

from train.evaluation.portfolios import (
    FEWEST_STOCKS,
    SESSIONS_A_YEAR,
    legs,
    mean_figures,
    portfolio_figures,
    rank_ic,
    ranked,
)
from train.evaluation.worth import THIRDS, liquidity, measure_worth, price_tier
from train.evaluation.worth_sentences import NOT_MEASURED, ranking, verdict, where


def with_holes(table: pd.DataFrame) -> pd.DataFrame:
    """Drop rows, outcomes and movement here and there, and leave one day with too few stocks."""
    rng = np.random.default_rng(8)
    table = table[rng.random(len(table)) > 0.06].reset_index(drop=True)
    table.loc[rng.random(len(table)) < 0.04, "actual"] = np.nan
    table["frozen"] = (table["symbol"] == "S13") & (table["cutoff"] < DAYS[20])
    table["raw"] = table["last_price"] * (1 + np.round(table["raw"] / table["last_price"] - 1, 2))  # ties
    few = (table["cutoff"] == DAYS[7]) & (table["symbol"] >= "S04")
    return table[~few].reset_index(drop=True)


def by_day(table: pd.DataFrame, horizon: int, entry: str) -> dict[pd.Timestamp, pd.DataFrame]:
    """Each day's signals and returns, by the obvious loop."""
    rows = {(row.symbol, row.cutoff): row for row in table[table["horizon"] == horizon].itertuples()}
    sessions = sorted(table["cutoff"].unique())
    found: dict[pd.Timestamp, list] = {day: [] for day in sessions}
    for (symbol, day), row in rows.items():
        place = sessions.index(day)
        later = sessions[place + 1] if place + 1 < len(sessions) else None
        at = row if entry == "same_close" else rows.get((symbol, later))
        if row.frozen or at is None or math.isnan(at.actual):
            continue
        found[day].append((symbol, row.raw / row.last_price - 1, at.actual / at.last_price - 1))
    return {
        day: pd.DataFrame(items, columns=["symbol", "signal", "return"]).set_index("symbol")
        for day, items in found.items()
        if len(items) >= FEWEST_STOCKS
    }


@pytest.mark.parametrize("entry", ["next_close", "same_close"])
@pytest.mark.parametrize("horizon", [1, 5])
def test_the_rank_ic_is_spearmans_correlation_of_each_day(horizon, entry):
    table = with_holes(made_table("executable"))
    found, truth = rank_ic(ranked(table, horizon, entry)), by_day(table, horizon, entry)
    sessions = sorted(table["cutoff"].unique())
    for place, day in enumerate(sessions):
        expected = spearmanr(truth[day]["signal"], truth[day]["return"])[0] if day in truth else math.nan
        assert found[place] == pytest.approx(expected, nan_ok=True), day
    assert DAYS[7] not in truth and ranked(table, horizon, entry).left_out >= 1


@pytest.mark.parametrize("entry", ["next_close", "same_close"])
@pytest.mark.parametrize("horizon", [1, 5])
def test_portfolios_turnover_and_costs_equal_the_obvious_loop(horizon, entry):
    table = with_holes(made_table("executable"))
    days, sessions = by_day(table, horizon, entry), sorted(table["cutoff"].unique())

    def leg(place: int, name: str) -> pd.Series | None:
        """The weights of a leg; None on a day without one, such as one whose lowest signals are all tied."""
        if not 0 <= place < len(sessions) or sessions[place] not in days:
            return None
        stocks = days[sessions[place]]
        rank = stocks["signal"].rank()
        chosen = {"top": rank > 4 / 5 * len(stocks), "bottom": rank <= len(stocks) / 5}[name]
        return pd.Series(1 / chosen.sum(), index=stocks.index[chosen]) if chosen.any() else None

    for row, (names, other) in zip(
        portfolio_figures(ranked(table, horizon, entry), 0.7),
        ((("top",), "market"), (("top", "bottom"), "bottom")),
        strict=True,
    ):
        gross, net, replaced = [], [], []
        for place, day in enumerate(sessions):
            pairs = [(leg(place, name), leg(place - horizon, name)) for name in names]
            if any(weights is None for pair in pairs for weights in pair):
                continue
            shares = [new.sub(old, fill_value=0).abs().sum() / 2 for new, old in pairs]
            returns = days[day]["return"]
            own = [(new * returns.loc[new.index]).sum() for new, _ in pairs]
            gross.append(100 * (own[0] - (returns.mean() if other == "market" else own[1])))
            net.append(gross[-1] - 2 * 0.7 * sum(shares))
            replaced.append(np.mean(shares))
        assert row["portfolio"] == f"top_minus_{other}" and row["days"] == len(gross) > 15
        for name, values in (("gross", gross), ("net", net), ("turnover", replaced)):
            assert row[name] == pytest.approx(np.mean(values)), name
        assert row["net_year"] == pytest.approx(row["net"] * SESSIONS_A_YEAR / horizon)


def test_a_perfect_signal_has_an_ic_of_one_and_earns_what_its_fifths_earn():
    stocks = ranked(made_table("perfect"), 1, "same_close")
    assert rank_ic(stocks) == pytest.approx(np.ones(len(DAYS)))
    returns = legs(stocks).returns
    assert (returns["top"] > returns["market"]).all() and (returns["market"] > returns["bottom"]).all()


def test_foresight_of_the_next_session_only_is_worthless_at_the_next_close():
    table = made_table("perfect", horizons=(1,), days=pd.bdate_range("2022-01-03", periods=400))
    figures = {
        entry: portfolio_figures(ranked(table, 1, entry), 0.0)[1] for entry in ("same_close", "next_close")
    }
    assert figures["same_close"]["gross_t"] > 20 and abs(figures["next_close"]["gross_t"]) < 3


def test_a_random_signal_is_worth_nothing_and_costs_make_it_a_loss():
    worth = measure_worth(made_table("random"), made_panel(), 1.8)
    assert (worth.rank_ic["t"].abs() < 3).all()
    assert (worth.portfolios["net_high"] < 0).all() and (worth.portfolios["gross_t"].abs() < 3.5).all()


def test_a_planted_executable_signal_survives_costs_and_free_trades_leave_the_gross_return():
    table = made_table("executable")
    dear, free = (measure_worth(table, made_panel(), cost).portfolios for cost in (0.1, 0.0))
    assert (dear.loc[dear["entry"] == "next_close", "net_low"] > 0).all()
    even = free[(free["entry"] == "next_close") & (free["horizon"] == 5)].set_index("portfolio")["break_even"]
    at_even = measure_worth(made_table("executable"), made_panel(), even["top_minus_bottom"]).portfolios
    chosen = (at_even["portfolio"] == "top_minus_bottom") & (at_even["entry"] == "next_close")
    assert at_even[chosen & (at_even["horizon"] == 5)]["net"].to_numpy() == pytest.approx([0], abs=1e-9)
    assert free["net"].to_numpy() == pytest.approx(free["gross"].to_numpy())


def test_the_t_statistic_of_independent_days_is_students():
    values = np.random.default_rng(5).normal(0.1, 1, 20_000)
    found = mean_figures(values, 1)
    assert found["t"] == pytest.approx(values.mean() / (values.std() / math.sqrt(len(values))), rel=0.05)
    assert (found["low"] + found["high"]) / 2 == pytest.approx(values.mean())
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * found["mean"] / found["t"], rel=1e-3)


def test_overlapping_outcomes_widen_the_interval():
    steps = np.random.default_rng(6).normal(size=2_000)
    overlapping = pd.Series(steps).rolling(10).mean().dropna().to_numpy()
    near, far = mean_figures(overlapping, 1), mean_figures(overlapping, 10)
    assert far["high"] - far["low"] > 1.05 * (near["high"] - near["low"])


def test_a_day_with_equal_forecasts_has_no_ic_and_no_fifths():
    table = made_table("perfect", horizons=(1,))
    same = table["cutoff"] == DAYS[3]
    table.loc[same, "raw"] = table.loc[same, "last_price"]
    stocks = ranked(table, 1, "same_close")
    assert np.isnan(rank_ic(stocks)[3]) and np.isfinite(rank_ic(stocks)[4])
    assert np.isnan(legs(stocks).returns["top"][3]) and np.isnan(legs(stocks).turnover["top"][[3, 4]]).all()


def test_price_tiers_include_their_lower_bound():
    assert price_tier(np.array([4.99, 5.0, 9.99, 10.0, 49.9, 50.0, 400.0])).tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_liquidity_counts_the_moves_of_the_last_sixty_rows_and_no_later_ones():
    panel = made_panel()
    found = liquidity(panel)
    for symbol in ("MOVES", "FROZEN", "GAPS"):
        history = panel.history(symbol)
        moved = history["close"].diff().ne(0).astype(float)
        moved.iloc[0] = np.nan
        own = found[slice(*panel.spans[symbol])]
        assert own == pytest.approx(moved.rolling(60).mean().to_numpy(), nan_ok=True), symbol
    early = panel.as_of(panel.dates[100].date())
    (start, stop), (first, _) = early.spans["MOVES"], panel.spans["MOVES"]
    assert liquidity(early)[start:stop] == pytest.approx(
        found[first : first + stop - start], abs=0, nan_ok=True
    )


def test_groups_share_naives_squared_error_and_their_rows_add_up():
    panel, table = made_panel(), made_table("random", horizons=(1,))
    names = dict(zip(STOCKS, [*SYMBOLS, *STOCKS][: len(STOCKS)], strict=True))
    table["symbol"] = table["symbol"].map(names)
    table["cutoff"] = table["cutoff"].map(dict(zip(DAYS, panel.dates[-45:], strict=True)))
    groups = measure_worth(table, panel).groups
    price = groups[groups["kind"] == "price"]
    assert price["n"].sum() == len(table) and price["naive_share"].sum() == pytest.approx(1)
    tier = table["last_price"].between(5, 10, inclusive="left")
    square = (table["actual"] / table["last_price"] - 1) ** 2
    own = price.set_index("group").loc["5 to 10 KES"]
    assert own["naive_share"] == pytest.approx(square[tier].sum() / square.sum())
    error = (table["raw"] - table["actual"]) / table["last_price"]
    assert own["rel_rmse"] == pytest.approx(math.sqrt((error[tier] ** 2).mean() / square[tier].mean()))
    assert set(groups.loc[groups["kind"] == "liquidity", "group"]) <= set(THIRDS)


def test_a_table_without_outcomes_has_figures_without_numbers():
    table = made_table("random")
    worth = measure_worth(table.assign(actual=np.nan), made_panel())
    assert (worth.rank_ic["days"] == 0).all() and worth.rank_ic["ic"].isna().all() and worth.groups.empty
    assert worth.as_dict()["portfolios"][0]["net"] is None


@pytest.mark.parametrize(
    ("signal", "cost", "said"),
    [
        (
            "random",
            1.8,
            "After costs of 1.8 % each way, nothing is left. Of 4 portfolios and horizons, the best without",
        ),
        (
            "executable",
            0.1,
            "After costs of 0.1 % each way, something is left: the top fifth minus the market at 1",
        ),
    ],
)
def test_the_verdict_follows_from_the_figures(signal, cost, said):
    found = verdict(measure_worth(made_table(signal), made_panel(), cost))
    assert found.startswith(said)


def test_a_gain_that_may_be_chance_is_not_called_one():
    worth = measure_worth(made_table("random"), made_panel())
    rows = worth.portfolios.assign(net=0.3, net_p=0.02, net_low=0.1, net_high=0.5, net_year=1.0)
    assert "no gain is certain" in verdict(replace(worth, portfolios=rows)), "4 figures: .02 may be chance"
    assert "something is left" in verdict(replace(worth, portfolios=rows.assign(net_p=0.001)))


def test_the_sentences_report_days_with_too_few_stocks():
    table = made_table("perfect")
    worth = measure_worth(table[table["symbol"] < "S05"], made_panel())
    assert verdict(worth) == ranking(worth) == NOT_MEASURED and "5 to 10 KES" in where(worth)
    assert (worth.rank_ic["left_out"] > 40).all()
