"""Build the networks: stacked LSTM layers over the window, beside a stock embedding.

Outside training, this is the only module that imports Keras.
"""

import keras
import numpy as np
from scipy.special import ndtri

from common.network.mixture import TAUS
from common.presets import NetworkConfig, NetworkShape

HEADS = {"mean": 1, "p_move": 1, "quantiles": len(TAUS), "median": 1}
"""Outputs of a mixture in their order, with the numbers each has per horizon."""
START = {"p_move": np.full(1, 0.8), "quantiles": 1.1 * ndtri(TAUS)}
"""Initial biases of a mixture. They are assigned, because loading a saved network would need a custom
initializer."""


def build_network(
    shape: NetworkShape,
    config: NetworkConfig,
    *,
    seed: int,
    lstm: type[keras.layers.LSTM] = keras.layers.LSTM,
) -> keras.Model:
    """Build an untrained network with inputs ``window`` (N, size, C) and ``stock_id`` (N, 1) int32.

    A mixture's output kernels start at zero, so training starts at the naive forecast: mean 0,
    p_move .69, quantiles 1.1 times those of the standard normal.
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
    network = keras.Model([window, stock_id], output)
    if shape.mixture:
        for name, bias in START.items():
            network.get_layer(name).bias.assign(np.tile(bias, shape.horizons))
    return network


def _mixture_heads(hidden: keras.KerasTensor, horizons: int) -> keras.KerasTensor:
    def head(name: str, width: int) -> keras.KerasTensor:
        dense = keras.layers.Dense(
            horizons * width,
            activation="sigmoid" if name == "p_move" else None,
            kernel_initializer="zeros",
            name=name,
        )
        return keras.layers.Reshape((horizons, width))(dense(hidden))

    return keras.layers.Concatenate(axis=-1)([head(name, width) for name, width in HEADS.items()])


def average_network(
    shape: NetworkShape, config: NetworkConfig, members: list[list[np.ndarray]]
) -> keras.Model:
    """Build a model that averages the outputs of networks with these weights."""
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


def networks_of(average: keras.Model) -> list[keras.Model]:
    """Return the networks that `average_network` averages, in order."""
    return [layer for layer in average.layers if isinstance(layer, keras.Model)] or [average]
