"""Age of the prices, and the number of stale and frozen stocks."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.exchange.calendar import Sessions
from common.exchange.universe import Universe
from common.forecast.confidence import STALE_SESSIONS
from common.network.channels import frozen
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import series_of_universe
from common.prices.windows import last_window


@dataclass(frozen=True)
class Freshness:
    """The state of the prices on one day."""

    data_end: dt.date
    """Last session with prices."""
    due: dt.date
    """Last day whose closes should be known."""
    sessions_old: int
    """Sessions after ``data_end`` up to ``due``; beyond the data, weekdays that are no public holiday."""
    counters: int
    without_data: tuple[str, ...]
    stale: tuple[str, ...]
    """Stocks whose last price is at least ``STALE_SESSIONS`` sessions old."""
    newly_stale: tuple[str, ...]
    """Stale stocks that were not stale at the release."""
    frozen: tuple[str, ...]
    """Stocks whose price did not move in their last window."""
    frozen_share: float
    """Share of the stocks that have a window."""
    frozen_share_then: float
    """The same at the release."""
    unknown_closes: int
    """Stocks whose last close was not known that evening, because the day was copied."""


def freshness(
    panel: Panel,
    universe: Universe,
    spec: WindowSpec,
    matrix: pd.DataFrame,
    now: dt.datetime,
) -> Freshness:
    """Return the state of a panel's prices.

    ``matrix`` is the release's performance matrix, whose ``flags`` list what was stale or frozen then.
    """
    sessions = Sessions(panel.dates.to_numpy().astype("datetime64[D]"), universe.country)
    due = universe.clock.last_due(now)
    series = series_of_universe(panel, universe)
    lasts = series.offsets[1:] - 1
    behind = {
        symbol: sessions.between(series.dates[row], sessions.last)
        for symbol, row in zip(series.symbols, lasts, strict=True)
    }
    stale = tuple(symbol for symbol, count in behind.items() if count >= STALE_SESSIONS)
    flags = matrix.set_index("symbol")["flags"].fillna("")
    was_stale = set(flags.index[flags.str.contains("stale|no data")])
    enough = [s for s, size in zip(series.symbols, np.diff(series.offsets), strict=True) if size >= spec.size]
    frozen_now = _frozen(panel, enough, spec)
    judged = flags[~flags.str.contains("no data|too short")]
    on_last = series.dates[lasts] == sessions.last
    return Freshness(
        data_end=sessions.last.item(),
        due=due,
        sessions_old=sessions.between(sessions.last, np.datetime64(due)),
        counters=len(universe.stocks),
        without_data=tuple(s for s in universe.symbols if s not in behind),
        stale=stale,
        newly_stale=tuple(symbol for symbol in stale if symbol not in was_stale),
        frozen=frozen_now,
        frozen_share=len(frozen_now) / len(enough) if enough else 0.0,
        frozen_share_then=float(judged.str.contains("frozen").mean()) if len(judged) else 0.0,
        unknown_closes=int((on_last & ~series.known[lasts]).sum()),
    )


def _frozen(panel: Panel, symbols: list[str], spec: WindowSpec) -> tuple[str, ...]:
    if not symbols:
        return ()
    universe = Universe.from_symbols(symbols)
    series = series_of_universe(panel, universe)
    flags = frozen(last_window(series, spec))
    return tuple(symbol for symbol, flag in zip(series.symbols, flags, strict=True) if flag)
