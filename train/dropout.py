"""Dropout of some rows of a batch, as one worker with the whole batch would drop them."""

from typing import Any

import keras
import tensorflow as tf


class PartDropout(keras.layers.Dropout):
    """Draws for the whole batch, so that workers with parts of it drop together what one would alone."""

    def __init__(self, *args: Any, part: slice = slice(None), batch: int = 1, **options: Any) -> None:
        super().__init__(*args, **options)
        self._part, self._batch = part, batch

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """``inputs`` (n, ...) are rows ``part`` of a batch of ``batch`` rows."""
        if not training:
            return inputs
        ones = tf.ones([self._batch, *inputs.shape[1:]], inputs.dtype)
        return inputs * super().call(ones, training=True)[self._part]


def with_part_dropout(network: keras.Model, part: slice, batch: int) -> keras.Model:
    """A copy of the network's layers, with weights of their own, that drops as `PartDropout` does."""

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.Dropout):
            return PartDropout(**layer.get_config(), part=part, batch=batch)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=copied)
