"""Answer the five questions about a finished training from its figures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common.prices.panel import Panel
from train.evaluation.evidence import Evidence
from train.evaluation.summary import compare

SIGNIFICANT = 0.05
BEST = 5
SIZES = ("size", "score", "difference", "low", "high", "fits")
YEAR = 250
"""Sessions over which a stock's usual turnover is measured."""


@dataclass(frozen=True)
class Answer:
    """A question, its answer in words, and the figures behind it."""

    question: str
    answer: str
    table: pd.DataFrame
    second: pd.DataFrame | None = None
    """Further figures that do not fit into the first table."""


def answers(evidence: Evidence) -> list[Answer]:
    """Return all five answers, in order."""
    return [
        test_mape(evidence),
        best_and_worst(evidence),
        exclusions(evidence),
        specific_list(evidence),
        embedding_size(evidence),
    ]


def test_mape(evidence: Evidence) -> Answer:
    """Report the errors of moving stocks by horizon, next to naive."""
    names = ["horizon", "n", "mape", "naive_mape", "mae", "naive_mae", "rel_mae", "rel_rmse"]
    table = evidence.pooled[names]
    near = table.iloc[0]
    return Answer(
        "What is the test MAPE?",
        f"{near['mape']:.2f} % {_days(near['horizon'])} ahead over the {int(near['n']):,} forecasts of "
        f"stocks that move; the last price has {near['naive_mape']:.2f} %.",
        table,
    )


def best_and_worst(evidence: Evidence) -> Answer:
    """List the stocks ranked best and worst at the shortest horizon."""
    near = evidence.horizons[0]
    names = ["symbol", "name", "tier", "rank", *(f"{name}_{near}d" for name in ("mae", "naive_mae"))]
    names += [f"{name}_{near}d" for name in ("rel_mae", "rel_rmse", "dm_abs_p", "dm_sq_p")]
    ranked = evidence.matrix[evidence.matrix["rank"].notna()].sort_values("rank")[names]
    table = pd.concat([ranked.head(BEST), ranked.iloc[BEST:].tail(BEST)])
    worse = ranked[(ranked[f"rel_rmse_{near}d"] > 1) & (ranked[f"dm_sq_p_{near}d"] < SIGNIFICANT)]
    return Answer(
        "Which stocks are forecast best and worst?",
        f"Best: {', '.join(ranked['symbol'].head(BEST))}. "
        f"Worst: {', '.join(ranked['symbol'].iloc[BEST:].tail(BEST)) or 'none left'}. "
        f"Significantly worse than the last price on squared error: {', '.join(worse['symbol']) or 'none'}.",
        table,
    )


def exclusions(evidence: Evidence) -> Answer:
    """List the stocks with too few prices, or too little movement, to be evaluated."""
    near = evidence.horizons[0]
    nearest = evidence.by_symbol[evidence.by_symbol["horizon"] == near].set_index("symbol")
    rows = nearest[["n", "n_frozen", "moved_share"]].to_dict(orient="index")
    matrix = evidence.matrix
    excluded = []
    for row in matrix[["symbol", "name", "flags"]].itertuples(index=False):
        flags = set(str(row.flags).split(", ")) & {"no data", "too short", "frozen"}
        own = rows.get(row.symbol)
        never_moved = own is not None and own["n"] == 0 and own["n_frozen"] > 0
        reason = ", ".join(sorted(flags)) or ("frozen throughout the test part" if never_moved else "")
        if reason:
            unchanged = None if own is None or not own["n"] else 1 - own["moved_share"]
            excluded.append((row.symbol, row.name, reason, unchanged))
    table = pd.DataFrame(excluded, columns=["symbol", "name", "reason", "unchanged_share"])
    return Answer(
        "Which stocks should be excluded?",
        f"{len(table)} of {len(matrix)}: {', '.join(table['symbol']) or 'none'}. While a price does not "
        "move, its forecast is the last price, and windows without a move enter no mean.",
        table,
    )


def specific_list(evidence: Evidence) -> Answer:
    """Compare each specific model with the general one, and the list with the most traded stocks."""
    question = "Should the list of specific stocks change?"
    trading = turnover(evidence.panel)
    listed = [stock.symbol for stock in evidence.universe.specific]
    counters = set(evidence.universe.symbols)
    most = [symbol for symbol in trading.index if symbol in counters][: len(listed)]
    ranks = {symbol: rank for rank, symbol in enumerate(trading.index, start=1)}
    table = pd.DataFrame({"symbol": listed})
    if evidence.shared is not None and len(evidence.shared):
        own = evidence.forecasts.read(symbols=set(evidence.shared["symbol"]))
        ratios = compare(own, evidence.shared, ["horizon", "symbol"])
        ratios = ratios[ratios["horizon"] == evidence.horizons[0]].drop(columns="horizon")
        table = table.merge(ratios, on="symbol", how="left")
    else:
        table = table.assign(n=0, rel_mae=np.nan, rel_rmse=np.nan, dm_abs_p=np.nan, dm_sq_p=np.nan)
    table["verdict"] = [_verdict(row) for row in table.itertuples(index=False)]
    table["turnover_rank"] = [ranks.get(symbol) for symbol in listed]
    counts = table["verdict"].value_counts()
    drop, add = sorted(set(listed) - set(most)), [symbol for symbol in most if symbol not in listed]
    return Answer(
        question,
        f"By error, of {len(listed)} specific models: {counts.get('better', 0)} significantly better than "
        f"the general model, {counts.get('worse', 0)} significantly worse, {counts.get('equal', 0)} neither; "
        f"{counts.get('no model', 0)} not trained. By turnover in the last {YEAR} sessions the list "
        f"would drop {', '.join(drop) or 'none'} and add {', '.join(add) or 'none'}.",
        table,
    )


def embedding_size(evidence: Evidence) -> Answer:
    """Report a search's verdict, if there is one, and how many directions the embedding uses.

    The search's table lists each size with its score on validation (naive = 1) and its difference from the
    search's default size, with an interval.
    """
    question = "Is the embedding size sufficient?"
    vectors = np.array(list(evidence.embedding.values()), dtype=float)
    if len(vectors) < 2:
        return Answer(question, "The release has no embedding.", pd.DataFrame())
    variance = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    share = variance / variance.sum() if variance.sum() else variance
    used = 1 / (share**2).sum() if share.any() else 0.0
    table = pd.DataFrame({"direction": np.arange(1, len(share) + 1), "share_of_variance": share})
    fact = (
        f"The concatenated vectors of all averaged networks have {vectors.shape[1]} dimensions; their "
        f"variance is spread over {used:.1f} of them (participation ratio)."
    )
    if evidence.tuning is None:
        return Answer(question, f"Not answered yet: no search has compared sizes. {fact}", table)
    word = "Yes" if evidence.tuning["sufficient"] else "No"
    sizes = pd.DataFrame(evidence.tuning["sizes"], columns=list(SIZES))
    return Answer(question, f"{word}: {evidence.tuning['because']} {fact}", sizes, table)


def turnover(panel: Panel) -> pd.Series:
    """Return the median daily turnover over the last ``YEAR`` sessions in KES, largest first.

    Turnover is the close times the shares traded; it is 0 in a session without a row or a known volume.
    """
    sessions = panel.dates[-YEAR:].to_numpy()
    names, days = [], []
    for symbol, (start, stop) in panel.spans.items():
        dates = panel.frame["date"].array[start:stop].to_numpy()
        recent = slice(start + int(np.searchsorted(dates, sessions[0])), stop)
        if recent.start < stop and not symbol.startswith("^"):
            close, volume = (panel.frame[name].array[recent].to_numpy() for name in ("close", "volume"))
            values = np.zeros(len(sessions))
            values[np.searchsorted(sessions, dates[recent.start - start :])] = np.nan_to_num(close * volume)
            names.append(symbol)
            days.append(values)
    table = np.array(days).reshape(len(names), len(sessions))
    averages = pd.DataFrame({"median": np.median(table, axis=1), "mean": table.mean(axis=1)}, index=names)
    return averages.sort_values(["median", "mean"], ascending=False)["median"]


def _verdict(row: Any) -> str:
    if not row.n or np.isnan(row.n):
        return "no model"
    tests = ((row.dm_abs_p, row.rel_mae), (row.dm_sq_p, row.rel_rmse))
    significant = [ratio for p, ratio in tests if p < SIGNIFICANT]
    if not significant or min(significant) < 1 < max(significant):
        return "equal"
    return "better" if min(significant) < 1 else "worse"


def _days(horizon: float) -> str:
    return "one day" if horizon == 1 else f"{horizon:.0f} days"
