"""Whether the default embedding is wide enough: the same settings with other sizes, fold by fold."""

import math
from typing import Any

import numpy as np
from scipy.special import stdtrit

WORTH = 0.001
"""A smaller gain in score than this is not worth a wider embedding, however certain."""
CONFIDENCE = 0.95

Scores = dict[int, dict[tuple[int, int], float]]
"""By size, then by (fold, seed)."""


def compare(scores: Scores, default: int) -> dict[str, Any] | None:
    """Compare every size with the default one.

    Differences are paired by fold and seed, so that what is common to a fold or a start cancels. Their mean
    gets a Student's t interval whose level is raised so that all hold at once with 95 % (Bonferroni).

    Parameters
    ----------
    scores : dict
        Score of each fit, lower is better, by size and then (fold, seed).
    default : int
        The size that the others are compared with.

    Returns
    -------
    dict or None
        As ``Tuning.info["embedding"]``; None without a pair to compare.
    """
    own = scores.get(default, {})
    paired = {
        size: np.array([fits[key] - own[key] for key in sorted(fits.keys() & own.keys())])
        for size, fits in sorted(scores.items())
        if size != default
    }
    paired = {size: found for size, found in paired.items() if len(found)}
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
    """Half the width of the interval of a mean of N differences; None for fewer than two."""
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
    figures = f"{_signed(best['difference'])} in score ({_interval(best)}, {_pairs(paired[best['size']])})"
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
    return f"95 % interval {_signed(row['low'])} to {_signed(row['high'])}"


def _pairs(differences: np.ndarray) -> str:
    return f"{len(differences)} pair{'s' if len(differences) > 1 else ''}"


def _signed(value: float) -> str:
    return f"{value:+.4f}"
