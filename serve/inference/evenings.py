"""Windows of past evenings on which part of what the panel holds was not known yet."""

import threading
from collections import OrderedDict
from dataclasses import fields

import numpy as np
import pandas as pd

from common.exchange.calendar import Day
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import MARKET, Series, market_days, series_from_histories, sessions_of
from common.prices.windows import Windows, last_window

KEPT_BYTES = 128 * 2**20
"""Memory that the windows of past evenings may take in a router: about 25,000 windows of 60 days."""
MARKETS_KEPT = 16
"""Evenings whose market columns are kept, about 100 kB each."""
TOGETHER = 32
"""Symbols whose windows are cut together, which costs each of them a third."""
OVERHEAD = 2_500
"""Bytes of the objects around the arrays of one window."""
_ARRAYS = tuple(each.name for each in fields(Series) if each.name != "symbols")


class HistoricalWindows:
    """Windows as `Panel.as_of` gives them, cut for a few symbols at a time and kept; thread-safe.

    The market columns of an evening are computed only for the sessions that differ from what is known now,
    those since the oldest close that was still missing. No step works on the whole panel, so that other
    threads, such as the event loop of a router, do not wait for long, however large the market is.

    Parameters
    ----------
    market : of the whole panel, as `market_days` gives it
    most_bytes : bound on the windows kept; the ones used longest ago are dropped first
    """

    def __init__(
        self, panel: Panel, spec: WindowSpec, market: pd.DataFrame, *, most_bytes: int = KEPT_BYTES
    ) -> None:
        self._panel, self._spec, self._market, self._most_bytes = panel, spec, market, most_bytes
        dates, known = panel.frame["date"].to_numpy(), panel.frame["known"].to_numpy()
        self._sessions = sessions_of(panel)
        late = known > dates
        self._late_dates, self._late_known = dates[late], known[late]
        self._edges = np.append(np.flatnonzero(~panel.frame["symbol"].duplicated()), len(panel.frame))
        self._positions = {symbol: position for position, symbol in enumerate(panel.symbols)}
        self._windows: OrderedDict[tuple[Day, str], Windows | None] = OrderedDict()
        self._markets: OrderedDict[Day, tuple[pd.DataFrame, np.ndarray]] = OrderedDict()
        self._lock, self._computing = threading.Lock(), threading.Lock()
        self.bytes = 0
        """Memory of the windows that are kept."""

    def __contains__(self, key: tuple[Day, str]) -> bool:
        """Whether the window of an evening and symbol is kept."""
        return key in self._windows

    def window(self, evening: Day, symbol: str) -> Windows | None:
        """The newest window of a symbol known that evening; None if there were too few closes."""
        key = (evening, symbol)
        with self._lock:
            if key in self._windows:
                self._windows.move_to_end(key)
                return self._windows[key]
        windows = self._cut(evening, symbol)
        with self._lock:
            for each in windows:
                self._keep((evening, each), windows[each])
            self._drop_oldest()
        return windows[symbol]

    def _keep(self, key: tuple[Day, str], windows: Windows | None) -> None:
        if key not in self._windows:
            self._windows[key] = windows
            self.bytes += _size(windows)

    def _drop_oldest(self) -> None:
        while self.bytes > self._most_bytes:
            self.bytes -= _size(self._windows.popitem(last=False)[1])

    def _cut(self, evening: Day, symbol: str) -> dict[str, Windows | None]:
        """The windows of a symbol and of those beside it in the panel."""
        (market, sessions), position = self._market_of(evening), self._positions[symbol]
        first = position - position % TOGETHER
        symbols = self._panel.symbols[first : first + TOGETHER]
        start, stop = self._edges[first], self._edges[first + len(symbols)]
        known = Panel(self._panel.frame.iloc[start:stop], self._panel.source).as_of(evening.item())
        windows: dict[str, Windows | None] = dict.fromkeys(symbols)
        for each in known.symbols:
            history = known.history(each).tail(self._spec.size)
            if len(history) == self._spec.size and not each.startswith("^"):
                windows[each] = last_window(
                    series_from_histories({each: history}, market, sessions), self._spec
                )
        return windows

    def _market_of(self, evening: Day) -> tuple[pd.DataFrame, np.ndarray]:
        """``market_days`` and ``sessions_of`` what ``panel.as_of(evening)`` holds."""
        with self._computing:
            if evening not in self._markets:
                self._markets[evening] = self._compute_market(evening)
                while len(self._markets) > MARKETS_KEPT:
                    self._markets.popitem(last=False)
            self._markets.move_to_end(evening)
            return self._markets[evening]

    def _compute_market(self, evening: Day) -> tuple[pd.DataFrame, np.ndarray]:
        """Market columns and sessions: the panel's up to the oldest close still missing, those after it anew.

        A day's columns depend on its rows and on each symbol's row before: what was missing changes neither
        before it was missing.
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
        """Rows dated ``since`` to ``evening``, and of each of their symbols the row before."""
        dates = self._panel.frame["date"].to_numpy()
        rows = np.flatnonzero((dates >= since) & (dates <= evening))
        owner = np.searchsorted(self._edges, rows, side="right")
        first = rows[np.flatnonzero(np.diff(owner, prepend=0))]
        return np.union1d(rows, np.setdiff1d(first, self._edges) - 1)


def _size(windows: Windows | None) -> int:
    """Bytes of a window that has a series of its own."""
    if windows is None:
        return OVERHEAD // 10
    series = (getattr(windows.series, name) for name in _ARRAYS)
    return OVERHEAD + sum(
        int(array.nbytes) for array in (*series, windows.end, windows.symbol, windows.counted)
    )
