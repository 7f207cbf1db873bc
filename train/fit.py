"""One fit, from its first epoch or from wherever it stopped, to the best weights on validation."""

import json
import logging
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.data.windows import Windows, id_column
from common.errors import TrainingError
from common.model.presets import FitConfig
from common.model.representation import Representation, frozen, sigma
from common.storage import atomic_path
from train.loop import Batches, EpochLoop
from train.plan import Progress, windows_per_epoch
from train.scores import score

log = logging.getLogger(__name__)

VALID_WINDOWS = 12_000
"""Validation windows, evenly spaced, that an epoch is judged on at most."""


@dataclass
class FitState:
    """What a fit knows after an epoch; written whole after each one."""

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
        arrays = [*self.loop, *self.best]
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, numbers=json.dumps(numbers), **{f"a{i:04}": a for i, a in enumerate(arrays)})

    @classmethod
    def load(cls, path: Path) -> "FitState":
        with np.load(path, allow_pickle=False) as stored:
            numbers = json.loads(str(stored["numbers"]))
            first, second = numbers.pop("parts")
            arrays = [stored[f"a{i:04}"] for i in range(first + second)]
        return cls(**numbers, loop=arrays[:first], best=arrays[first:])


@dataclass(frozen=True)
class FitData:
    """Windows of one fit with the network's ids for them."""

    train: Windows
    valid: Windows
    representation: Representation
    stock_ids: dict[str, int]
    """Stock id by symbol; any other symbol is 0, "unknown"."""

    def ids(self, windows: Windows) -> np.ndarray:
        """Stock id of each window, int32, shape (N, 1)."""
        return id_column(windows, self.stock_ids)


def fit(
    loop: EpochLoop,
    data: FitData,
    config: FitConfig,
    *,
    seed: int,
    state_path: Path,
    weights: list[np.ndarray] | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    log_dir: Path | None = None,
) -> FitState:
    """Train until the epochs or the patience run out; returns the state with the best weights.

    The order of the windows, the masks and the dropout of epoch ``n`` depend on (seed, n) alone, so a
    fit that was killed and resumed from ``state_path`` ends exactly like one that was not.
    """
    train = data.train.take(~frozen(data.train))
    valid = _evenly(data.valid.take(~frozen(data.valid)), VALID_WINDOWS)
    valid_set = (data.representation.inputs(valid), data.ids(valid))
    valid_truth = (data.representation.targets(valid), sigma(valid).astype(np.float32))
    steps = _ceil(windows_per_epoch(config, len(train)), config.batch_size)
    state = _resume(loop, state_path)
    if state is None:
        loop.start(seed=seed, weights=weights)
        state = FitState(best=loop.network.get_weights())
        if config.step_zero:
            state.best_loss = loop.loss(loop.predict(*valid_set), *valid_truth)
    writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else tf.summary.create_noop_writer()
    started, first = time.monotonic(), state.epoch
    while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
        batches = _batches(train, data, config.batch_size, steps, seed=(seed, state.epoch))
        loss = loop.epoch(batches, config, total_steps=steps * config.epochs, seed=seed)
        outputs = loop.predict(*valid_set)
        val_loss = loop.loss(outputs, *valid_truth)
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            _refuse_nothing_good(state, config, loss, val_loss)
            break
        state.epoch += 1
        if val_loss < state.best_loss:
            state.best_epoch, state.best_loss, state.best = state.epoch, val_loss, loop.network.get_weights()
        judged = score(valid, data.representation.prices(valid, outputs))
        mae, total = judged.rel_mae[0], judged.total
        state.history.append(
            {"epoch": state.epoch, "loss": loss, "val_loss": val_loss, "rel_mae": mae, "total": total}
        )
        state.loop = loop.state()
        state.save(state_path)
        with writer.as_default(step=state.epoch):
            for name in ("loss", "val_loss", "rel_mae"):
                if math.isfinite(state.history[-1][name]):
                    tf.summary.scalar(name, state.history[-1][name])
        writer.flush()
        each = (time.monotonic() - started) / (state.epoch - first)
        on_epoch(
            Progress(
                state.epoch,
                config.epochs,
                loss,
                val_loss,
                mae,
                total,
                state.best_epoch,
                each * (config.epochs - state.epoch),
            )
        )
    return state


def _resume(loop: EpochLoop, path: Path) -> FitState | None:
    try:
        state = FitState.load(path)
        loop.restore(state.loop)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("state=%s unusable, the fit starts over: %s", path, error)
        return None
    return state


def _refuse_nothing_good(state: FitState, config: FitConfig, loss: float, val_loss: float) -> None:
    """A fit that diverged keeps its best weights; without any, that is an error."""
    found = f"epoch {state.epoch + 1} diverged: loss {loss}, validation loss {val_loss}"
    if not math.isfinite(state.best_loss):
        raise TrainingError(f"{found}. Lower learning_rate, now {config.learning_rate}.")
    log.warning("%s; the best weights, of epoch %d, are kept", found, state.best_epoch)


def _ceil(count: int, size: int) -> int:
    return -(-count // size)


def _evenly(windows: Windows, most: int) -> Windows:
    return windows.take(np.unique(np.linspace(0, len(windows) - 1, min(len(windows), most)).astype(np.int64)))


def _batches(train: Windows, data: FitData, size: int, steps: int, *, seed: tuple[int, int]) -> Batches:
    order = np.resize(np.random.default_rng(seed).permutation(len(train)), steps * size)
    chosen = train.take(order)

    def stack(values: np.ndarray) -> np.ndarray:
        return values.reshape(steps, size, *values.shape[1:])

    return Batches(
        x=stack(data.representation.inputs(chosen)),
        stock_id=stack(data.ids(chosen)),
        y=stack(data.representation.targets(chosen)),
        sigma=stack(sigma(chosen).astype(np.float32)),
    )
