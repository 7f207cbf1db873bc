"""The trials of a search as they lie on storage: what each is, how far it came, how it ended.

Each has a folder ``trials/<number>`` with ``trial.json`` (written before it starts), a run folder for each
fold, ``cost.json`` (what it took so far) and ``end.json`` (once it has ended). How far it came is what its
fits have stored after their last epoch, so nothing else has to survive when a process is killed.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from common import storage
from train.plan import finished, history
from tune.space import Parameters
from tune.spec import SearchSpec

Origin = Literal["sweep", "search"]
Histories = list[list[list[dict[str, Any]]]]
"""Epochs by fold and job."""


@dataclass(frozen=True)
class Trial:
    """One point of the space."""

    number: int
    origin: Origin
    """``sweep``: the default with another embedding size, never stopped early; ``search``: a proposal."""
    parameters: Parameters
    """All of them, the fixed ones too."""
    seed: int
    root: Path
    """The search's folder."""

    @property
    def folder(self) -> Path:
        return self.root / "trials" / f"{self.number:03}"

    def fold_dir(self, fold: int) -> Path:
        """Run folder of a fold, 1 being the newest."""
        return self.folder / f"fold-{fold}"

    def histories(self, spec: SearchSpec) -> Histories:
        with storage.looked(self.folder):
            return [
                [history(self.fold_dir(fold), task.id) for task in spec.tasks]
                for fold in range(1, len(spec.folds) + 1)
            ]

    def is_fitted(self, spec: SearchSpec) -> bool:
        """Whether every fit of every fold has ended."""
        with storage.looked(self.folder):
            return all(
                finished(self.fold_dir(fold), task.id) is not None
                for fold in range(1, len(spec.folds) + 1)
                for task in spec.tasks
            )

    @property
    def cost(self) -> dict[str, Any]:
        """``seconds`` of work so far, ``weights`` of its network, and ``pid`` of the last to work on it."""
        return _read(self.folder / "cost.json") or {"seconds": 0.0, "weights": None, "pid": None}

    @property
    def end(self) -> dict[str, Any] | None:
        """``state`` (done, stopped or failed) and ``reason``; None while it has not ended."""
        return _read(self.folder / "end.json")

    def close(self, state: str, reason: str | None = None) -> None:
        """Write how it ended, unless that is known already."""
        if self.end is None:
            storage.write_json(self.folder / "end.json", {"state": state, "reason": reason})


class Book:
    """All trials of a search's folder, by number."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trials: dict[int, Trial] = {}
        found = [_read(path) for path in storage.found(root / "trials", "*/trial.json")]
        for stored in sorted(filter(None, found), key=lambda each: each["number"]):
            self.trials[stored["number"]] = Trial(root=root, **stored)

    def add(self, origin: Origin, parameters: Parameters, seed: int) -> Trial:
        """Write down a new trial, which then can be continued whatever happens."""
        trial = Trial(max(self.trials, default=0) + 1, origin, parameters, seed, self.root)
        stored = {"number": trial.number, "origin": origin, "parameters": parameters, "seed": seed}
        storage.write_json(trial.folder / "trial.json", stored)
        self.trials[trial.number] = trial
        return trial


@dataclass(frozen=True)
class Standing:
    """Where a trial is after an epoch."""

    done: int
    """Epochs of the whole trial behind it; a fit that ended early counts in full."""
    score: float
    """Mean over the folds begun of each one's best so far."""
    fold: int
    epoch: int
    """Of the fold's present fit."""
    loss: float
    val_loss: float

    def as_report(self) -> dict[str, Any]:
        """For Ray Tune, which keeps the name ``done`` for itself."""
        values = asdict(self)
        return {"work": values.pop("done"), **values}


def best_total(epochs: list[dict[str, Any]]) -> float:
    """`Score.total` at the epoch that training would keep, the first with the lowest validation loss."""
    best = min(epochs, key=lambda epoch: _number(epoch["val_loss"]))
    return _number(best["total"])


def fold_score(jobs: list[list[dict[str, Any]]]) -> float | None:
    """Mean over the jobs begun; None if none is."""
    begun = [best_total(epochs) for epochs in jobs if epochs]
    return sum(begun) / len(begun) if begun else None


def trial_score(histories: Histories) -> float | None:
    """Mean over the folds begun; None if none is."""
    scores = [found for jobs in histories if (found := fold_score(jobs)) is not None]
    return sum(scores) / len(scores) if scores else None


def standings(histories: Histories, epochs: int) -> Iterator[Standing]:
    """Every epoch of a trial in the order of the work, with what was known after it.

    ``epochs`` is the number a fit has; jobs and folds are worked through in order.
    """
    before: list[float] = []
    place = 0
    for fold, jobs in enumerate(histories, start=1):
        for position, job in enumerate(jobs):
            for count, epoch in enumerate(job, start=1):
                now = fold_score([*jobs[:position], job[:count]])
                assert now is not None
                yield Standing(
                    done=place + count,
                    score=(sum(before) + now) / (len(before) + 1),
                    fold=fold,
                    epoch=count,
                    loss=_number(epoch["loss"]),
                    val_loss=_number(epoch["val_loss"]),
                )
            place += epochs
        found = fold_score(jobs)
        before += [] if found is None else [found]


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(storage.current(path).read_bytes())
        return found
    except (OSError, ValueError):
        return None
