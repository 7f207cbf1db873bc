"""Age of the prices, and the number of stale and frozen stocks."""

import datetime as dt

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
from serve.schemas.live import PriceAge


class Freshness(PriceAge):
    """The state of the prices on one day."""

    without_data: list[str]
    """Stocks without any price."""
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
    stale = [symbol for symbol, count in behind.items() if count >= STALE_SESSIONS]
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
        without_data=[symbol for symbol in universe.symbols if symbol not in behind],
        stale=stale,
        newly_stale=[symbol for symbol in stale if symbol not in was_stale],
        frozen=frozen_now,
        frozen_share=len(frozen_now) / len(enough) if enough else 0.0,
        frozen_share_then=float(judged.str.contains("frozen").mean()) if len(judged) else 0.0,
        unknown_closes=int((on_last & ~series.known[lasts]).sum()),
    )


def _frozen(panel: Panel, symbols: list[str], spec: WindowSpec) -> list[str]:
    if not symbols:
        return []
    series = series_of_universe(panel, Universe.from_symbols(symbols))
    flags = frozen(last_window(series, spec))
    return [symbol for symbol, flag in zip(series.symbols, flags, strict=True) if flag]
