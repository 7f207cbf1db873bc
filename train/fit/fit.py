"""One fit, from its first or its last stored epoch to the best weights on validation."""

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
from common.storage import StorageError, up_to_date
from train.fit.loop import Batches, EpochLoop
from train.fit.state import FitState
from train.run.feed import FitData, draw
from train.run.plan import EpochProgress, windows_per_epoch
from train.run.scores import score

log = logging.getLogger(__name__)

WINDOWS_AT_ONCE = 16_384
"""Windows that are prepared at a time, so that the memory of an epoch does not grow with its length."""


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
    """Train until the epochs or the patience run out; return the state with the best weights.

    With ``epochs``, train for exactly so many, without validation; the learning rate falls as if all epochs
    of ``config`` were to come. The best weights are then the last ones.

    The order of the windows, the masks and the dropout of epoch ``n`` depend only on (seed, n), so a fit that
    was killed and resumed from ``state_path`` ends exactly like one that was not.
    """
    data = data.prepare()
    steps = math.ceil(windows_per_epoch(config, len(data.train)) / config.batch_size)
    validate = epochs is None
    inputs, targets = _inputs(data, data.valid), _targets(data, data.valid)
    state = _resume(loop, state_path)
    if state is None:
        loop.start(seed=seed, weights=weights)
        state = FitState(best=loop.network.get_weights())
        if config.step_zero and validate:
            state.best_loss = loop.loss(loop.predict(*inputs), *targets)
    writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else tf.summary.create_noop_writer()
    started, first = time.monotonic(), state.epoch
    last = config.epochs if epochs is None else epochs
    while state.epoch < last and state.epoch - state.best_epoch < config.patience:
        batches = _batches(data, config.batch_size, steps, seed=(seed, state.epoch))
        loss = loop.epoch(batches, config, total_steps=steps * config.epochs, seed=seed)
        val_loss = mae = total = math.nan
        if validate:
            outputs = loop.predict(*inputs)
            val_loss = loop.loss(outputs, *targets)
        if not (math.isfinite(loss) and (math.isfinite(val_loss) or not validate)):
            message = f"epoch {state.epoch + 1} diverged: loss {loss}, validation loss {val_loss}"
            if not math.isfinite(state.best_loss):
                raise TrainingError(f"{message}. Lower learning_rate, now {config.learning_rate}.")
            log.warning("%s; the best weights, of epoch %d, are kept", message, state.best_epoch)
            break
        state.epoch += 1
        if val_loss < state.best_loss or not validate:
            state.best_epoch, state.best_loss, state.best = state.epoch, val_loss, loop.network.get_weights()
        if validate:
            judged = score(data.valid, data.representation.prices(data.valid, outputs))
            mae, total = judged.rel_mae[0], judged.total
        state.history.append(
            {"epoch": state.epoch, "loss": loss, "val_loss": val_loss, "rel_mae": mae, "total": total}
        )
        state.loop = loop.state()
        try:
            state.save(state_path)
        except StorageError as error:  # the next epoch is stored again
            log.warning("epoch %d not stored: %s", state.epoch, error.message)
        with writer.as_default(step=state.epoch):
            for name in ("loss", "val_loss", "rel_mae"):
                if math.isfinite(state.history[-1][name]):
                    tf.summary.scalar(name, state.history[-1][name])
        writer.flush()
        epoch = state.epoch
        eta_s = (time.monotonic() - started) / (epoch - first) * (last - epoch)
        on_epoch(EpochProgress(epoch, last, loss, val_loss, mae, total, state.best_epoch, eta_s))
    return state


def _inputs(data: FitData, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    return data.representation.inputs(windows), data.ids(windows)


def _targets(data: FitData, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    return data.representation.targets(windows), sigma(windows).astype(np.float32)


def _resume(loop: EpochLoop, path: Path) -> FitState | None:
    try:
        state = FitState.load(up_to_date(path))
        loop.restore(state.loop)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("state=%s unusable, the fit starts over: %s", path, error)
        return None
    return state


def _batches(data: FitData, size: int, steps: int, *, seed: tuple[int, int]) -> Iterator[Batches]:
    """Yield an epoch's batches, ``WINDOWS_AT_ONCE`` windows at a time."""
    order = draw(len(data.train), steps * size, seed).reshape(steps, size)
    at_once = max(1, WINDOWS_AT_ONCE // size)
    for start in range(0, steps, at_once):
        rows = order[start : start + at_once]
        chosen = data.train.take(rows.ravel())
        arrays = *_inputs(data, chosen), *_targets(data, chosen)
        yield Batches(*(values.reshape(*rows.shape, *values.shape[1:]) for values in arrays))
