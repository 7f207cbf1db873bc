"""Statistics over the trials of a search: importance of the parameters, cost against score."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator

from common.release.bundle import GENERAL
from tune.results import Tuning
from tune.space import SearchSpace, typed
from tune.study import distributions

BEST_SHARE = 0.25
FEWEST_BEST = 5
"""Number of best trials that importance needs; with fewer it is noise."""
SHUFFLES = 100
CHANCE_LEVEL = 0.95


@dataclass(frozen=True)
class Importance:
    """How much each parameter distinguishes the best trials from all."""

    share: pd.Series
    """By parameter, largest first; they sum to 1."""
    chance: pd.Series
    """The quantile ``CHANCE_LEVEL`` of the share if the scores were random."""
    trials: int
    best: int
    """How many of the trials count as best."""


def pareto_front(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the positions on the Pareto front, cheapest first; both shape (N,), lower is better."""
    order = np.lexsort((score, cost))
    lowest_before = np.concatenate([[np.inf], np.minimum.accumulate(score[order])[:-1]])
    return order[score[order] < lowest_before]


def importance(tuning: Tuning) -> Importance | None:
    """Return the importance of each parameter by PED-ANOVA, with what chance alone would reach.

    PED-ANOVA compares the distribution of a parameter among the best quarter of the trials with that among
    all. Trials stopped early count as not among the best. Failed and comparison trials are left out; the
    latter vary one parameter only. For the chance level, the scores are permuted ``SHUFFLES`` times. None if
    fewer than ``FEWEST_BEST`` trials would be among the best.

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
    # Trials that were stopped early all rank behind the finished ones.
    scores = used["score"].where(done, used.loc[done, "score"].max() + 1).to_numpy(float)
    rng = np.random.default_rng(0)
    with _quiet_optuna():
        study = _study_of(tuning, used[varied])
        evaluator = PedAnovaImportanceEvaluator(target_quantile=(best - 0.5) / len(used))

        def measure(scores: np.ndarray) -> pd.Series:
            shares = optuna.importance.get_param_importances(
                study,
                evaluator=evaluator,
                params=varied,
                target=lambda trial: float(scores[trial.number]),
                normalize=False,
            )
            return pd.Series({name: shares[name] for name in varied})

        measured = measure(scores)
        by_chance = pd.DataFrame([measure(rng.permutation(scores)) for _ in range(SHUFFLES)])
    total = measured.sum()
    if not total > 0:
        return None
    share = (measured / total).sort_values(ascending=False)
    chance = by_chance.quantile(CHANCE_LEVEL)[share.index] / total
    return Importance(share, chance, len(used), best)


def _study_of(tuning: Tuning, trials: pd.DataFrame) -> optuna.Study:
    """Return a study of these trials, without their scores."""
    ranges = distributions(SearchSpace.parse(tuning.info["parameters"]), GENERAL)
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        optuna.trial.create_trial(
            params={name: typed(name, value) for name, value in row.items()},
            distributions={name: ranges[name] for name in row},
            value=0.0,
        )
        for row in trials.to_dict(orient="records")
    )
    return study


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", ".* achieve low `target`")  # lower scores are better here
            yield
    finally:
        optuna.logging.set_verbosity(before)
