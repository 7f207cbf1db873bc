"""The data of a fit: its windows, and the order in which an epoch takes them."""

from dataclasses import dataclass, replace

import numpy as np

from common.forecast.representation import Representation
from common.network.channels import frozen
from common.prices.windows import Windows, evenly, id_column

VALID_WINDOWS = 12_000
"""The most validation windows, evenly spaced, that an epoch is scored on."""
MANY = 4_000_000
"""Of more windows, an epoch draws its own one by one instead of shuffling them all."""


@dataclass(frozen=True)
class FitData:
    """The windows of one fit, with the network's stock ids."""

    train: Windows
    valid: Windows
    representation: Representation
    stock_ids: dict[str, int]
    """Stock id by symbol; any other symbol is 0, "unknown"."""
    prepared: bool = False
    """Whether `prepare` has been applied."""

    def prepare(self) -> "FitData":
        """Keep only windows in which the price moves, and for validation at most ``VALID_WINDOWS``."""
        if self.prepared:
            return self
        train, valid = (part.take(~frozen(part)) for part in (self.train, self.valid))
        return replace(self, train=train, valid=evenly(valid, VALID_WINDOWS), prepared=True)

    def ids(self, windows: Windows) -> np.ndarray:
        """Stock id of each window, int32, shape (N, 1)."""
        return id_column(windows, self.stock_ids)


def draw(windows: int, count: int, seed: tuple[int, int]) -> np.ndarray:
    """Draw ``count`` positions of ``windows`` in random order; repeat the order if there are fewer."""
    rng = np.random.default_rng(seed)
    if windows > MANY:
        order = rng.choice(windows, min(count, windows), replace=False)
    else:
        order = rng.permutation(np.arange(windows, dtype=np.int32))
    return np.resize(order, count)
