"""The Optuna study of a search: the record of its trials, in a journal file that any Optuna can open.

A trial's user attributes are ``origin``, ``seed`` and ``parameters`` of one for comparison, ``reason`` of one
that was stopped or failed, and ``seconds`` and ``weights`` (see `tune.trial.Trial`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
"""Embedding sizes compared with the default's."""
QUICK_SIZES = (2, 32)
RANDOM_FIRST = 10
"""Proposals drawn at random before TPE has enough to go by."""
DIGITS = 4
"""Significant digits of a proposed number."""
FILE = "study.journal"
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}

Distribution = IntDistribution | FloatDistribution | CategoricalDistribution
Point = tuple[Parameters, int]
"""Parameters and seed of a trial for comparison."""


class Study:
    """The trials of a search's folder.

    Trials that a killed process left running wait again and are handed out before new ones. Whoever opens a
    study has claimed the search: nobody else writes to it.
    """

    def __init__(self, spec: SearchSpec, root: Path) -> None:
        self.spec, self.root, self.path = spec, root, root / FILE
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if storage.exists(self.path):
            _repair(self.path)
        self.storage = JournalStorage(JournalFileBackend(str(self.path)))
        known = [study.study_name for study in self.storage.get_all_studies()]
        open_study = optuna.load_study if spec.id in known else optuna.create_study
        self.study = open_study(study_name=spec.id, storage=self.storage)
        study_id = self.storage.get_study_id_from_name(spec.id)
        cut_off = self.frozen(TrialState.RUNNING)
        for trial in cut_off:
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            self.storage.set_trial_state_values(trial_id, TrialState.WAITING)
        if cut_off or spec.id not in known:
            storage.push(self.path)

    def frozen(self, *states: TrialState) -> list[FrozenTrial]:
        """Optuna's own records, by number; of all states if none is given."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def trials(self) -> list[Trial]:
        """All trials whose parameters are known, by number."""
        return [self._trial(frozen) for frozen in self.frozen() if self._point(frozen) is not None]

    def next_comparison(self, trials: int, compared: Sequence[Point]) -> Point | None:
        """The trial for comparison whose turn it is: they and the proposals take turns, the default first."""
        left, proposed = self._not_begun(compared), self.proposed()
        turn = len(compared) - len(left) <= proposed or proposed >= trials
        return left[0] if left and turn else None

    def enqueue(self, point: Point) -> None:
        """Make this the next trial to be handed out."""
        parameters, seed = point
        self.study.enqueue_trial(parameters, {"origin": "sweep", "seed": seed, "parameters": parameters})

    def left(self, trials: int, compared: Sequence[Point]) -> int:
        """How many trials have not ended, of ``trials`` proposals and those for comparison."""
        waiting = len(self.frozen(TrialState.WAITING, TrialState.RUNNING))
        return waiting + len(self._not_begun(compared)) + max(0, trials - self.proposed())

    def proposed(self) -> int:
        """How many proposals there are, whatever became of them."""
        return sum("origin" not in frozen.user_attrs for frozen in self.frozen())

    def _not_begun(self, compared: Sequence[Point]) -> list[Point]:
        begun = [(t.user_attrs["parameters"], t.user_attrs["seed"]) for t in self.frozen() if _compares(t)]
        return [point for point in compared if point not in begun]

    def _point(self, frozen: FrozenTrial) -> Parameters | None:
        if _compares(frozen):
            parameters: Parameters = frozen.user_attrs["parameters"]
            return parameters
        searched = self.spec.space.searched(self.spec.scope)
        known = searched.keys() <= frozen.params.keys()
        return self.spec.space.complete(self.spec.scope, frozen.params) if known else None

    def _trial(self, frozen: FrozenTrial) -> Trial:
        attributes = frozen.user_attrs
        reported = frozen.intermediate_values
        score = frozen.value if frozen.values else reported[max(reported)] if reported else None
        return Trial(
            number=frozen.number,
            parameters=self._point(frozen) or {},
            seed=attributes.get("seed", self.spec.config.seed),
            root=self.root,
            origin="sweep" if _compares(frozen) else "search",
            state=STATES.get(frozen.state, "interrupted"),
            score=score,
            reason=attributes.get("reason"),
            weights=attributes.get("weights"),
            seconds=attributes.get("seconds", 0.0),
        )


class NumberedSampler(optuna.samplers.BaseSampler):
    """TPE (Bergstra et al., NeurIPS 2011) or chance, with proposals that can be made again.

    Optuna's samplers draw from one stream, which starts anew in every process. Here each trial has a stream
    of its own, from the seed and its number, so that a proposal depends on these and on the trials known
    when it is made. Numbers get few digits. Trials for comparison count besides the ``RANDOM_FIRST``.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._current: tuple[int, optuna.samplers.BaseSampler] | None = None

    def _of(self, study: optuna.Study, number: int) -> optuna.samplers.BaseSampler:
        if self._current is None or self._current[0] != number:
            seed = (self._seed * 1_000_003 + number) % 2**32
            if self._kind == "random":
                sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
            else:
                ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
                first = RANDOM_FIRST + sum(map(_compares, ended))
                sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=first)
            self._current = number, sampler
        return self._current[1]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._of(study, trial.number).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = self._of(study, trial.number).sample_relative(study, trial, search_space)
        return {name: rounded(value, search_space[name]) for name, value in drawn.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._of(study, trial.number)
        return rounded(
            sampler.sample_independent(study, trial, param_name, param_distribution), param_distribution
        )


def sweep(spec: SearchSpec, *, seeds: int, sizes: Sequence[int]) -> list[Point]:
    """The default, then the default with each other embedding size, for each seed."""
    first = spec.config.seed
    if not seeds or "embedding_dim" not in spec.default:
        return [(spec.default, first)]
    own = spec.default["embedding_dim"]
    compared = [own, *(size for size in sizes if size != own)]
    return [
        (spec.default | {"embedding_dim": size}, first + seed) for seed in range(seeds) for size in compared
    ]


def distributions(space: SearchSpace, model: str) -> dict[str, Distribution]:
    """The searched parameters as Optuna draws them."""
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
    """The searched parameters of a trial that Optuna handed out, or that it had before it was cut off.

    Of one for comparison only what lies inside the space: TPE cannot learn from the rest.
    """
    point = trial.user_attrs.get("parameters")
    drawn: Parameters = {}
    for name, distribution in distributions(space, model).items():
        if point is not None and not space.dimensions(model)[name].holds(point[name]):
            continue
        if isinstance(distribution, IntDistribution):
            drawn[name] = trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
        elif isinstance(distribution, FloatDistribution):
            drawn[name] = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
        else:
            drawn[name] = trial.suggest_categorical(name, distribution.choices)
    return point or space.complete(model, drawn)


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    """A drawn value with few digits, still inside the space."""
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)


def _compares(trial: FrozenTrial) -> bool:
    """Whether a trial is for comparison, not a proposal."""
    return trial.user_attrs.get("origin") == "sweep"


def _repair(path: Path) -> None:
    """Remove what a killed process left: a line half written, and the lock of its last one."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
