"""The five questions a finished training must answer, answered from its figures."""

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
"""Sessions that a stock's usual trading is judged by."""


@dataclass(frozen=True)
class Answer:
    """One question, a plain sentence, and the figures behind it."""

    question: str
    answer: str
    table: pd.DataFrame
    second: pd.DataFrame | None = None
    """More figures, where one table does not hold them all."""


def answers(evidence: Evidence) -> list[Answer]:
    """All five, in order."""
    return [
        test_mape(evidence),
        best_and_worst(evidence),
        exclusions(evidence),
        specific_list(evidence),
        embedding_size(evidence),
    ]


def test_mape(evidence: Evidence) -> Answer:
    """Errors in percent next to naive, by horizon, stocks that move."""
    names = ["horizon", "n", "mape", "naive_mape", "mae", "naive_mae", "rel_mae", "rel_rmse"]
    table = evidence.pooled[names]
    near = table.iloc[0]
    return Answer(
        "What is the test MAPE?",
        f"{near['mape']:.2f} % {_days(near['horizon'])} ahead over the {int(near['n']):,} forecasts of "
        f"stocks that move, where the last price makes {near['naive_mape']:.2f} %.",
        table,
    )


def best_and_worst(evidence: Evidence) -> Answer:
    """The stocks ranked best and worst at the shortest horizon."""
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
    """Stocks with too little movement, or too few prices, to be judged."""
    near = evidence.horizons[0]
    nearest = evidence.by_symbol[evidence.by_symbol["horizon"] == near].set_index("symbol")
    rows = nearest[["n", "n_frozen", "moved_share"]].to_dict(orient="index")
    matrix = evidence.matrix
    found = []
    for row in matrix[["symbol", "name", "flags"]].itertuples(index=False):
        flags = set(str(row.flags).split(", ")) & {"no data", "too short", "frozen"}
        own = rows.get(row.symbol)
        never = own is not None and own["n"] == 0 and own["n_frozen"] > 0
        reason = ", ".join(sorted(flags)) or ("frozen all through the test part" if never else "")
        if reason:
            still = None if own is None or not own["n"] else 1 - own["moved_share"]
            found.append((row.symbol, row.name, reason, still))
    table = pd.DataFrame(found, columns=["symbol", "name", "reason", "unchanged_share"])
    return Answer(
        "Which stocks should be excluded?",
        f"{len(table)} of {len(matrix)}: {', '.join(table['symbol']) or 'none'}. While they stand "
        "still they are forecast as their last price, and windows without a move are counted in no mean.",
        table,
    )


def specific_list(evidence: Evidence) -> Answer:
    """Each stock's own model against the general one, and the stocks traded most."""
    question = "Should the list of specific stocks change?"
    trading = turnover(evidence.panel)
    listed = [stock.symbol for stock in evidence.universe.specific]
    counters = set(evidence.universe.symbols)
    most = [symbol for symbol in trading.index if symbol in counters][: len(listed)]
    ranks = {symbol: rank for rank, symbol in enumerate(trading.index, start=1)}
    table = pd.DataFrame({"symbol": listed})
    if evidence.shared is not None and len(evidence.shared):
        near = evidence.horizons[0]
        own = evidence.table[evidence.table["symbol"].isin(evidence.shared["symbol"])]
        found = compare(own, evidence.shared, ["horizon", "symbol"])
        found = found[found["horizon"] == near].drop(columns="horizon")
        table = table.merge(found, on="symbol", how="left")
    else:
        table = table.assign(n=0, rel_mae=np.nan, rel_rmse=np.nan, dm_abs_p=np.nan, dm_sq_p=np.nan)
    table["verdict"] = [_verdict(row) for row in table.itertuples(index=False)]
    table["turnover_rank"] = [ranks.get(symbol) for symbol in listed]
    counts = table["verdict"].value_counts()
    drop, add = sorted(set(listed) - set(most)), [symbol for symbol in most if symbol not in listed]
    return Answer(
        question,
        f"By error: of {len(listed)} own models {counts.get('better', 0)} are significantly better than the "
        f"general one, {counts.get('worse', 0)} significantly worse, {counts.get('equal', 0)} neither, "
        f"{counts.get('no model', 0)} without a model. By trading in the last {YEAR} sessions the list would "
        f"drop {', '.join(drop) or 'none'} and take {', '.join(add) or 'none'}.",
        table,
    )


def embedding_size(evidence: Evidence) -> Answer:
    """From a search where there is one; how many directions the embedding really uses in any case.

    The search's table: each size with its score on validation (naive = 1), and its difference to the size
    that was the search's default, with an interval.
    """
    question = "Is the embedding size sufficient?"
    vectors = np.array(list(evidence.embedding.values()), dtype=float)
    if len(vectors) < 2:
        return Answer(question, "The release has no embedding to look at.", pd.DataFrame())
    spread = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    share = spread / spread.sum() if spread.sum() else spread
    used = 1 / (share**2).sum() if share.any() else 0.0
    table = pd.DataFrame({"direction": np.arange(1, len(share) + 1), "share_of_variance": share})
    fact = (
        f"The vectors of all averaged networks side by side have {vectors.shape[1]} directions; their "
        f"variance is spread over {used:.1f} of them (participation ratio)."
    )
    if evidence.tuning is None:
        return Answer(question, f"Not answered yet: no search over its size has been run. {fact}", table)
    word = "Yes" if evidence.tuning["sufficient"] else "No"
    sizes = pd.DataFrame(evidence.tuning["sizes"], columns=list(SIZES))
    return Answer(question, f"{word}: {evidence.tuning['because']} {fact}", sizes, table)


def turnover(panel: Panel) -> pd.Series:
    """Median of close times shares traded over the last ``YEAR`` sessions, KES a day, largest first.

    A session without a row or a known volume counts as none traded.
    """
    sessions = panel.dates[-YEAR:]
    chosen = panel.frame["date"].isin(sessions) & ~panel.frame["symbol"].str.startswith("^")
    recent = panel.frame.loc[chosen, ["date", "symbol", "close", "volume"]]
    traded = recent[["date", "symbol"]].assign(value=recent["close"] * recent["volume"])
    days = traded.pivot(index="date", columns="symbol", values="value").reindex(sessions).fillna(0)
    found = pd.DataFrame({"median": days.median(), "mean": days.mean()})
    return found.sort_values(["median", "mean"], ascending=False)["median"]


def _verdict(row: Any) -> str:
    if not row.n or np.isnan(row.n):
        return "no model"
    tests = ((row.dm_abs_p, row.rel_mae), (row.dm_sq_p, row.rel_rmse))
    clear = [ratio for p, ratio in tests if p < SIGNIFICANT]
    if not clear or min(clear) < 1 < max(clear):
        return "equal"
    return "better" if min(clear) < 1 else "worse"


def _days(horizon: float) -> str:
    return "one day" if horizon == 1 else f"{horizon:.0f} days"
