"""Prices of stocks: the newest of all of them, and the history of one with its past forecasts."""

import datetime as dt

from serve.schemas.forecast import Horizon, Model


class Quote(Model):
    """One stock at the end of the prices in the release; KES, null if unknown."""

    symbol: str
    name: str
    sector: str
    last_date: dt.date | None
    last_price: float | None
    change_percent: float | None
    """From the previous to the last close; 0 on the day of a split or bonus."""
    closes: list[float]
    """Up to 30, oldest first, adjusted for splits and bonuses."""
    flags: list[str]
    """Flags of the performance matrix, such as ``frozen`` or ``stale``."""


class MarketPage(Model):
    """Every stock of the exchange at the end of the prices in the release."""

    release: str
    synthetic: bool
    data_end: dt.date
    quotes: list[Quote]


class HistoryDay(Model):
    """One session; KES, null if unknown."""

    date: dt.date
    close: float
    low: float | None
    high: float | None
    volume: float | None
    flags: list[str]
    """Defects and repairs of the row, such as ``REPAIRED``."""


class PastForecast(Model):
    """A forecast from the test part beside the actual price; KES."""

    cutoff: dt.date
    target_date: dt.date
    last_price: float
    published: float
    actual: float
    lower: float | None
    """Lower end of the 90 % interval."""
    upper: float | None


class HistoryPage(Model):
    """Prices of one stock and its forecasts at one horizon in the test part, oldest first."""

    symbol: str
    name: str
    horizon: Horizon
    prices: list[HistoryDay]
    forecasts: list[PastForecast]
    release: str
