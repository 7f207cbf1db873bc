"""The contenders of `train_speed`: one preset's network and data, trained by our loop, ``fit`` or PyTorch."""

import dataclasses
import json
import math
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.exchange.universe import load_universe
from common.presets import FitConfig, train_config
from common.prices.windows import Windows


@dataclass(frozen=True)
class Case:
    """A preset's general fit: its compiled loop, settings and some of its training windows."""

    loop: Any
    data: Any
    config: FitConfig

    @classmethod
    def load(cls, preset: str, archive: Path | None, home: Path, samples: int) -> "Case":
        """Exactly what a worker prepares for the general model, on ``samples`` windows evenly spaced."""
        from train.fit.fit import FitData
        from train.fit.loop import one_thread
        from train.run.dataset import RunDataset, RunSpec
        from train.run.price_source import load_panel
        from train.workers.tasks import loop_for

        one_thread()
        panel = load_panel(archive, home)
        spec = RunSpec(train_config(preset), load_universe(), panel.source, panel.fingerprint())
        dataset = RunDataset(home, spec, panel)
        train, valid, _ = dataset.parts_of("general", training=True)
        ids = dataset.stock_ids("general")
        data = FitData(_moving(train, samples), _moving(valid, samples), dataset.representation, ids)
        return cls(loop_for(dataset, "seed"), data, dataset.config.general)

    @property
    def flop(self) -> float:
        """FLOP of the LSTM stack a sample, forward and backward."""
        inputs = [self.loop.shape.channels, *self.loop.config.lstm_units]
        pairs = zip(inputs, self.loop.config.lstm_units, strict=False)
        return 3.0 * self.loop.shape.size * sum(8 * units * (width + units) for width, units in pairs)

    def arrays(self, windows: Windows) -> tuple[list[np.ndarray], np.ndarray]:
        """Inputs and targets for ``fit``; a mixture's targets carry sigma as their last column."""
        from common.network.channels import sigma

        targets = self.data.representation.targets(windows)
        if self.loop.shape.mixture:
            targets = np.concatenate([targets, sigma(windows)[:, None].astype(np.float32)], axis=1)
        else:
            targets = targets[..., None]
        return [self.data.representation.inputs(windows), self.data.ids(windows)], targets


@dataclass(frozen=True)
class Pace:
    """Samples a second."""

    wall: float
    cpu: float
    """By the CPU time of this process: what others do on the core does not show in it."""
    of_call: float
    """By the time until the call came back."""


class Clock:
    """Starts when created."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def pace(self, samples: int) -> Pace:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Pace(samples / wall, samples / cpu, samples / wall)


class Ours:
    """An epoch as `train.fit.fit` does it, the cutting of the windows included."""

    def __init__(self, case: Case) -> None:
        self._case, self._epochs = case, 0
        case.loop.start(seed=0)

    def turn(self) -> Pace:
        """Train on every window of the case once."""
        from train.fit.fit import _batches

        case, size = self._case, self._case.loop.batch_size
        steps = len(case.data.train) // size
        self._epochs += 1
        clock = Clock()
        batches = _batches(case.data, size, steps, seed=(0, self._epochs))
        case.loop.epoch(batches, case.config, total_steps=100 * steps, seed=0)
        return clock.pace(len(case.data.train))


class KerasFit:
    """The same network, loss and optimiser through ``compile`` and ``fit``."""

    def __init__(self, case: Case, batch: int) -> None:
        import keras

        from common.network.build import build_network
        from train.fit.losses import mixture_loss

        self._case, self.batch = case, batch
        self.network = build_network(case.loop.shape, case.loop.config, seed=0)
        mixture = mixture_loss(case.loop.shape.days)
        self.network.compile(
            optimizer=keras.optimizers.Adam(case.config.learning_rate, clipnorm=case.config.clipnorm),
            loss=(lambda y, out: mixture(out, y[:, :-1], y[:, -1])) if case.loop.shape.mixture else "mse",
        )
        self._x, self._y = case.arrays(case.data.train)

    def turn(self) -> Pace:
        """Train on every window of the case once; the time inside the epoch, not that of the call.

        On leaving ``fit``, tf.data's autotuner is waited for. It wakes after 10, 20, 40 ms and so on, so
        that a call can take twice the time of its epochs (up to a minute more).
        """
        import keras

        clocks, paces = [], []
        called = Clock()
        timer = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: clocks.append(Clock()),
            on_epoch_end=lambda epoch, logs: paces.append(clocks[0].pace(len(self._y))),
        )
        self.network.fit(self._x, self._y, batch_size=self.batch, epochs=1, verbose=0, callbacks=[timer])
        return dataclasses.replace(paces[0], of_call=called.pace(len(self._y)).wall)

    def start_like(self, loop: Any) -> None:
        """Take over the loop's weights and dropout generators; the optimiser forgets everything."""
        for mine, theirs in zip(self.network.variables, loop.network.variables, strict=True):
            mine.assign(theirs)
        for variable in self.network.optimizer.variables:
            if "learning_rate" not in variable.path:
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def epoch(self, order: np.ndarray) -> None:
        """One pass over the windows in this order."""
        x = [part[order] for part in self._x]
        self.network.fit(x, self._y[order], batch_size=self.batch, epochs=1, shuffle=False, verbose=0)


class Torch:
    """The same layers, loss and optimiser in PyTorch, in a process of its own on the same core."""

    def __init__(self, case: Case, batch: int, python: Path) -> None:
        network, config = case.loop.config, case.config
        (x, ids), y = case.arrays(case.data.train)
        self._windows = len(y)
        sizes = {
            "units": network.lstm_units[0],
            "layers": len(network.lstm_units),
            "stock_ids": case.loop.shape.stock_ids,
            "embedding": network.embedding_dim,
            "dense": network.dense_units,
            "dropout": network.dropout,
            "rate": config.learning_rate,
            "clipnorm": config.clipnorm,
        }
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, x=x, ids=ids, y=y[:, 0, 0], **sizes)
            file.flush()
            self._process = subprocess.Popen(
                [python, Path(__file__).with_name("torch_lstm.py"), file.name, str(batch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self.turn()

    def turn(self) -> Pace:
        """Train on every window of the case once."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            payload = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise SystemExit("PyTorch ended: see above") from None
        if not math.isfinite(payload["loss"]):
            raise SystemExit(f"PyTorch trains to a loss of {payload['loss']}")
        self.version = payload["version"]
        return Pace(*(self._windows / payload[name] for name in ("wall", "cpu", "wall")))


def _moving(windows: Windows, count: int) -> Windows:
    """``count`` windows, evenly spaced among those in which the price moves."""
    from common.network.channels import frozen

    windows = windows.take(~frozen(windows))
    return windows.take(np.linspace(0, len(windows) - 1, count).astype(np.int64))
