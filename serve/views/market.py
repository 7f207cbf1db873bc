"""The newest session of every stock."""

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

from common.exchange.universe import Stock
from serve.schemas.forecast import Model

if TYPE_CHECKING:
    from serve.inference.loaded_release import LoadedRelease

SHOWN = 30
"""Closes of the small chart."""


class Quote(Model):
    """One stock at the end of the release's prices; KES, null where unknown."""

    symbol: str
    name: str
    sector: str
    last_date: dt.date | None
    last_price: float | None
    change_percent: float | None
    """Of the last close against the one before; 0 into a split or bonus."""
    closes: list[float]
    """Up to 30, oldest first, split and bonus steps taken out."""
    flags: list[str]
    """Of the performance matrix, such as ``frozen`` or ``stale``."""


class MarketPage(Model):
    """Every stock of the exchange, as the release's prices end."""

    release: str
    synthetic: bool
    data_end: dt.date
    quotes: list[Quote]


def market_page(loaded: "LoadedRelease") -> MarketPage:
    """The newest closes of every counter."""
    return MarketPage(
        release=loaded.release.id,
        synthetic=loaded.panel.synthetic,
        data_end=loaded.data_end,
        quotes=[_quote(loaded, stock) for stock in loaded.universe.stocks],
    )


def _quote(loaded: "LoadedRelease", stock: Stock) -> Quote:
    series, row = loaded.history.series, loaded.matrix.get(stock.symbol)
    rows = series.rows(stock.symbol) if stock.symbol in series.symbols else slice(0, 0)
    newest = slice(max(rows.start, rows.stop - SHOWN), rows.stop)
    there = rows.stop > rows.start
    close = series.close[newest]
    returns = series.log_return[newest].astype(float)
    adjusted = close[-1:] * np.exp(returns.cumsum() - returns.sum())
    return Quote(
        symbol=stock.symbol,
        name=stock.name,
        sector=stock.sector,
        last_date=series.dates[rows.stop - 1].item() if there else None,
        last_price=float(close[-1]) if there else None,
        change_percent=round(100 * float(np.expm1(returns[-1])), 4) if len(close) > 1 else None,
        closes=[round(float(each), 4) for each in adjusted],
        flags=[flag for flag in row.flags.split(", ") if flag] if row else [],
    )
