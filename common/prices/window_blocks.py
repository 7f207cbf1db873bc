"""Windows of many symbols, cut by blocks of symbols, so that only one block is in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from common.engine import even_blocks
from common.presets import WindowSpec
from common.prices.market_days import market_days
from common.prices.panel import Panel
from common.prices.series import series_from_panel
from common.prices.windows import Windows, make_windows

BLOCK_SYMBOLS = 256
"""Symbols per block of work."""


@dataclass(frozen=True)
class WindowBlocks:
    """The windows of ``symbols``, which the panel has rows of; every iteration cuts them again.

    The windows of a block lie in a series of its symbols alone. There is at least one block.
    """

    panel: Panel
    symbols: tuple[str, ...]
    spec: WindowSpec
    until: np.datetime64 | None = None
    """Last cutoff."""

    @property
    def slices(self) -> Sequence[slice]:
        """The positions in ``symbols`` of each block."""
        return even_blocks(len(self.symbols), BLOCK_SYMBOLS)

    def __iter__(self) -> Iterator[Windows]:
        for block in self.slices:
            series = series_from_panel(self.panel, self.symbols[block], self._market)
            windows = make_windows(series, self.spec)
            yield windows if self.until is None else windows.take(windows.cutoff <= self.until)

    @cached_property
    def _market(self) -> pd.DataFrame:
        return market_days(self.panel)
