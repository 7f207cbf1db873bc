"""Rank stocks by their expected change on each day, and measure the top and bottom fifth.

The signal is raw / last price - 1, known on the evening of the cutoff. The outcome is the simple return over
the horizon, for two entries: ``next_close`` buys at the close of the next session, which is possible, and
``same_close`` at the close that the forecast itself needs, which is not. Only stocks whose price moved in the
window and whose outcome is known are ranked.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from common.scoring.significance import diebold_mariano, ratio_noise

NEXT_CLOSE, SAME_CLOSE = ENTRIES = ("next_close", "same_close")
"""Entries; the tradable one comes first."""
FEWEST_STOCKS = 10
"""A day with fewer stocks is left out, and counted."""
FIFTHS = 5
SESSIONS_A_YEAR = 250
_MEAN = ("", "_t", "_p", "_low", "_high", "_year")
COLUMNS = (
    "portfolio",
    "days",
    "turnover",
    *(f"{name}{key}" for name in ("gross", "net") for key in _MEAN),
    "break_even",
)
"""Figures of a portfolio, see `portfolio_figures`."""
PORTFOLIOS = ("top_minus_market", "top_minus_bottom")


@dataclass(frozen=True)
class Ranked:
    """Ranks and realised returns of stocks at one horizon and entry: N rows on D sessions."""

    horizon: int
    sessions: int
    """D."""
    session: np.ndarray
    """Position of each row's cutoff among the sessions, (N,)."""
    symbol: np.ndarray
    """Code of its stock, (N,)."""
    realised: np.ndarray
    """Simple return after the entry, (N,)."""
    rank: np.ndarray
    """Rank of its expected change on its day, from 1 for the lowest; ties share the average, (N,)."""
    outcome_rank: np.ndarray
    """The same of ``realised``, (N,)."""
    left_out: int
    """Days with 1 to ``FEWEST_STOCKS`` - 1 stocks, which have no rows here."""

    @property
    def count(self) -> np.ndarray:
        """Stocks of each session, (D,)."""
        return np.bincount(self.session, minlength=self.sessions)


def ranked(table: pd.DataFrame, horizon: int, entry: str) -> Ranked:
    """Rank the forecasts of one horizon in a table as returned by `backtest.forecast_table`.

    A stock's return after the next close is the outcome of its own row one session later; sessions are the
    cutoffs of the whole table. Without that row or its outcome, the stock is not ranked.
    """
    days, _ = pd.factorize(table["cutoff"], sort=True)
    sessions = int(days.max()) + 1 if len(days) else 0
    symbols, _ = pd.factorize(table["symbol"])
    here = np.flatnonzero((table["horizon"] == horizon).to_numpy())
    day, symbol = days[here], symbols[here]
    last, raw, actual = (table[name].to_numpy(float)[here] for name in ("last_price", "raw", "actual"))
    realised = actual / last - 1
    if entry == NEXT_CLOSE:
        later = pd.Series(realised, index=symbol * (sessions + 1) + day)
        realised = later.reindex(symbol * (sessions + 1) + day + 1).to_numpy()
    used = np.isfinite(realised) & np.isfinite(raw) & ~table["frozen"].to_numpy(bool)[here]
    count = np.bincount(day[used], minlength=sessions)
    left_out = int(((count > 0) & (count < FEWEST_STOCKS)).sum())
    used &= count[day] >= FEWEST_STOCKS
    day, symbol, realised, expected = day[used], symbol[used], realised[used], (raw / last - 1)[used]
    rank, outcome = (pd.Series(values).groupby(day).rank().to_numpy() for values in (expected, realised))
    return Ranked(horizon, sessions, day, symbol, realised, rank, outcome, left_out)


def rank_ic(stocks: Ranked) -> np.ndarray:
    """Return the rank information coefficient of each session, shape (D,).

    This is Spearman's correlation of expected and realised change across the day's stocks; NaN on days
    without enough stocks, and where either does not vary.
    """
    count = stocks.count
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = ((count + 1) / 2)[stocks.session]
        first, second = stocks.rank - mean, stocks.outcome_rank - mean
        product, own, other = (
            np.bincount(stocks.session, weights=values, minlength=stocks.sessions)
            for values in (first * second, first**2, second**2)
        )
        return np.asarray(product / np.sqrt(own * other))


@dataclass(frozen=True)
class Legs:
    """Returns over the horizon by session, (D,), and the turnover of each portfolio there."""

    returns: dict[str, np.ndarray]
    """``top``, ``bottom`` and ``market`` (all ranked stocks), equally weighted."""
    turnover: dict[str, np.ndarray]
    """Of ``top`` and ``bottom``: half the sum of absolute changes of weight since the portfolio that was
    formed ``horizon`` sessions before and ends now; NaN if there is none."""


def legs(stocks: Ranked) -> Legs:
    """Form the top and bottom fifth of every session: ranks above 4/5 and up to 1/5 of the stocks."""
    fifth = np.ceil(FIFTHS * stocks.rank / stocks.count[stocks.session])
    members = {"top": fifth == FIFTHS, "bottom": fifth == 1, "market": np.ones(len(fifth), bool)}
    returns, turnover = {}, {}
    stocks_in_all = int(stocks.symbol.max()) + 1 if len(stocks.symbol) else 0
    for leg, chosen in members.items():
        day, symbol = stocks.session[chosen], stocks.symbol[chosen]
        count = np.bincount(day, minlength=stocks.sessions)
        with np.errstate(invalid="ignore"):
            total = np.bincount(day, weights=stocks.realised[chosen], minlength=stocks.sessions)
            returns[leg] = total / count
        if leg == "market":
            continue
        weights = np.zeros((stocks.sessions, stocks_in_all))
        weights[day, symbol] = 1 / count[day]
        weights[count == 0] = np.nan
        replaced = np.full(stocks.sessions, np.nan)
        change = np.abs(weights[stocks.horizon :] - weights[: -stocks.horizon]).sum(axis=1)
        replaced[stocks.horizon :] = change / 2
        turnover[leg] = replaced
    return Legs(returns, turnover)


def portfolio_figures(stocks: Ranked, cost_percent: float) -> list[dict[str, Any]]:
    """Return a row of figures for each of ``PORTFOLIOS``, before and after costs.

    A portfolio is formed on every session and held for ``horizon`` sessions, so that 1 / horizon of the money
    is moved each day (Jegadeesh and Titman, Journal of Finance 1993). Turnover is sold and bought:
    cost = 2 * turnover * cost each way, for both legs of ``top_minus_bottom``, and for the top fifth alone of
    ``top_minus_market``, since holding the market costs nothing. Rebalancing within a holding
    period and borrowing of shares are free, so the figures after costs are upper bounds.

    Returns
    -------
    list of dict
        ``portfolio``, ``days``, ``turnover`` (mean share replaced, of both legs if there are two), and for
        ``gross`` and ``net``, in percent over the horizon: the mean, ``_low`` and ``_high`` (95 %), ``_t``,
        ``_p``, and ``_year`` (mean * 250 / horizon, not compounded), see `mean_figures`; ``break_even``: the
        cost each way in percent at which ``net`` is 0.
    """
    parts, rows = legs(stocks), []
    for portfolio in PORTFOLIOS:
        other = portfolio.removeprefix("top_minus_")
        traded = [parts.turnover[leg] for leg in ("top", other) if leg in parts.turnover]
        gross = 100 * (parts.returns["top"] - parts.returns[other])
        cost = 2 * cost_percent * np.sum(traded, axis=0)
        known = np.isfinite(gross) & np.isfinite(cost)
        row: dict[str, Any] = {"portfolio": portfolio, "days": int(known.sum())}
        row["turnover"] = float(np.mean([leg[known] for leg in traded])) if known.any() else math.nan
        for name, series in (("gross", gross[known]), ("net", (gross - cost)[known])):
            figures = mean_figures(series, stocks.horizon)
            row |= {f"{name}_{key}" if key != "mean" else name: value for key, value in figures.items()}
            row[f"{name}_year"] = figures["mean"] * SESSIONS_A_YEAR / stocks.horizon
        replaced = 2 * row["turnover"] * len(traded)
        row["break_even"] = row["gross"] / replaced if replaced > 0 else math.nan
        rows.append(row)
    return rows


def mean_figures(values: np.ndarray, horizon: int) -> dict[str, float]:
    """Return ``mean``, ``t``, ``p``, and the 95 % interval ``low`` to ``high`` of a daily series.

    Outcomes overlap over ``horizon`` days, so the standard error is that of Newey and West with at least
    horizon - 1 lags and its correction for small samples, see `common.scoring.significance.diebold_mariano`;
    NaN where that cannot test.
    """
    values = values[np.isfinite(values)]
    test = diebold_mariano(values, horizon=horizon)
    error = math.nan
    if not math.isnan(test.statistic):
        error = ratio_noise(values, np.ones(len(values)), np.arange(len(values)), horizon=horizon)
    half = error * float(stdtrit(max(len(values) - 1, 1), 0.975))
    interval = {"low": test.mean - half, "high": test.mean + half}
    return {"mean": test.mean, "t": test.statistic, "p": test.p_value, **interval}
