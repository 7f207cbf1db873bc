"""One fit, from its first epoch or from wherever it stopped, to the best weights on validation."""

import logging
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.data.windows import Windows
from common.errors import TrainingError
from common.model.channels import sigma
from common.model.presets import FitConfig
from common.storage import StorageError, current
from train.feed import FitData, drawn
from train.loop import PREDICT_BATCH, Batches, EpochLoop
from train.plan import Progress, windows_per_epoch
from train.scores import score
from train.state import FitState

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
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    log_dir: Path | None = None,
) -> FitState:
    """Train until the epochs or the patience run out; returns the state with the best weights.

    The order of the windows, the masks and the dropout of epoch ``n`` depend on (seed, n) alone, so a
    fit that was killed and resumed from ``state_path`` ends exactly like one that was not.
    """
    data, team = data.made_ready(), loop.team
    steps = _ceil(windows_per_epoch(config, len(data.train)), config.batch_size)
    check = _Check(loop, data)
    state = _begun(loop, check, config, seed, state_path, weights)
    first_worker = team.rank == 0
    logged = log_dir if first_worker else None
    writer = tf.summary.create_file_writer(str(logged)) if logged else tf.summary.create_noop_writer()
    started, first = time.monotonic(), state.epoch
    while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
        loop.agree()
        batches = _batches(
            data.train, data, config.batch_size, steps, seed=(seed, state.epoch), part=loop.part
        )
        loss = loop.epoch(batches, config, total_steps=steps * config.epochs, seed=seed)
        outputs = check.outputs()
        loss, val_loss = team.share(np.array([loss, check.loss(outputs)])).tolist()
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            _refuse_nothing_good(state, config, loss, val_loss)
            break
        state.epoch += 1
        if val_loss < state.best_loss:
            state.best_epoch, state.best_loss, state.best = state.epoch, val_loss, loop.network.get_weights()
        if not first_worker:
            continue
        judged = score(data.valid, data.representation.prices(data.valid, outputs))
        mae, total = judged.rel_mae[0], judged.total
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


class _Check:
    """The validation windows, each worker of a team forecasting a share of them."""

    def __init__(self, loop: EpochLoop, data: FitData) -> None:
        self._loop = loop
        blocks = loop.team.part(_ceil(len(data.valid), PREDICT_BATCH))  # whole ones: as one worker would
        own = data.valid.take(slice(blocks.start * PREDICT_BATCH, blocks.stop * PREDICT_BATCH))
        self._own = data.representation.inputs(own), data.ids(own)
        self._truth = data.representation.targets(data.valid), sigma(data.valid).astype(np.float32)

    def outputs(self) -> np.ndarray:
        """(N, H, K); a worker's own share on any but the first one."""
        return self._loop.team.collect(self._loop.predict(*self._own))

    def loss(self, outputs: np.ndarray) -> float:
        """NaN on any worker but the first."""
        return self._loop.loss(outputs, *self._truth) if self._loop.team.rank == 0 else math.nan


def _begun(
    loop: EpochLoop,
    check: _Check,
    config: FitConfig,
    seed: int,
    state_path: Path,
    weights: list[np.ndarray] | None,
) -> FitState:
    """The stored state, or a fresh one; a team's workers go by what the first one found."""
    team = loop.team
    state = _resume(loop, state_path) if team.rank == 0 else None
    found = state or FitState(epoch=-1)
    numbers = team.share(np.array([found.epoch, found.best_epoch, found.best_loss]))
    if numbers[0] >= 0:
        return state or FitState(int(numbers[0]), int(numbers[1]), float(numbers[2]))
    loop.start(seed=seed, weights=weights)
    state = FitState(best=loop.network.get_weights())
    if config.step_zero:
        loss = check.loss(check.outputs())
        state.best_loss = float(team.share(np.array([loss]))[0])
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
    train: Windows,
    data: FitData,
    size: int,
    steps: int,
    *,
    seed: tuple[int, int],
    part: slice = slice(None),
) -> Iterator[Batches]:
    """An epoch's batches, rows ``part`` of each; as many at a time on every worker, whose parts differ."""
    order = drawn(len(train), steps * size, seed).reshape(steps, size)[:, part]
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
