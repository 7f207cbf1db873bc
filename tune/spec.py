"""The specification of a search: everything that decides its result, and the id derived from it."""

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from common import storage
from common.exchange.universe import Universe
from common.presets import SplitSpec, TrainConfig, merged, train_config
from common.release.bundle import GENERAL
from train.run.plan import Task
from train.run.scores import unusual_weights
from tune.space import Parameters, SearchSpace, apply, defaults

TUNING_VERSION = 4
"""Increased when the same search would give other trials; searches of older versions are not continued."""

Sampler = Literal["tpe", "random"]


@dataclass(frozen=True)
class SearchSpec:
    """Everything besides the code that decides a search's result."""

    config: TrainConfig
    """Settings of the default, unreduced."""
    universe: Universe
    source: str
    data_sha256: str
    """Of all prices."""
    seen_sha256: str
    """Of the prices up to the end of the validation part; trials see no others."""
    model: str
    """``general``, ``specific:SYM`` or ``specific:all``."""
    jobs: tuple[str, ...]
    """The networks that are fitted: ``general``, or stocks."""
    space: SearchSpace
    folds: tuple[SplitSpec, ...]
    """The newest first, see `tune.folds.make_folds`."""
    epochs: int
    """Of each fit."""
    windows_per_epoch: int
    asha: bool
    """Whether bad trials are stopped early."""
    sampler: Sampler

    @property
    def scope(self) -> str:
        """``general`` or ``specific``."""
        return self.model.split(":")[0]

    @cached_property
    def default(self) -> Parameters:
        return defaults(self.config, self.scope)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The fits of one fold, in order."""
        return self.fits(seed=0, epochs=self.epochs)

    def fits(self, *, seed: int, epochs: int) -> tuple[Task, ...]:
        """Return one fit per job with this seed."""
        phase = "seed" if self.scope == GENERAL else "scratch"
        return tuple(Task(f"{job}/{phase}-{seed}", job, phase, seed, (), 0.0, epochs) for job in self.jobs)

    @property
    def fold_epochs(self) -> int:
        """Epochs of a trial in one fold."""
        return self.epochs * len(self.jobs)

    @property
    def total_epochs(self) -> int:
        """Epochs of a trial in all folds."""
        return self.fold_epochs * len(self.folds)

    def parameters(self) -> dict[str, Any]:
        """Return the range or the choices of each searched parameter."""
        return {name: self.space.as_dict(self.scope)[name] for name in self.space.searched(self.scope)}

    def settings(self, parameters: Parameters, seed: int, fold: SplitSpec) -> TrainConfig:
        """Return the settings of a trial's fits in a fold: the point, with reduced work and one seed."""
        work = {"epochs": self.epochs, "patience": self.epochs, "windows_per_epoch": self.windows_per_epoch}
        changes = {
            "general" if self.scope == GENERAL else "scratch": work,
            "seeds": 1,
            "seed": seed,
            "split": fold.model_dump(),
        }
        point = apply(parameters, self.config, self.scope)
        return train_config(self.config.preset, merged(point.model_dump(), changes), where="trial")

    @cached_property
    def id(self) -> str:
        weights = unusual_weights(self.config.window.horizons)
        decides = json.dumps([TUNING_VERSION, self.as_dict(), *weights], sort_keys=True).encode()
        digest = hashlib.sha256(decides).hexdigest()[:8]
        return f"{self.config.preset}-{self.model.replace(':', '-')}-{digest}"

    def as_dict(self) -> dict[str, Any]:
        dates = {"train_end", "valid_end"}
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "config": self.config.model_dump(mode="json"),
            "universe": self.universe.as_dict(),
            "jobs": list(self.jobs),
            "space": self.space.as_dict(GENERAL),
            "folds": [fold.model_dump(mode="json", include=dates) for fold in self.folds],
        }

    def save(self, folder: Path) -> None:
        storage.write_json(folder / "search.json", self.as_dict())

    @classmethod
    def load(cls, folder: Path) -> "SearchSpec":
        stored = json.loads(storage.up_to_date(folder / "search.json").read_bytes())
        where = str(folder / "search.json")
        return cls(
            config=TrainConfig.parse(stored.pop("config"), where=where),
            universe=Universe.from_dict(stored.pop("universe")),
            space=SearchSpace.parse(stored.pop("space"), where=where),
            folds=tuple(SplitSpec.parse(fold, where=where) for fold in stored.pop("folds")),
            jobs=tuple(stored.pop("jobs")),
            **stored,
        )
