"""Decide whether the winner is better than the default on the test part."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.special import stdtrit

from common.prices.windows import Windows
from common.scoring.significance import by_date, diebold_mariano
from train.run.scores import horizon_weights, score_of

SIDES = ("default", "winner")
SIGNIFICANT = 0.05


def verdict(test: Windows, refits: dict[str, list[np.ndarray]], first: int) -> dict[str, Any]:
    """Compare the refits of both ``SIDES``; returns ``contest`` of `tune.results.Tuning.info`.

    The winner is better if its gain in the mean score exceeds Welch's 95 % interval over the seeds and a
    Diebold-Mariano test of the mean forecasts is significant.

    Parameters
    ----------
    test : the N windows of the test part
    refits : by side and seed, the forecasts in KES, shape (N, 2 H): raw prices, then published ones
    first : number of the first seed
    """
    scores = {name: [score_of(test, *np.hsplit(refit, 2)) for refit in refits[name]] for name in SIDES}
    totals = {name: np.array([score.total for score in side]) for name, side in scores.items()}
    gain = float(totals["default"].mean() - totals["winner"].mean())
    noise = welch(totals["default"], totals["winner"])
    average = {name: losses(test, *np.hsplit(np.mean(refits[name], axis=0), 2)) for name in SIDES}
    days = by_date(average["winner"] - average["default"], test.cutoff)
    tested = diebold_mariano(days, horizon=max(test.spec.horizons))
    better = gain > noise and tested.p_value < SIGNIFICANT and tested.mean < 0
    return {
        "seeds": list(range(first, first + len(refits["default"]))),
        **{
            name: [
                {"seed": first + seed, "total": s.total, "rel_mae": s.rel_mae, "rel_rmse": s.rel_rmse}
                for seed, s in enumerate(side)
            ]
            for name, side in scores.items()
        },
        "gain": gain,
        "noise": noise,
        "diebold_mariano": asdict(tested),
        "rows": len(test),
        "better": bool(better),
        "sentence": _sentence(totals, gain, noise, tested.p_value, better),
    }


def _sentence(totals: dict[str, np.ndarray], gain: float, noise: float, p: float, better: bool) -> str:
    means = ", ".join(f"{name} {totals[name].mean():.4f}" for name in SIDES)
    chance = "not testable" if math.isnan(p) else f"p = {p:.3f}"
    return (
        f"The winner is {'' if better else 'not '}better than the default: on the test part it gains "
        f"{gain:+.4f} in score ({means}; naive is 1, lower is better), the spread of "
        f"{len(totals['default'])} seeds each allows {noise:.4f} by chance, Diebold-Mariano {chance}."
    )


def welch(first: np.ndarray, second: np.ndarray) -> float:
    """Return half the width of Welch's 95 % interval for the difference of two means; inf if undefined."""
    variances = np.array(
        [values.var(ddof=1) / len(values) if len(values) > 1 else np.nan for values in (first, second)]
    )
    if not np.isfinite(variances).all():
        return math.inf
    if not variances.any():
        return 0.0
    counts = np.array([len(first), len(second)])
    freedom = variances.sum() ** 2 / (variances**2 / (counts - 1)).sum()
    return float(stdtrit(freedom, 0.975) * math.sqrt(variances.sum()))


def losses(test: Windows, raw: np.ndarray, published: np.ndarray) -> np.ndarray:
    """Return each window's share of the score of prices in KES, shape (N, H); the result has shape (N,).

    Absolute and squared error, each over the mean error of naive, horizons weighted as in the score.
    """
    last, actual = test.last_price[:, None], test.actual
    weights = np.where(np.isfinite(actual), horizon_weights(test.spec.horizons), np.nan)
    absolute = np.abs(published - actual) / last
    squared = ((raw - actual) / last) ** 2
    naive = np.abs(last - actual) / last
    share = (absolute / np.nanmean(naive, axis=0) + squared / np.nanmean(naive**2, axis=0)) / 2
    scores: np.ndarray = np.nansum(share * weights, axis=1) / np.nansum(weights, axis=1)
    return scores
