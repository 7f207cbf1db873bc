"""One epoch as one ``tf.function``: a loop over batches without Python between the steps."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from common.forecast.representation import Representation
from common.network.build import build_network
from common.presets import FitConfig, NetworkConfig, NetworkShape
from train.fit.fused_lstm import FusedLSTM
from train.fit.losses import level_loss, mixture_loss

PREDICT_BATCH = 1024


Masking = tuple[tuple[tuple[int, ...], float], ...]
"""Groups of channel positions that are hidden together, each with the share of windows to hide it in."""


@dataclass(frozen=True)
class Batches:
    """S batches of B windows: x (S, B, size, C), stock_id (S, B, 1), y (S, B, H), sigma (S, B)."""

    x: np.ndarray
    stock_id: np.ndarray
    y: np.ndarray
    sigma: np.ndarray


class EpochLoop:
    """A network, its optimiser and the compiled epoch, reused for all jobs of the same shape.

    Compiling takes longer than a small fit, so a worker keeps its loops and only changes the weights.
    """

    def __init__(
        self,
        shape: NetworkShape,
        network: NetworkConfig,
        batch_size: int,
        clipnorm: float,
        unknown_id_rate: float,
        masking: Masking,
    ) -> None:
        self.shape, self.config, self.batch_size = shape, network, batch_size
        self.network = build_network(shape, network, seed=0, lstm=FusedLSTM)
        self.optimizer = keras.optimizers.Adam(clipnorm=clipnorm)
        self.optimizer.build(self.network.trainable_variables)
        self._unknown_id_rate, self._masking = unknown_id_rate, masking
        self._loss = (mixture_loss if shape.mixture else level_loss)(shape.days)
        # AutoGraph would have nothing to rewrite, and leave a file per function and process.
        self._epoch = tf.function(self._run_epoch, input_signature=self._signature(), autograph=False)
        self._predict = tf.function(
            lambda x, stock_id: self.network([x, stock_id], training=False),
            input_signature=[
                tf.TensorSpec((None, shape.size, shape.channels)),
                tf.TensorSpec((None, 1), tf.int32),
            ],
            autograph=False,
        )

    def start(self, *, seed: int, weights: list[np.ndarray] | None = None) -> None:
        """Start a fit: set ``weights``, or new ones from ``seed``, and reset the optimiser."""
        fresh = build_network(self.shape, self.config, seed=seed)
        for variable, value in zip(self.network.variables, fresh.variables, strict=True):
            variable.assign(value)
        if weights is not None:
            self.network.set_weights(weights)
        for variable in self.optimizer.variables:
            if "learning_rate" not in variable.path:
                variable.assign(keras.ops.zeros(variable.shape, variable.dtype))

    def state(self) -> list[np.ndarray]:
        """Return what decides the following epochs: weights, the generators of dropout, optimiser."""
        return [np.asarray(v) for v in [*self.network.variables, *self.optimizer.variables]]

    def restore(self, state: list[np.ndarray]) -> None:
        for variable, value in zip([*self.network.variables, *self.optimizer.variables], state, strict=True):
            variable.assign(value)

    def epoch(self, parts: Iterable[Batches], fit: FitConfig, *, total_steps: int, seed: int) -> float:
        """Train on every batch once; return the mean training loss."""
        schedule = tf.constant([fit.learning_rate, fit.final_fraction, total_steps], tf.float32)
        total, steps = tf.constant(0.0), 0
        for part in parts:
            arrays = (part.x, part.stock_id, part.y, part.sigma)
            total = self._epoch(*arrays, schedule, tf.constant(seed, tf.int32), total)
            steps += len(part.x)
        return float(total / tf.cast(steps, tf.float32))

    def predict(self, x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        """Return outputs (N, H, K) for windows (N, size, C) and ids (N, 1)."""
        parts = [
            self._predict(x[start : start + PREDICT_BATCH], stock_id[start : start + PREDICT_BATCH]).numpy()
            for start in range(0, max(len(x), 1), PREDICT_BATCH)
        ]
        return np.concatenate(parts)

    def loss(self, outputs: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> float:
        return float(self._loss(tf.constant(outputs), tf.constant(y), tf.constant(sigma)))

    def _signature(self) -> list[tf.TensorSpec]:
        batch, shape = self.batch_size, self.shape
        return [
            tf.TensorSpec((None, batch, shape.size, shape.channels)),
            tf.TensorSpec((None, batch, 1), tf.int32),
            tf.TensorSpec((None, batch, shape.horizons)),
            tf.TensorSpec((None, batch)),
            tf.TensorSpec((3,)),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec(()),
        ]

    def _run_epoch(
        self,
        x: tf.Tensor,
        stock_id: tf.Tensor,
        y: tf.Tensor,
        sigma: tf.Tensor,
        schedule: tf.Tensor,
        seed: tf.Tensor,
        total: tf.Tensor,
    ) -> tf.Tensor:
        """Train on all batches; return ``total`` plus their losses."""

        def train_on(step: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            number = tf.cast(self.optimizer.iterations, tf.int32)
            self.optimizer.learning_rate.assign(_cosine(number, schedule))
            windows, ids = self._mask(x[step], stock_id[step], tf.stack([seed, number]))
            with tf.GradientTape() as tape:
                outputs = self.network([windows, ids], training=True)
                loss = self._loss(outputs, y[step], sigma[step])
                objective = tf.add_n([loss, *self.network.losses])
            gradients = tape.gradient(objective, self.network.trainable_variables)
            self.optimizer.apply(gradients, self.network.trainable_variables)
            return step + 1, total + loss

        steps = tf.shape(x)[0]
        _, total = tf.while_loop(lambda step, _: step < steps, train_on, (tf.constant(0), total))
        return total

    def _mask(self, x: tf.Tensor, ids: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draws = tf.random.stateless_uniform((1 + len(self._masking), self.batch_size), seed)
        ids = tf.where(draws[0][:, None] < self._unknown_id_rate, 0, ids)
        for draw, (positions, rate) in zip(tf.unstack(draws[1:]), self._masking, strict=True):
            visible = np.ones(self.shape.channels, dtype=np.float32)
            visible[list(positions)] = 0
            x = tf.where((draw < rate)[:, None, None], x * visible, x)
        return x, ids


def _cosine(step: tf.Tensor, schedule: tf.Tensor) -> tf.Tensor:
    """Cosine decay (Loshchilov and Hutter, 2017) from the initial rate to a fraction of it."""
    rate, final, total = schedule[0], schedule[1], schedule[2]
    done = tf.minimum(tf.cast(step, tf.float32) / tf.maximum(total, 1.0), 1.0)
    return rate * (final + (1 - final) * 0.5 * (1 + tf.cos(math.pi * done)))


shared_loop = functools.lru_cache(maxsize=8)(EpochLoop)
"""This process's loop with these settings, compiled once."""


def loop_of(
    shape: NetworkShape, network: NetworkConfig, fit: FitConfig, representation: Representation
) -> EpochLoop:
    """Return this process's compiled loop for fits with these settings."""
    rates = {"closes_only": fit.closes_only_rate, "market": fit.market_hidden_rate}
    masking = tuple(
        (tuple(representation.channels.index(channel) for channel in channels), rates[group])
        for group, channels in representation.hidden.items()
    )
    return shared_loop(shape, network, fit.batch_size, fit.clipnorm, fit.unknown_id_rate, masking)


def one_thread() -> None:
    """Keep TensorFlow on the one CPU of a worker; call before its first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
