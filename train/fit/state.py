"""A fit on storage: its state after every epoch, and its result."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common import storage


@dataclass
class FitState:
    """The state of a fit after an epoch, stored after each one."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)
    loop: list[np.ndarray] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)

    def save(self, path: Path) -> None:
        numbers = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "history": self.history,
            "parts": [len(self.loop), len(self.best)],
        }
        save_weights(path, [*self.loop, *self.best], numbers=json.dumps(numbers))

    @classmethod
    def load(cls, path: Path) -> "FitState":
        with np.load(path, allow_pickle=False) as stored:
            numbers = json.loads(str(stored["numbers"]))
            first, second = numbers.pop("parts")
            arrays = [stored[f"a{i:04}"] for i in range(first + second)]
        return cls(**numbers, loop=arrays[:first], best=arrays[first:])


def save_result(folder: Path, state: FitState, seconds: float) -> dict[str, Any]:
    """Store a finished fit: its weights first, because a fit that has a result counts as done."""
    save_weights(folder / "weights.npz", state.best)
    result = {
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "val_loss": state.best_loss,
        "history": state.history,
        "seconds": round(seconds, 2),
    }
    storage.write_json(folder / "result.json", storage.finite(result))
    storage.remove(folder / "state.npz")
    return result


def save_weights(path: Path, arrays: list[np.ndarray], **more: Any) -> None:
    """Store arrays as a0000, a0001 and so on in an ``.npz`` file, with further values by name."""
    named: dict[str, Any] = {f"a{number:04}": array for number, array in enumerate(arrays)}
    with storage.atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **more, **named)
