"""The loss functions."""

from collections.abc import Callable

import tensorflow as tf

from common.network.mixture import TAUS
from train.run.scores import horizon_weights

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(outputs (B, H, K), targets (B, H) with NaN for none, sigma (B,)) -> scalar."""


def _weights(days: tuple[int, ...]) -> tf.Tensor:
    """Weights relative to the first horizon's, so that L2 and clipnorm mean the same for any horizons."""
    weights = horizon_weights(days)
    return tf.constant(weights / weights[0])


def mixture_loss(days: tuple[int, ...]) -> Loss:
    """Huber loss of the first output (raw), absolute error, cross-entropy of a move, pinball if it moved.

    The weights of the four terms, 1, .7, .4 and 2, were measured on validation. All but the cross-entropy are
    also weighted by sigma over its batch mean, as errors in percent of the price are. Pinball: Koenker and
    Bassett, Econometrica 1978. Horizons, ``days`` ahead, have the weights of
    `train.run.scores.horizon_weights`.
    """
    weights = _weights(days)
    taus = tf.constant(TAUS, tf.float32)

    def loss(outputs: tf.Tensor, targets: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
        mask = tf.cast(tf.math.is_finite(targets), tf.float32)
        target = tf.where(tf.math.is_finite(targets), targets, 0.0)
        moved = tf.cast(target != 0, tf.float32) * mask
        weight = (sigma / tf.reduce_mean(sigma))[:, None] * mask
        error = target - outputs[..., 0]
        size = tf.abs(error)
        huber = tf.where(size <= 1, 0.5 * error * error, size - 0.5)
        absolute = tf.abs(target - outputs[..., -1])
        p_move = tf.clip_by_value(outputs[..., 1], 1e-6, 1 - 1e-6)
        entropy = -(moved * tf.math.log(p_move) + (1 - moved) * tf.math.log(1 - p_move))
        gap = target[..., None] - outputs[..., 2:-1]
        pinball = tf.reduce_mean(tf.maximum(taus * gap, (taus - 1) * gap), axis=-1)
        terms = weight * (huber + 0.7 * absolute + 2 * moved * pinball) + 0.4 * mask * entropy
        return _per_horizon(terms, mask, weights)

    return loss


def level_loss(days: tuple[int, ...]) -> Loss:
    """Mean squared error of the scaled log price, as in the original design; ``days`` as above."""
    weights = _weights(days)

    def loss(outputs: tf.Tensor, targets: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
        mask = tf.cast(tf.math.is_finite(targets), tf.float32)
        target = tf.where(tf.math.is_finite(targets), targets, 0.0)
        return _per_horizon(mask * tf.square(target - outputs[..., 0]), mask, weights)

    return loss


def _per_horizon(terms: tf.Tensor, mask: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    means = tf.reduce_sum(terms, axis=0) / tf.maximum(tf.reduce_sum(mask, axis=0), 1.0)
    return tf.reduce_sum(means * weights)
