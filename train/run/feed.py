"""What a fit is given: windows of prices, and the order in which an epoch takes them."""

from dataclasses import dataclass, replace

import numpy as np

from common.forecast.representation import Representation
from common.network.channels import frozen
from common.prices.windows import Windows, id_column

VALID_WINDOWS = 12_000
"""Validation windows, evenly spaced, that an epoch is judged on at most."""
MANY = 4_000_000
"""Of more windows an epoch's are drawn one by one, so that they need not all be shuffled for it."""


@dataclass(frozen=True)
class FitData:
    """Windows of one fit with the network's ids for them."""

    train: Windows
    valid: Windows
    representation: Representation
    stock_ids: dict[str, int]
    """Stock id by symbol; any other symbol is 0, "unknown"."""
    ready: bool = False
    """Already as `made_ready` gives them."""

    def made_ready(self) -> "FitData":
        """Only windows in which the price moves, and of validation no more than an epoch is judged on."""
        if self.ready:
            return self
        train, valid = (part.take(~frozen(part)) for part in (self.train, self.valid))
        return replace(self, train=train, valid=evenly(valid, VALID_WINDOWS), ready=True)

    def ids(self, windows: Windows) -> np.ndarray:
        """Stock id of each window, int32, shape (N, 1)."""
        return id_column(windows, self.stock_ids)


def drawn(windows: int, count: int, seed: tuple[int, int]) -> np.ndarray:
    """``count`` of that many windows in random order; again and again if there are fewer."""
    rng = np.random.default_rng(seed)
    if windows > MANY:
        order = rng.choice(windows, min(count, windows), replace=False)
    else:
        order = rng.permutation(np.arange(windows, dtype=np.int32))
    return np.resize(order, count)


def evenly(windows: Windows, most: int) -> Windows:
    """At most so many of the windows, evenly spaced."""
    return windows.take(np.unique(np.linspace(0, len(windows) - 1, min(len(windows), most)).astype(np.int64)))
