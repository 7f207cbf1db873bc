"""Tick sizes of the exchange."""

import numpy as np


def tick(cents: np.ndarray) -> np.ndarray:
    """Return ticks in cents: .01 KES below 5 KES, .02 below 10, .05 below 50, .25 below 500, else 1."""
    return np.select([cents < 500, cents < 1000, cents < 5000, cents < 50000], [1, 2, 5, 25], 100)


def round_to_tick(price: np.ndarray) -> np.ndarray:
    """Round prices in KES to the nearest tick, at least one tick; same shape."""
    price = np.asarray(price, dtype=np.float64)
    step = tick(price * 100) / 100
    return np.round(np.maximum(np.round(price / step), 1) * step, 2)
