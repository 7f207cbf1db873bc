"""Windows as of a past evening on which some closes that the panel holds today were not known yet."""

import functools
import threading
from collections import OrderedDict
from dataclasses import fields

import numpy as np
import pandas as pd

from common.exchange.calendar import Day
from common.presets import WindowSpec
from common.prices.market_days import MARKET, market_days
from common.prices.panel import Panel
from common.prices.series import Series, series_from_histories, sessions_of
from common.prices.windows import Windows, last_window

CACHE_BYTES = 128 * 2**20
"""Memory that a router spends on cached windows: about 25,000 windows of 60 days."""
CACHED_MARKETS = 16
"""Evenings whose market columns are cached, about 100 kB each."""
TOGETHER = 32
"""Symbols whose windows are cut together, at a third of the cost for each."""
OVERHEAD = 2_500
"""Bytes of the Python objects around the arrays of one window."""
_ARRAYS = tuple(field.name for field in fields(Series) if field.name != "symbols")


class HistoricalWindows:
    """Cache of windows cut from `Panel.as_of`, a few symbols at a time; thread-safe.

    An evening's market columns are recomputed only for the sessions since the oldest close that was missing.
    No step works on the whole panel, so that other threads, such as a router's event loop, wait briefly even
    if the market is large.

    Parameters
    ----------
    market : `market_days` of the whole panel
    max_bytes : bound on the cached windows; the least recently used are dropped
    """

    def __init__(
        self, panel: Panel, spec: WindowSpec, market: pd.DataFrame, *, max_bytes: int = CACHE_BYTES
    ) -> None:
        self._panel, self._spec, self._market, self._max_bytes = panel, spec, market, max_bytes
        dates, known = panel.frame["date"].to_numpy(), panel.frame["known"].to_numpy()
        self._sessions = sessions_of(panel)
        late = known > dates
        self._late_dates, self._late_known = dates[late], known[late]
        self._edges = np.append(np.flatnonzero(~panel.frame["symbol"].duplicated()), len(panel.frame))
        self._positions = {symbol: position for position, symbol in enumerate(panel.symbols)}
        self._windows: OrderedDict[tuple[Day, str], Windows | None] = OrderedDict()
        self._cached_market = functools.lru_cache(CACHED_MARKETS)(self._compute_market)
        self._lock, self._computing = threading.Lock(), threading.Lock()
        self.bytes = 0
        """Memory of the cached windows."""

    def __contains__(self, key: tuple[Day, str]) -> bool:
        """Whether the window of an evening and symbol is cached."""
        return key in self._windows

    def window(self, evening: Day, symbol: str) -> Windows | None:
        """Return the newest window of a symbol as of an evening; None if there were too few closes."""
        key = (evening, symbol)
        with self._lock:
            if key in self._windows:
                self._windows.move_to_end(key)
                return self._windows[key]
        windows = self._cut(evening, symbol)
        with self._lock:
            for name, window in windows.items():
                if (evening, name) not in self._windows:
                    self._windows[evening, name] = window
                    self.bytes += _size(window)
            while self.bytes > self._max_bytes:
                self.bytes -= _size(self._windows.popitem(last=False)[1])
        return windows[symbol]

    def _cut(self, evening: Day, symbol: str) -> dict[str, Windows | None]:
        """Cut the windows of a symbol and of its neighbours in the panel."""
        (market, sessions), position = self._market_of(evening), self._positions[symbol]
        first = position - position % TOGETHER
        symbols = self._panel.symbols[first : first + TOGETHER]
        start, stop = self._edges[first], self._edges[first + len(symbols)]
        panel = Panel(self._panel.frame.iloc[start:stop], self._panel.source).as_of(evening.item())
        windows: dict[str, Windows | None] = dict.fromkeys(symbols)
        for name in panel.symbols:
            history = panel.history(name).tail(self._spec.size)
            if len(history) == self._spec.size and not name.startswith("^"):
                windows[name] = last_window(
                    series_from_histories({name: history}, market, sessions), self._spec
                )
        return windows

    def _market_of(self, evening: Day) -> tuple[pd.DataFrame, np.ndarray]:
        """Return `market_days` and `sessions_of` for ``panel.as_of(evening)``."""
        with self._computing:
            return self._cached_market(evening)

    def _compute_market(self, evening: Day) -> tuple[pd.DataFrame, np.ndarray]:
        """Combine the panel's market columns up to the oldest missing close with recomputed ones after it.

        A day's columns depend on its rows and on each symbol's row before, so that a missing close does not
        change the days before it.
        """
        missing = (self._late_dates <= evening) & (evening < self._late_known)
        if not missing.any():
            return self._market[self._market.index <= evening], self._sessions[self._sessions <= evening]
        since = self._late_dates[missing].min()
        before, rows = self._market[self._market.index < since], self._rows_since(since, evening)
        recent = Panel(self._panel.frame.iloc[rows], self._panel.source).as_of(evening.item())
        days = market_days(recent).reindex(columns=list(MARKET))
        sessions = sessions_of(recent)
        return (
            pd.concat([before, days[days.index >= since]]),
            np.concatenate([self._sessions[self._sessions < since], sessions[sessions >= since]]),
        )

    def _rows_since(self, since: np.datetime64, evening: Day) -> np.ndarray:
        """Return the rows dated ``since`` to ``evening``, and for each of their symbols the row before."""
        dates = self._panel.frame["date"].to_numpy()
        rows = np.flatnonzero((dates >= since) & (dates <= evening))
        owner = np.searchsorted(self._edges, rows, side="right")
        first = rows[np.flatnonzero(np.diff(owner, prepend=0))]
        return np.union1d(rows, np.setdiff1d(first, self._edges) - 1)


def _size(windows: Windows | None) -> int:
    """Return the bytes of a window over a series of its own rows."""
    if windows is None:
        return OVERHEAD // 10
    series = (getattr(windows.series, name) for name in _ARRAYS)
    return OVERHEAD + sum(
        int(array.nbytes) for array in (*series, windows.end, windows.symbol, windows.counted)
    )
