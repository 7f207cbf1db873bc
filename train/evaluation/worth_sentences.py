"""Sentences about what a release's forecasts are worth, built from its figures."""

from typing import Any

from common.pages.render import days
from common.pages.tables import SIGNIFICANT
from train.evaluation.evidence import Evidence
from train.evaluation.portfolios import FEWEST_STOCKS, NEXT_CLOSE, SAME_CLOSE
from train.evaluation.worth import Worth

NAMES = {
    "top_minus_market": "the top fifth minus the market",
    "top_minus_bottom": "the top minus the bottom fifth",
}
BEST = {"top_minus_market": "the best without short sales is", "top_minus_bottom": "the best with them is"}
NOT_MEASURED = (
    f"Not measured: ranking needs days with at least {FEWEST_STOCKS} moving stocks whose outcome is known, "
    "and there are too few."
)
METHODS = (
    "The signal is the raw price relative to the last price, known on the evening of the cutoff. Stocks are "
    "bought at the close of the next session and held for the days ahead. Nobody can trade at the cutoff's "
    "own close, since the forecast needs it; figures for it are shown for comparison only.",
    f"Each day's moving stocks with a known outcome are ranked; a day with fewer than {FEWEST_STOCKS} is "
    "left out. A portfolio with equal weights is formed on every session; if the horizon is longer than a "
    "day, portfolios overlap.",
    "Turnover is the share of a portfolio that is replaced, so it is sold and bought: cost = 2 x turnover x "
    "cost each way. Holding the market, borrowing shares, price impact and rebalancing within a holding "
    "period cost nothing here, so figures after costs are upper bounds. Shares can hardly be sold short in "
    "Nairobi, so the top fifth minus the market is what an investor can gain. At the break-even cost each "
    "way, nothing is left.",
    "t-statistics and 95 % intervals allow for outcomes that overlap (Newey and West, at least horizon - 1 "
    "lags). A year has 250 sessions, and yearly figures are not compounded.",
)
DAY_PRICE = (
    "The close of the Nairobi exchange's daily files is the 'Day Price', which behaves like an average over "
    "the day. Nobody trades at exactly this price, and an average that catches up with the day's last trades "
    "looks like a forecast that came true."
)


def verdict(worth: Worth) -> str:
    """Return what is left after costs of a purchase at the next close.

    A gain is claimed only where the mean after costs is above 0 and its p-value, times the number of
    portfolios and horizons compared (Bonferroni), is below 5 %.
    """
    rows = _rows(worth.portfolios, NEXT_CLOSE)
    rows = [row for row in rows if row["net"] == row["net"]]
    if not rows:
        return NOT_MEASURED
    start = f"After costs of {worth.cost_percent:g} % each way,"
    gains = [row for row in rows if row["net"] > 0 and row["net_p"] * len(rows) < SIGNIFICANT]
    if gains:
        return f"{start} something is left: {'; '.join(_portfolio(row) for row in gains)}."
    best = [max(own, key=_yearly) for name in NAMES if (own := [r for r in rows if r["portfolio"] == name])]
    left = "no gain is certain" if max(row["net"] for row in best) > 0 else "nothing is left"
    texts = [f"{BEST[row['portfolio']]} {_portfolio(row)}" for row in best]
    return f"{start} {left}. Of {len(rows)} portfolios and horizons, {'; '.join(texts)}."


def _yearly(row: dict[str, Any]) -> float:
    return float(row["net_year"])


def ranking(worth: Worth) -> str:
    """Return how well forecasts rank the stocks at the shortest horizon, for both entries."""
    near = [row for entry in (NEXT_CLOSE, SAME_CLOSE) for row in _rows(worth.rank_ic, entry)[:1]]
    if not near or near[0]["ic"] != near[0]["ic"]:
        return NOT_MEASURED
    later, same = near
    positive = f"{100 * later['positive_share']:.0f} % of them positive"
    return (
        f"{days(later['horizon'])} ahead, the mean daily rank information coefficient is {_ic(later)} from "
        f"the next close on, over {later['days']:,} days ({positive}), and {_ic(same)} from the cutoff's own "
        "close on."
    )


def where(worth: Worth) -> str:
    """Return the shortest horizon's squared error and skill by price tier; empty without figures."""
    groups = worth.groups[worth.groups["kind"] == "price"]
    near = groups[groups["horizon"] == groups["horizon"].min()].dropna(subset=["rel_rmse", "naive_share"])
    if not len(near):
        return ""
    parts = [
        f"{row['group']} {100 * row['naive_share']:.0f} % (relRMSE {row['rel_rmse']:.3f})"
        for row in near.to_dict(orient="records")
    ]
    ahead = days(near["horizon"].iloc[0])
    return f"Share of naive's squared error by last price, {ahead} ahead: {', '.join(parts)}."


def notes(evidence: Evidence) -> list[str]:
    """Return how the figures are measured."""
    return [*METHODS, *([] if evidence.synthetic else [DAY_PRICE])]


def worth_document(evidence: Evidence) -> dict[str, Any]:
    """Return the contents of a release's ``worth.json``: `Worth.as_dict` and the sentences."""
    worth = evidence.worth
    texts = {"verdict": verdict(worth), "ranking": ranking(worth), "where": where(worth)}
    return {**texts, "notes": notes(evidence), **worth.as_dict()}


def _rows(frame: Any, entry: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame[frame["entry"] == entry].to_dict(orient="records")
    return rows


def _ic(row: dict[str, Any]) -> str:
    return f"{row['ic']:.3f} (t {row['t']:.1f})"


def _portfolio(row: dict[str, Any]) -> str:
    period = days(row["horizon"])
    return (
        f"{NAMES[row['portfolio']]} at {period}, {row['net']:+.2f} % per {period} (95 % interval "
        f"{row['net_low']:+.2f} to {row['net_high']:+.2f}; before costs {row['gross']:+.2f} %; "
        f"{100 * row['turnover']:.0f} % turnover; break-even at {row['break_even']:.2f} % each way)"
    )
