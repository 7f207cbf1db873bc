"""One fit, from its first epoch or from wherever it stopped, to the best weights on validation."""

import logging
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.errors import TrainingError
from common.network.channels import sigma
from common.presets import FitConfig
from common.prices.windows import Windows
from common.storage import StorageError, current
from train.fit.loop import Batches, EpochLoop
from train.fit.state import FitState
from train.run.feed import FitData, drawn
from train.run.plan import EpochProgress, windows_per_epoch
from train.run.scores import score

log = logging.getLogger(__name__)

CUT_AT_ONCE = 16_384
"""Windows that are cut before they are trained on: an epoch of any length takes no more memory."""


def fit(
    loop: EpochLoop,
    data: FitData,
    config: FitConfig,
    *,
    seed: int,
    state_path: Path,
    weights: list[np.ndarray] | None = None,
    epochs: int | None = None,
    on_epoch: Callable[[EpochProgress], None] = lambda progress: None,
    log_dir: Path | None = None,
) -> FitState:
    """Train until the epochs or the patience run out; returns the state with the best weights.

    With ``epochs``, train for exactly so many, without validation; the learning rate falls as if all epochs
    of ``config`` were to come. The best weights are then the last ones.

    The order of the windows, the masks and the dropout of epoch ``n`` depend on (seed, n) alone, so a
    fit that was killed and resumed from ``state_path`` ends exactly like one that was not.
    """
    data = data.made_ready()
    steps = _ceil(windows_per_epoch(config, len(data.train)), config.batch_size)
    check = None if epochs is not None else _Check(loop, data)
    state = _resume(loop, state_path) or _fresh(loop, check, config, seed, weights)
    writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else tf.summary.create_noop_writer()
    started, first = time.monotonic(), state.epoch
    last = config.epochs if epochs is None else epochs
    while state.epoch < last and state.epoch - state.best_epoch < config.patience:
        batches = _batches(data.train, data, config.batch_size, steps, seed=(seed, state.epoch))
        loss = loop.epoch(batches, config, total_steps=steps * config.epochs, seed=seed)
        val_loss, mae, total = (math.nan,) * 3 if check is None else check.figures()
        if not (math.isfinite(loss) and (check is None or math.isfinite(val_loss))):
            _refuse_nothing_good(state, config, loss, val_loss)
            break
        state.epoch += 1
        if check is None or val_loss < state.best_loss:
            state.best_epoch, state.best_loss, state.best = state.epoch, val_loss, loop.network.get_weights()
        state.history.append(
            {"epoch": state.epoch, "loss": loss, "val_loss": val_loss, "rel_mae": mae, "total": total}
        )
        state.loop = loop.state()
        _keep(state, state_path)
        with writer.as_default(step=state.epoch):
            for name in ("loss", "val_loss", "rel_mae"):
                if math.isfinite(state.history[-1][name]):
                    tf.summary.scalar(name, state.history[-1][name])
        writer.flush()
        each = (time.monotonic() - started) / (state.epoch - first)
        on_epoch(
            EpochProgress(
                state.epoch,
                last,
                loss,
                val_loss,
                mae,
                total,
                state.best_epoch,
                each * (last - state.epoch),
            )
        )
    return state


class _Check:
    """The validation windows as a network takes them, prepared once for all epochs."""

    def __init__(self, loop: EpochLoop, data: FitData) -> None:
        self._loop, self._data = loop, data
        self._inputs = data.representation.inputs(data.valid), data.ids(data.valid)
        self._truth = data.representation.targets(data.valid), sigma(data.valid).astype(np.float32)

    def figures(self) -> tuple[float, float, float]:
        """Mean loss, relMAE at the shortest horizon and `Score.total` of the network as it is now."""
        outputs = self._loop.predict(*self._inputs)
        judged = score(self._data.valid, self._data.representation.prices(self._data.valid, outputs))
        return self.loss(outputs), judged.rel_mae[0], judged.total

    def loss(self, outputs: np.ndarray | None = None) -> float:
        """Mean loss of these outputs, or of the network as it is now, on the validation windows."""
        outputs = self._loop.predict(*self._inputs) if outputs is None else outputs
        return self._loop.loss(outputs, *self._truth)


def _fresh(
    loop: EpochLoop, check: _Check | None, config: FitConfig, seed: int, weights: list[np.ndarray] | None
) -> FitState:
    loop.start(seed=seed, weights=weights)
    state = FitState(best=loop.network.get_weights())
    if config.step_zero and check is not None:
        state.best_loss = check.loss()
    return state


def _keep(state: FitState, path: Path) -> None:
    """Store an epoch; where an object store fails, the fit goes on and the next epoch is stored."""
    try:
        state.save(path)
    except StorageError as error:
        log.warning("epoch %d not stored: %s", state.epoch, error.message)


def _resume(loop: EpochLoop, path: Path) -> FitState | None:
    try:
        state = FitState.load(current(path))
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


def _batches(
    train: Windows, data: FitData, size: int, steps: int, *, seed: tuple[int, int]
) -> Iterator[Batches]:
    """An epoch's batches, ``CUT_AT_ONCE`` windows at a time."""
    order = drawn(len(train), steps * size, seed).reshape(steps, size)
    at_once = max(1, CUT_AT_ONCE // size)
    for start in range(0, steps, at_once):
        rows = order[start : start + at_once]
        chosen = train.take(rows.ravel())
        arrays = (
            data.representation.inputs(chosen),
            data.ids(chosen),
            data.representation.targets(chosen),
            sigma(chosen).astype(np.float32),
        )
        yield Batches(*(values.reshape(*rows.shape, *values.shape[1:]) for values in arrays))
