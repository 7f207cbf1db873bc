"""What forecasts are worth: how well they rank stocks, what is left after costs, where the skill is."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common import storage
from common.prices.panel import Panel
from train.evaluation.portfolios import COLUMNS, ENTRIES, mean_figures, portfolio_figures, rank_ic, ranked
from train.evaluation.summary import summarise

COST_PERCENT = 1.8
"""Default cost each way: the highest brokerage of small trades in Nairobi, percent of the amount."""
PRICE_TIERS = {"below 5 KES": 5.0, "5 to 10 KES": 10.0, "10 to 50 KES": 50.0, "50 KES and more": math.inf}
"""Upper bound of the last price in each tier, excluded."""
THIRDS = ("least liquid third", "middle third", "most liquid third")
LIQUIDITY_SESSIONS = 60
"""Liquidity is the share of a stock's last rows in which its close moved; this is their number."""
RATIOS = ("n", "symbols", "rel_mae", "rel_rmse", "dm_abs_p", "dm_sq_p")
GROUP_COLUMNS = ("horizon", "kind", "group", *RATIOS, "naive_share")
IC = ("horizon", "entry", "ic", "t", "p", "low", "high", "positive_share", "days", "left_out")


@dataclass(frozen=True)
class Worth:
    """Figures over the moving stocks of one forecast table; changes and costs in percent."""

    cost_percent: float
    """Cost of a purchase, and of a sale, in percent of the amount."""
    rank_ic: pd.DataFrame
    """A row per horizon and entry with the columns ``IC``: the mean daily rank information coefficient, its
    t-statistic, p and 95 % interval, the share of days on which it is positive, and the days counted and left
    out for too few stocks."""
    portfolios: pd.DataFrame
    """A row per horizon, entry and portfolio, see `train.evaluation.portfolios.portfolio_figures`."""
    groups: pd.DataFrame
    """A row per horizon, ``kind`` (``price`` or ``liquidity``) and ``group``: ``RATIOS``, see
    `train.evaluation.summary.summarise`, and ``naive_share``, the share of naive's squared error."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; NaN becomes None."""
        frames = {"rank_ic": self.rank_ic, "portfolios": self.portfolios, "groups": self.groups}
        values: dict[str, Any] = storage.finite(
            {name: frame.to_dict(orient="records") for name, frame in frames.items()}
        )
        return {"cost_percent": self.cost_percent, **values}


def measure_worth(table: pd.DataFrame, panel: Panel, cost_percent: float = COST_PERCENT) -> Worth:
    """Measure the worth of a table as returned by `backtest.forecast_table`; ``panel`` has its prices."""
    return worth_of_horizons((rows for _, rows in table.groupby("horizon")), panel, cost_percent)


def worth_of_horizons(tables: Iterable[pd.DataFrame], panel: Panel, cost_percent: float) -> Worth:
    """Measure the worth of forecasts; each table has one horizon, in ascending order."""
    ics, portfolios, shares = [], [], liquidity(panel)
    groups: dict[str, list[pd.DataFrame]] = {"price": [], "liquidity": []}
    for table in tables:
        horizon = int(table["horizon"].iloc[0])
        for entry in ENTRIES:
            stocks = ranked(table, horizon, entry)
            daily = rank_ic(stocks)
            daily = daily[np.isfinite(daily)]
            figures = mean_figures(daily, horizon)
            ics.append(
                {"horizon": horizon, "entry": entry, "ic": figures.pop("mean"), **figures}
                | {"positive_share": float((daily > 0).mean()) if len(daily) else math.nan}
                | {"days": len(daily), "left_out": stocks.left_out}
            )
            keys = {"horizon": horizon, "entry": entry}
            portfolios += [keys | row for row in portfolio_figures(stocks, cost_percent)]
        for kind, part in _groups(table, panel, shares).items():
            groups[kind].append(part)
    gains = pd.DataFrame(portfolios, columns=["horizon", "entry", *COLUMNS])
    rows = [part for parts in groups.values() for part in parts]
    by_group = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=[*GROUP_COLUMNS])
    return Worth(cost_percent, pd.DataFrame(ics, columns=list(IC)), gains, by_group)


def price_tier(last: np.ndarray) -> np.ndarray:
    """Return the position in ``PRICE_TIERS`` of each last price in KES."""
    return np.searchsorted(list(PRICE_TIERS.values())[:-1], last, side="right")


def liquidity(panel: Panel) -> np.ndarray:
    """Return the share of moves over the last ``LIQUIDITY_SESSIONS`` rows of each row's symbol, (rows,).

    NaN for a symbol's first ``LIQUIDITY_SESSIONS`` rows. Later rows do not affect it.
    """
    close = panel.frame["close"].to_numpy()
    share = np.full(len(close), np.nan)
    for start, stop in panel.spans.values():
        moves = np.cumsum(np.diff(close[start:stop], prepend=np.nan) != 0)
        share[start + LIQUIDITY_SESSIONS : stop] = moves[LIQUIDITY_SESSIONS:] - moves[:-LIQUIDITY_SESSIONS]
    return np.asarray(share / LIQUIDITY_SESSIONS)


def _at_cutoffs(values: np.ndarray, panel: Panel, table: pd.DataFrame) -> np.ndarray:
    """Return the panel's values at each forecast's symbol and cutoff; NaN where it has no such row."""
    dates, cutoffs = panel.frame["date"].to_numpy(), table["cutoff"].to_numpy()
    found = np.full(len(table), np.nan)
    for symbol, rows in table.groupby("symbol").indices.items():
        own = slice(*panel.spans.get(str(symbol), (0, 0)))
        place = np.searchsorted(dates[own], cutoffs[rows])
        inside = place < own.stop - own.start
        rows, place = rows[inside], own.start + place[inside]
        found[rows] = np.where(dates[place] == cutoffs[rows], values[place], np.nan)
    return found


def _groups(table: pd.DataFrame, panel: Panel, shares: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return the figures of one horizon by price tier and by third of liquidity, ``shares``."""
    used = table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)]
    days = used.assign(share=_at_cutoffs(shares, panel, used)).groupby("cutoff")["share"]
    third = np.ceil(len(THIRDS) * days.rank() / days.transform("count")) - 1
    kinds = {
        "price": (list(PRICE_TIERS), pd.Series(price_tier(used["last_price"].to_numpy()), used.index)),
        "liquidity": (list(THIRDS), third),
    }
    square, parts = (used["actual"] / used["last_price"] - 1) ** 2, {}
    for kind, (names, codes) in kinds.items():
        rows = used.assign(code=codes, square=square).dropna(subset="code")
        figures = summarise(rows, ["horizon", "code"])[["horizon", "code", *RATIOS]]
        sums = rows.groupby("code")["square"].sum().to_numpy()
        total = sums.sum()
        shared = sums / total if total > 0 else np.full(len(sums), np.nan)
        part = figures.assign(kind=kind, group=[names[int(code)] for code in figures["code"]])
        parts[kind] = part.assign(naive_share=shared)[list(GROUP_COLUMNS)]
    return parts
