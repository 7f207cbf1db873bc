"""Test whether the default embedding is wide enough: the same settings with other sizes, fold by fold."""

import math
from typing import Any

import numpy as np
from scipy.special import stdtrit

WORTH = 0.001
"""A smaller gain in score does not justify another embedding size, even if it is significant."""
CONFIDENCE = 0.95

Scores = dict[int, dict[tuple[int, int], float]]
"""By size, then by (fold, seed)."""


def compare(scores: Scores, default: int) -> dict[str, Any] | None:
    """Compare every size with the default size.

    Differences are paired by fold and seed, so that effects of the fold and the seed cancel. Their means have
    Student's t intervals that hold simultaneously with 95 % confidence (Bonferroni).

    Parameters
    ----------
    scores : dict
        Score of each fit, lower is better, by size and then (fold, seed).
    default : int
        The default size.

    Returns
    -------
    dict or None
        As ``Tuning.info["embedding"]``; None if there is no pair to compare.
    """
    own = scores.get(default, {})
    paired = {
        size: np.array([fits[key] - own[key] for key in sorted(fits.keys() & own.keys())])
        for size, fits in sorted(scores.items())
        if size != default
    }
    paired = {size: differences for size, differences in paired.items() if len(differences)}
    if not paired:
        return None
    rows = [_row(default, own, 0.0, 0.0, 0.0)]
    for size, differences in paired.items():
        mean, half = float(differences.mean()), half_width(differences, comparisons=len(paired))
        low, high = (None, None) if half is None else (mean - half, mean + half)
        rows.append(_row(size, scores[size], mean, low, high))
    rows.sort(key=lambda row: row["size"])
    better = [
        row for row in rows if row["high"] is not None and row["high"] < 0 and row["difference"] < -WORTH
    ]
    return {
        "sizes": rows,
        "default": default,
        "sufficient": not better,
        "because": _because(rows, default, better, paired),
    }


def half_width(differences: np.ndarray, *, comparisons: int) -> float | None:
    """Return half the width of the mean's interval; None for fewer than two differences."""
    n = len(differences)
    if n < 2:
        return None
    t = float(stdtrit(n - 1, 1 - (1 - CONFIDENCE) / (2 * comparisons)))
    return t * float(differences.std(ddof=1)) / math.sqrt(n)


def _row(
    size: int, fits: dict[Any, float], difference: float, low: float | None, high: float | None
) -> dict[str, Any]:
    return {
        "size": size,
        "fits": len(fits),
        "score": float(np.mean(list(fits.values()))),
        "difference": difference,
        "low": low,
        "high": high,
    }


def _because(
    rows: list[dict[str, Any]], default: int, better: list[dict[str, Any]], paired: dict[int, np.ndarray]
) -> str:
    others = [row for row in rows if row["size"] != default]
    best = min(better or others, key=lambda row: row["difference"])
    pairs = len(paired[best["size"]])
    figures = (
        f"{best['difference']:+.4f} in score ({_interval(best)}, {pairs} pair{'s' if pairs > 1 else ''})"
    )
    if better:
        return (
            f"Embedding size {default} is not sufficient because size {best['size']} is better beyond noise: "
            f"it differs by {figures}."
        )
    sizes = [row["size"] for row in rows]
    return (
        f"Embedding size {default} is sufficient because no size from {min(sizes)} to {max(sizes)} is "
        f"better beyond noise by more than {WORTH:.3f}: the best of the others, {best['size']}, differs by "
        f"{figures}."
    )


def _interval(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return "no interval from one pair"
    return f"95 % interval {row['low']:+.4f} to {row['high']:+.4f}"
