"""Which trial comes next: what was cut off, the embedding sizes to compare, and proposals by TPE."""

import math
import time
from collections.abc import Sequence
from typing import Any

import optuna
from ray.tune.search import Searcher

from common import storage
from tune.book import Book, Trial, standings
from tune.space import WHOLE, Parameters, SearchSpace, typed
from tune.spec import SearchSpec

SIZES = (2, 4, 16, 32, 64)
"""Embedding sizes compared with the default's."""
QUICK_SIZES = (2, 32)
RANDOM_FIRST = 10
"""Proposals drawn at random before TPE has enough to go by."""
DIGITS = 4
"""Significant digits of a proposed number."""


def sweep(spec: SearchSpec, *, seeds: int, sizes: Sequence[int]) -> list[tuple[Parameters, int]]:
    """The default, then the default with each other embedding size, for each seed: (parameters, seed)."""
    first = spec.config.seed
    default = (spec.default, first)
    if not seeds or "embedding_dim" not in spec.default:
        return [default]
    own = spec.default["embedding_dim"]
    compared = [own, *(size for size in sizes if size != own)]
    return [
        (spec.default | {"embedding_dim": size}, first + seed) for seed in range(seeds) for size in compared
    ]


class Proposals(Searcher):
    """Hands out trials to Ray Tune, cut-off ones first, until there are as many as wanted.

    Proposal number n depends on (seed, n) and on what is known of the other trials when it is made, and on
    nothing else, so a search that is continued goes on as if it had not been stopped.
    """

    def __init__(
        self,
        spec: SearchSpec,
        book: Book,
        *,
        trials: int,
        compared: list[tuple[Parameters, int]],
        deadline: float = math.inf,
    ) -> None:
        super().__init__(metric="score", mode="min")
        self._spec, self._book, self._wanted, self._compared = spec, book, trials, compared
        self._deadline = deadline
        self._cut_off = [trial for trial in book.trials.values() if trial.end is None]
        self._given: dict[str, Trial] = {}

    def suggest(  # type: ignore[override]  # Ray's FINISHED is text
        self, trial_id: str
    ) -> dict[str, Any] | str:
        trial = None if time.time() >= self._deadline else self._next()
        if trial is None:
            return Searcher.FINISHED
        self._given[trial_id] = trial
        return {"search": storage.address_of(self._book.root), "number": trial.number}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error:
            self._given[trial_id].close("failed", "its process died again and again")

    def left(self) -> int:
        """How many trials are still to be handed out."""
        return len(self._cut_off) + len(self._to_compare()) + max(0, self._wanted - len(self._searched()))

    def _next(self) -> Trial | None:
        if self._cut_off:
            return self._cut_off.pop(0)
        compare, searched = self._to_compare(), self._searched()
        begun = len(self._compared) - len(compare)
        if compare and (begun <= len(searched) or len(searched) >= self._wanted):
            return self._book.add("sweep", *compare[0])
        if len(searched) >= self._wanted:
            return None
        number = max(self._book.trials, default=0) + 1
        return self._book.add("search", propose(self._spec, self._book, number), self._spec.config.seed)

    def _searched(self) -> list[Trial]:
        return [trial for trial in self._book.trials.values() if trial.origin == "search"]

    def _to_compare(self) -> list[tuple[Parameters, int]]:
        begun = [(t.parameters, t.seed) for t in self._book.trials.values() if t.origin == "sweep"]
        return [point for point in self._compared if point not in begun]

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what there is to know is in the trials' folders."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


def propose(spec: SearchSpec, book: Book, number: int) -> Parameters:
    """The point for trial ``number``, given all trials so far.

    TPE (Bergstra et al., NeurIPS 2011) learns from searched trials and the default; one that was stopped
    early counts by how far it came, and one that runs as if it were bad, so that two do not try the same.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = (spec.config.seed * 1_000_003 + number) % 2**32
    space = distributions(spec.space, spec.scope)
    if spec.sampler == "random":
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_FIRST, constant_liar=True)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    for trial in book.trials.values():
        known = trial.origin == "search" or (
            trial.parameters == spec.default
            and trial.seed == spec.config.seed
            and spec.space.holds(spec.scope, trial.parameters)
        )
        if known:
            study.add_trial(_observation(spec, trial, space))
    drawn = study.ask(space).params
    return spec.space.complete(spec.scope, rounded(spec.space, spec.scope, drawn))


def distributions(space: SearchSpace, model: str) -> dict[str, optuna.distributions.BaseDistribution]:
    """The searched parameters as Optuna draws them."""
    result: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, found in space.searched(model).items():
        if found.choices is not None:
            choices = [typed(name, value) for value in found.choices]
            result[name] = optuna.distributions.CategoricalDistribution(choices)
        elif name in WHOLE:
            low, high = (int(end) for end in found.ends)
            result[name] = optuna.distributions.IntDistribution(low, high, log=found.log)
        else:
            result[name] = optuna.distributions.FloatDistribution(*found.ends, log=found.log)
    return result


def rounded(space: SearchSpace, model: str, drawn: Parameters) -> Parameters:
    """A drawn point with few digits, still inside the space."""
    result = {}
    for name, value in drawn.items():
        found = space.dimensions(model)[name]
        if found.choices is not None:
            result[name] = value
            continue
        low, high = found.ends
        short = value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
        result[name] = min(max(short, low), high) if not isinstance(value, int) else value
    return result


def _observation(
    spec: SearchSpec, trial: Trial, space: dict[str, optuna.distributions.BaseDistribution]
) -> optuna.trial.FrozenTrial:
    end, value, curve = trial.end, None, {}
    state = optuna.trial.TrialState.RUNNING
    if end is not None:
        curve = {now.done: now.score for now in standings(trial.histories(spec), spec.epochs)}
        last = curve[max(curve)] if curve else math.inf
        if end["state"] == "failed" or not math.isfinite(last):
            state, curve = optuna.trial.TrialState.FAIL, {}
        elif end["state"] == "stopped":
            state = optuna.trial.TrialState.PRUNED
        else:
            state, value = optuna.trial.TrialState.COMPLETE, last
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params={name: trial.parameters[name] for name in space},
        distributions=space,
        intermediate_values=curve,
    )
