"""The networks: stock embedding + stacked LSTM over the window. The one Keras module below training."""

import keras
import numpy as np
from scipy.special import ndtri

from common.model.mixture import TAUS
from common.model.presets import NetworkConfig, NetworkShape


def build_network(
    shape: NetworkShape,
    config: NetworkConfig,
    *,
    seed: int,
    lstm: type[keras.layers.LSTM] = keras.layers.LSTM,
) -> keras.Model:
    """A fresh network: inputs ``window`` (N, size, C) and ``stock_id`` (N, 1) int32.

    The output weights of a mixture start at zero, so that training starts at the naive forecast: mean
    0, p_move .69, quantiles 1.1 times the normal ones.
    """
    keras.utils.set_random_seed(seed)
    window = keras.Input((shape.size, shape.channels), name="window")
    stock_id = keras.Input((1,), dtype="int32", name="stock_id")
    hidden = window
    penalty = keras.regularizers.L2(config.l2) if config.l2 else None
    for layer, units in enumerate(config.lstm_units):
        last = layer == len(config.lstm_units) - 1
        hidden = lstm(units, return_sequences=not last, kernel_regularizer=penalty)(hidden)
    hidden = keras.layers.Dropout(config.dropout)(hidden)
    stock = keras.layers.Embedding(shape.stock_ids, config.embedding_dim, name="stock_embedding")(stock_id)
    hidden = keras.layers.Concatenate()([hidden, keras.layers.Flatten()(stock)])
    hidden = keras.layers.Dense(config.dense_units, activation="relu")(hidden)
    hidden = keras.layers.Dropout(config.dropout)(hidden)
    if shape.mixture:
        output = _mixture_heads(hidden, shape.horizons)
    else:
        output = keras.layers.Reshape((shape.horizons, 1))(keras.layers.Dense(shape.horizons)(hidden))
    return keras.Model([window, stock_id], output)


def _mixture_heads(hidden: keras.KerasTensor, horizons: int) -> keras.KerasTensor:
    def head(name: str, width: int, bias: np.ndarray, activation: str | None = None) -> keras.KerasTensor:
        dense = keras.layers.Dense(
            horizons * width,
            activation=activation,
            kernel_initializer="zeros",
            bias_initializer=_Fixed(np.tile(bias, horizons)),
            name=name,
        )
        return keras.layers.Reshape((horizons, width))(dense(hidden))

    return keras.layers.Concatenate(axis=-1)(
        [
            head("mean", 1, np.zeros(1)),
            head("p_move", 1, np.full(1, 0.8), "sigmoid"),
            head("quantiles", len(TAUS), 1.1 * ndtri(TAUS)),
            head("median", 1, np.zeros(1)),
        ]
    )


class _Fixed(keras.initializers.Initializer):
    """Start at given values; only the built network is ever saved, never this."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = [float(value) for value in values]

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> object:
        return keras.ops.reshape(keras.ops.convert_to_tensor(self.values, dtype=dtype), shape)

    def get_config(self) -> dict[str, list[float]]:
        return {"values": self.values}


def average_network(
    shape: NetworkShape, config: NetworkConfig, members: list[list[np.ndarray]]
) -> keras.Model:
    """One model that averages the outputs of networks with these weights (mixtures average linearly)."""
    networks = []
    for position, weights in enumerate(members):
        network = build_network(shape, config, seed=0)
        network.name = f"member_{position}"
        network.set_weights(weights)
        networks.append(network)
    if len(networks) == 1:
        return networks[0]
    window = keras.Input((shape.size, shape.channels), name="window")
    stock_id = keras.Input((1,), dtype="int32", name="stock_id")
    outputs = [network([window, stock_id]) for network in networks]
    return keras.Model([window, stock_id], keras.layers.Average()(outputs))
