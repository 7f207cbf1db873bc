"""Statistics over the trials of a search: importance of parameters, score by size, cost against score."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tune.results import Tuning, same_value

BAND_LEVEL = 0.95
FEWEST_SIZES = 4
"""Different sizes a curve through them needs."""
BEST_SHARE = 0.25
FEWEST_BEST = 5
"""Trials among the best that importance needs; it is only noise with fewer."""
SHUFFLES = 100
CHANCE_LEVEL = 0.95


@dataclass(frozen=True)
class SizeBand:
    """A curve of the mean score by size; all arrays shape (N,)."""

    size: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Importance:
    """How much each parameter told the best trials from the others."""

    share: pd.Series
    """By parameter, largest first; they sum to 1."""
    chance: pd.Series
    """What the share would stay below in ``CHANCE_LEVEL`` of searches in which nothing mattered."""
    trials: int
    best: int
    """How many of the trials count as the best."""


def embedding_name(tuning: Tuning) -> str | None:
    """Name of the searched parameter that is the embedding's size."""
    return next((name for name in tuning.parameters if "embedding" in name), None)


def size_band(sizes: np.ndarray, scores: np.ndarray) -> SizeBand | None:
    """The mean score by size, a parabola in the logarithm of the size, with its 95 % confidence band.

    Ordinary least squares; the band is Student's t for the mean at each size, not for single trials. It
    treats the other parameters as noise, so it tells what the search met at a size rather than what the size
    does. None with fewer than ``FEWEST_SIZES`` sizes or no degree of freedom left.
    """
    logs, scores = np.log2(np.asarray(sizes, float)), np.asarray(scores, float)
    if len(np.unique(logs)) < FEWEST_SIZES or len(logs) < FEWEST_SIZES + 1:
        return None
    centre = logs.mean()

    def terms(at: np.ndarray) -> np.ndarray:
        return np.vander(at - centre, 3, increasing=True)

    design = terms(logs)
    weights, *_ = np.linalg.lstsq(design, scores, rcond=None)
    freedom = len(scores) - 3
    variance = ((scores - design @ weights) ** 2).sum() / freedom
    at = np.linspace(logs.min(), logs.max(), 60)
    spread = np.einsum("ij,jk,ik->i", terms(at), np.linalg.inv(design.T @ design), terms(at))
    half = stats.t.ppf((1 + BAND_LEVEL) / 2, freedom) * np.sqrt(variance * spread)
    mean = terms(at) @ weights
    return SizeBand(2**at, mean, mean - half, mean + half)


def pareto_front(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Places of those that nothing cheaper matches, cheapest first; both shape (N,), less is better."""
    found, best = [], np.inf
    for place in np.lexsort((score, cost)):
        if score[place] < best:
            found.append(place)
            best = score[place]
    return np.array(found, dtype=int)


def importance(tuning: Tuning) -> Importance | None:
    """Importance of each parameter by PED-ANOVA, beside what chance alone would make of it.

    It asks how differently a parameter is distributed among the best quarter of the trials and among all.
    Trials that were stopped early count, as not among the best: that is why they were stopped. Failed ones
    are left out, and so is the sweep, which moves one parameter only. The same is computed with the scores
    dealt out anew ``SHUFFLES`` times. None if fewer than ``FEWEST_BEST`` would be among the best.

    Reference: Watanabe, Bansal and Hutter, IJCAI 2023.
    """
    trials = tuning.trials
    done = trials["state"].eq("done") & np.isfinite(trials["score"])
    used = trials[trials["origin"].eq("search") & (done | trials["state"].eq("stopped"))]
    done = done[used.index]
    best = min(int(np.ceil(BEST_SHARE * len(used))), int(done.sum()))
    varied = [name for name in tuning.parameters if used[name].nunique() > 1]
    if best < FEWEST_BEST or len(varied) < 2:
        return None
    scores = used["score"].where(done, used.loc[done, "score"].max() + 1).to_numpy(float)
    dealer = np.random.default_rng(0)
    with _quiet_optuna():
        measure = _PedAnova(tuning, used, varied, best)
        truth = measure(scores)
        by_chance = pd.DataFrame([measure(dealer.permutation(scores)) for _ in range(SHUFFLES)])
    total = truth.sum()
    if not total > 0:
        return None
    share = (truth / total).sort_values(ascending=False)
    chance = by_chance.quantile(CHANCE_LEVEL)[share.index] / total
    return Importance(share, chance, len(used), best)


class _PedAnova:
    """Importance of parameters, not normalised, for trials with whatever scores they are given."""

    def __init__(self, tuning: Tuning, used: pd.DataFrame, names: list[str], best: int) -> None:
        import optuna

        self._optuna, self._names = optuna, names
        kinds = {name: tuning.info["parameters"][name] for name in names}
        whole = {name: bool((used[name] % 1 == 0).all()) for name in names if "low" in kinds[name]}
        distributions = {name: _distribution(kinds[name], whole.get(name, False)) for name in names}
        self._study = optuna.create_study(direction="minimize")
        self._study.add_trials(
            optuna.trial.create_trial(
                params={name: _as_asked(row[name], kinds[name], whole.get(name, False)) for name in names},
                distributions=distributions,
                value=0.0,
            )
            for row in used[names].to_dict(orient="records")
        )
        self._judge = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=(best - 0.5) / len(used))

    def __call__(self, scores: np.ndarray) -> pd.Series:
        found = self._optuna.importance.get_param_importances(
            self._study,
            evaluator=self._judge,
            params=self._names,
            target=lambda trial: float(scores[trial.number]),
            normalize=False,
        )
        return pd.Series({name: found[name] for name in self._names})


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", ".* achieve low `target`")  # they are errors, which is meant
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _distribution(kind: dict[str, Any], whole: bool) -> Any:
    from optuna import distributions

    if "choices" in kind:
        return distributions.CategoricalDistribution(tuple(map(str, kind["choices"])))
    low, high, log = kind["low"], kind["high"], bool(kind.get("log"))
    if whole:
        return distributions.IntDistribution(int(low), int(high), log=log)
    return distributions.FloatDistribution(float(low), float(high), log=log)


def _as_asked(value: Any, kind: dict[str, Any], whole: bool) -> Any:
    if "choices" in kind:
        return next(str(choice) for choice in kind["choices"] if same_value(value, choice))
    return int(value) if whole else float(value)
