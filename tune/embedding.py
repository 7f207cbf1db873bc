"""Test whether the default embedding is wide enough: the same settings with other sizes, fold by fold."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy.special import stdtrit

WORTH = 0.001
"""A smaller gain in score does not justify another embedding size, even if it is significant."""
CONFIDENCE = 0.95


def compare(trials: pd.DataFrame, folds: Sequence[str], default: int) -> dict[str, Any] | None:
    """Compare every size with the default size.

    Differences are paired by fold and seed, so that effects of the fold and the seed cancel. Their means have
    Student's t intervals that hold simultaneously with 95 % confidence (Bonferroni).

    Parameters
    ----------
    trials : DataFrame
        Finished trials of the default settings with this size and others: ``embedding_dim``, ``seed`` and the
        score in each fold, lower is better.
    folds : the columns of the folds
    default : the default size

    Returns
    -------
    dict or None
        As ``Tuning.info["embedding"]``; None if there is no pair to compare.
    """
    scores = {int(size): rows.set_index("seed")[[*folds]] for size, rows in trials.groupby("embedding_dim")}
    paired = {
        size: (own - scores[default]).stack().dropna() for size, own in scores.items() if default in scores
    }
    paired = {size: pairs for size, pairs in paired.items() if len(pairs)}
    if len(paired) < 2:
        return None
    rows = [_row(size, scores[size], paired[size], size == default, len(paired) - 1) for size in paired]
    others = [row for row in rows if row["size"] != default]
    better = [
        row for row in others if row["high"] is not None and row["high"] < 0 and row["difference"] < -WORTH
    ]
    best = min(better or others, key=lambda row: row["difference"])
    count = len(paired[best["size"]])
    interval = (
        "no interval from one pair"
        if best["low"] is None
        else f"95 % interval {best['low']:+.4f} to {best['high']:+.4f}"
    )
    figures = f"{best['difference']:+.4f} in score ({interval}, {count} pair{'s' if count > 1 else ''})"
    return {
        "sizes": rows,
        "default": default,
        "sufficient": not better,
        "because": f"Embedding size {default} is not sufficient because size {best['size']} is better beyond "
        f"noise: it differs by {figures}."
        if better
        else f"Embedding size {default} is sufficient because no size from {min(paired)} to {max(paired)} is "
        f"better beyond noise by more than {WORTH:.3f}: the best of the others, {best['size']}, differs by "
        f"{figures}.",
    }


def _row(
    size: int, scores: pd.DataFrame, pairs: pd.Series, is_default: bool, comparisons: int
) -> dict[str, Any]:
    n, mean, half = len(pairs), float(pairs.mean()), 0.0
    if not is_default:
        t = float(stdtrit(n - 1, 1 - (1 - CONFIDENCE) / (2 * comparisons)))
        half = t * float(pairs.std()) / math.sqrt(n)
    return {
        "size": size,
        "fits": int(scores.count().sum()),
        "score": float(scores.stack().mean()),
        "difference": mean,
        "low": None if math.isnan(half) else mean - half,
        "high": None if math.isnan(half) else mean + half,
    }
