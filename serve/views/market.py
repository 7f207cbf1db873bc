"""The newest session of every stock."""

import numpy as np

from common.exchange.universe import Stock
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.market import MarketPage, Quote

SHOWN = 30
"""Number of closes in the small chart."""


def market_page(loaded: LoadedRelease) -> MarketPage:
    """Return the newest closes of every stock."""
    return MarketPage(
        release=loaded.release.id,
        synthetic=loaded.panel.synthetic,
        data_end=loaded.data_end,
        quotes=[_quote(loaded, stock) for stock in loaded.universe.stocks],
    )


def _quote(loaded: LoadedRelease, stock: Stock) -> Quote:
    series, row = loaded.history.series, loaded.matrix.get(stock.symbol)
    rows = series.rows(stock.symbol) if stock.symbol in series.symbols else slice(0, 0)
    newest = slice(max(rows.start, rows.stop - SHOWN), rows.stop)
    has_prices = rows.stop > rows.start
    close = series.close[newest]
    returns = series.log_return[newest].astype(float)
    adjusted = close[-1:] * np.exp(returns.cumsum() - returns.sum())
    return Quote(
        symbol=stock.symbol,
        name=stock.name,
        sector=stock.sector,
        last_date=series.dates[rows.stop - 1].item() if has_prices else None,
        last_price=float(close[-1]) if has_prices else None,
        change_percent=round(100 * float(np.expm1(returns[-1])), 4) if len(close) > 1 else None,
        closes=[round(float(price), 4) for price in adjusted],
        flags=[flag for flag in row.flags.split(", ") if flag] if row else [],
    )
