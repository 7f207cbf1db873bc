"""The Optuna study of a search: the record of its trials, in a journal file that plain Optuna can open.

User attributes of a trial: ``origin``, ``seed`` and ``parameters`` if it is a comparison trial, ``reason`` if
it was stopped or failed, and ``weights`` (see `tune.trial.Trial`).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from common import storage
from tune.space import WHOLE, Parameters, SearchSpace, typed
from tune.spec import SearchSpec
from tune.trial import Trial

SIZES = (2, 4, 16, 32, 64)
"""Embedding sizes that are compared with the default size."""
QUICK_SIZES = (2, 32)
RANDOM_FIRST = 10
"""Proposals that are drawn at random before TPE begins."""
DIGITS = 4
"""Significant digits of a proposed number."""
FILE = "study.journal"
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}

Distribution = IntDistribution | FloatDistribution | CategoricalDistribution
Point = tuple[Parameters, int]
"""Parameters and seed of a comparison trial."""


class Study:
    """The recorded trials of a search.

    Opening a study sets trials that a killed process left running back to waiting; Optuna hands these out
    before new ones. Only the process that has claimed the search may open its study.
    """

    def __init__(self, spec: SearchSpec, root: Path) -> None:
        self.spec, self.root, self.path = spec, root, root / FILE
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if storage.exists(self.path):
            _repair(self.path)
        self.storage = JournalStorage(JournalFileBackend(str(self.path)))
        is_new = not self.storage.get_all_studies()
        open_study = optuna.create_study if is_new else optuna.load_study
        self.study = open_study(study_name=spec.id, storage=self.storage)
        study_id = self.storage.get_study_id_from_name(spec.id)
        interrupted = self.frozen(TrialState.RUNNING)
        for trial in interrupted:
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            self.storage.set_trial_state_values(trial_id, TrialState.WAITING)
        if interrupted or is_new:
            storage.upload(self.path)

    def frozen(self, *states: TrialState) -> list[FrozenTrial]:
        """Return Optuna's records in the order of their numbers; without ``states``, all of them."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def trials(self) -> list[Trial]:
        """Return the trials whose parameters have been drawn, in the order of their numbers."""
        return [self._trial(frozen) for frozen in self.frozen() if self._point(frozen) is not None]

    def has_next(self, trials: int, compared: Sequence[Point]) -> bool:
        """Return whether there is a trial to hand out.

        Interrupted trials come first; then comparison trials, which are enqueued here, and proposals
        alternate.
        """
        if self.frozen(TrialState.WAITING):
            return True
        left, proposed = self._not_started(compared), self.count_proposals()
        if left and (len(compared) - len(left) <= proposed or proposed >= trials):
            parameters, seed = left[0]
            self.study.enqueue_trial(parameters, {"origin": "sweep", "seed": seed, "parameters": parameters})
            return True
        return proposed < trials

    def left(self, trials: int, compared: Sequence[Point]) -> int:
        """Count the trials that have not ended, of ``trials`` proposals and the comparison trials."""
        waiting = len(self.frozen(TrialState.WAITING, TrialState.RUNNING))
        return waiting + len(self._not_started(compared)) + max(0, trials - self.count_proposals())

    def count_proposals(self) -> int:
        """Count the proposals in any state."""
        return sum("origin" not in frozen.user_attrs for frozen in self.frozen())

    def _not_started(self, compared: Sequence[Point]) -> list[Point]:
        started = [
            (t.user_attrs["parameters"], t.user_attrs["seed"]) for t in self.frozen() if _is_comparison(t)
        ]
        return [point for point in compared if point not in started]

    def _point(self, frozen: FrozenTrial) -> Parameters | None:
        if _is_comparison(frozen):
            parameters: Parameters = frozen.user_attrs["parameters"]
            return parameters
        searched = self.spec.space.searched(self.spec.scope)
        drawn = searched.keys() <= frozen.params.keys()
        return self.spec.space.complete(self.spec.scope, frozen.params) if drawn else None

    def _trial(self, frozen: FrozenTrial) -> Trial:
        attributes, reported = frozen.user_attrs, frozen.intermediate_values
        last = max(reported, default=0)
        # A report has the mean over the folds up to its own.
        means = {(work - 1) // self.spec.fold_epochs: reported[work] for work in sorted(reported)}
        sums = [mean * count for count, mean in enumerate(means.values(), start=1)]
        return Trial(
            number=frozen.number,
            parameters=self._point(frozen) or {},
            seed=attributes.get("seed", self.spec.config.seed),
            root=self.root,
            origin="sweep" if _is_comparison(frozen) else "search",
            state=STATES.get(frozen.state, "interrupted"),
            score=frozen.value if frozen.values else reported.get(last),
            epochs=last,
            fold_scores=tuple(np.diff(sums, prepend=0.0).tolist()),
            reason=attributes.get("reason"),
            weights=attributes.get("weights"),
            seconds=round(frozen.duration.total_seconds(), 2) if frozen.duration else 0.0,
        )


class NumberedSampler(optuna.samplers.BaseSampler):
    """TPE (Bergstra et al., NeurIPS 2011) or random sampling with reproducible proposals.

    Optuna's samplers draw from one random stream, which starts again in every process. Here each trial has
    its own stream, seeded by the search's seed and the trial's number, so that a proposal depends only on
    these and on the trials known when it is drawn. The first ``RANDOM_FIRST`` proposals are random. Numbers
    are rounded to ``DIGITS`` significant digits.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._number, self._sampler = -1, optuna.samplers.TPESampler()

    def _sampler_of(self, study: optuna.Study, trial: FrozenTrial) -> optuna.samplers.TPESampler:
        if trial.number != self._number:
            ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
            first = RANDOM_FIRST + sum(map(_is_comparison, ended)) if self._kind == "tpe" else sys.maxsize
            seed = (self._seed * 1_000_003 + trial.number) % 2**32
            self._sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=first)
            self._number = trial.number
        return self._sampler

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler_of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        values = self._sampler_of(study, trial).sample_relative(study, trial, search_space)
        return {name: rounded(value, search_space[name]) for name, value in values.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._sampler_of(study, trial)
        value = sampler.sample_independent(study, trial, param_name, param_distribution)
        return rounded(value, param_distribution)


def sweep(spec: SearchSpec, *, seeds: int, sizes: Sequence[int]) -> list[Point]:
    """Return the comparison trials: for each seed, the default and the default with each other size."""
    first = spec.config.seed
    if not seeds or "embedding_dim" not in spec.default:
        return [(spec.default, first)]
    compared = dict.fromkeys((spec.default["embedding_dim"], *sizes))
    return [
        (spec.default | {"embedding_dim": size}, first + seed) for seed in range(seeds) for size in compared
    ]


def distributions(space: SearchSpace, model: str) -> dict[str, Distribution]:
    """Return the searched parameters as Optuna's distributions."""
    result: dict[str, Distribution] = {}
    for name, dimension in space.searched(model).items():
        if dimension.choices is not None:
            result[name] = CategoricalDistribution([typed(name, value) for value in dimension.choices])
        elif name in WHOLE:
            low, high = (int(end) for end in dimension.ends)
            result[name] = IntDistribution(low, high, log=dimension.log)
        else:
            result[name] = FloatDistribution(*dimension.ends, log=dimension.log)
    return result


def draw(trial: Any, space: SearchSpace, model: str) -> Parameters:
    """Draw the searched parameters of a trial, or return those that it already has.

    A comparison trial records in Optuna only the parameters inside the space; TPE cannot learn from others.
    """
    point: Parameters | None = trial.user_attrs.get("parameters")
    drawn: Parameters = {}
    for name, distribution in distributions(space, model).items():
        if point is not None and not space.dimensions(model)[name].contains(point[name]):
            continue
        if isinstance(distribution, CategoricalDistribution):
            drawn[name] = trial.suggest_categorical(name, distribution.choices)
        else:
            suggest = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
            drawn[name] = suggest(name, distribution.low, distribution.high, log=distribution.log)
    return point or space.complete(model, drawn)


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)


def _is_comparison(trial: FrozenTrial) -> bool:
    """Return whether this is a comparison trial and not a proposal."""
    return trial.user_attrs.get("origin") == "sweep"


def _repair(path: Path) -> None:
    """Remove an incomplete last line and the lock that a killed process left behind."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
