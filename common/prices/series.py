"""Histories of many symbols as flat arrays that windows are cut from."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd

from common.archive.actions import action_steps
from common.archive.flags import Flag
from common.engine import even_blocks
from common.exchange.universe import Universe
from common.prices.market_days import MARKET, known_rows, market_days, true_rows
from common.prices.panel import Panel

MAX_SESSIONS = 1 << 32
"""Upper bound on the number of sessions, see `Series.keys`."""
LONGEST_GAP = 5
"""Most sessions in a row that a symbol may lack; the step over a longer gap is no return."""
BLOCK_SYMBOLS = 256
"""Symbols whose rows are copied from the panel at a time."""
PRICES = ("close", "high", "low", "volume")
_PANEL_COLUMNS = ["date", *PRICES, "flags", "known"]


@dataclass(frozen=True)
class Series:
    """Rows of S symbols, R in all, one symbol after the other, oldest first."""

    symbols: tuple[str, ...]
    offsets: np.ndarray
    """int64, shape (S + 1,): symbol ``s`` has rows ``offsets[s]:offsets[s + 1]``."""
    dates: np.ndarray
    """datetime64[D], shape (R,), like all fields below."""
    session: np.ndarray
    """int32: position of the date among the market's sessions."""
    close: np.ndarray
    """float64, KES."""
    log_return: np.ndarray
    """float32: log return into the row; 0 on a symbol's first row and where ``action`` is true."""
    log_high: np.ndarray
    """float32: log(high / close), NaN where unknown."""
    log_low: np.ndarray
    """float32: log(low / close), NaN where unknown."""
    log_volume: np.ndarray
    """float32: log(1 + shares traded), NaN where unknown."""
    market: np.ndarray
    """float32: log return of the market index into the row's date, NaN where unknown."""
    breadth: np.ndarray
    """float32: mean log return of all stocks into the row's date, NaN where unknown."""
    active: np.ndarray
    """float32: share of the stocks whose price changed on the row's date, NaN where unknown."""
    action: np.ndarray
    """bool: the step into the row is no return but a split, a bonus or a gap of more than ``LONGEST_GAP``
    sessions; windows before it have no target after it."""
    known: np.ndarray
    """bool: the close was known on the evening of its own date, so the row can be a cutoff."""
    true: np.ndarray
    """bool: the close is a real one, so the row can be a target."""

    def rows(self, symbol: str) -> slice:
        """Return the symbol's rows."""
        position = self._positions[symbol]
        return slice(int(self.offsets[position]), int(self.offsets[position + 1]))

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The arrays of shape (R,) by name."""
        names = (field.name for field in fields(self) if field.name not in ("symbols", "offsets"))
        return {name: getattr(self, name) for name in names}

    @cached_property
    def keys(self) -> np.ndarray:
        """Sort key of each row: its symbol's position times ``MAX_SESSIONS`` plus its session; int64."""
        symbol = np.repeat(np.arange(len(self.symbols), dtype=np.int64), np.diff(self.offsets))
        return np.asarray(symbol * MAX_SESSIONS + self.session)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {symbol: position for position, symbol in enumerate(self.symbols)}


def series_from_panel(panel: Panel, symbols: tuple[str, ...], market: pd.DataFrame | None = None) -> Series:
    """Build the series of ``symbols``; raises UnknownSymbol for one that the panel lacks.

    Parameters
    ----------
    market : ``market_days(panel)`` if it is computed already
    """
    for symbol in (name for name in symbols if name not in panel.spans):
        panel.history(symbol)  # raises UnknownSymbol with the nearest symbols
    market = market_days(panel) if market is None else market
    sessions, parts = sessions_of(panel), []
    for block in even_blocks(len(symbols), BLOCK_SYMBOLS):
        spans = np.array([panel.spans[name] for name in symbols[block]], dtype=np.int64).reshape(-1, 2)
        offsets = np.concatenate([[0], np.cumsum(spans[:, 1] - spans[:, 0])])
        rows = np.arange(offsets[-1]) + np.repeat(spans[:, 0] - offsets[:-1], np.diff(offsets))
        frame = panel.frame[_PANEL_COLUMNS].iloc[rows]
        parts.append(_build(symbols[block], offsets, frame, market, sessions))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: list[Series]) -> Series:
    """Join the series of consecutive symbols; ``parts`` is emptied, so that no column is in memory twice."""
    symbols = tuple(symbol for part in parts for symbol in part.symbols)
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    columns = [part.columns for part in parts]
    parts.clear()
    joined = {name: np.concatenate([part.pop(name) for part in columns]) for name in [*columns[0]]}
    return Series(symbols=symbols, offsets=np.concatenate([[0], np.cumsum(lengths)]), **joined)


def series_of_universe(panel: Panel, universe: Universe, market: pd.DataFrame | None = None) -> Series:
    """Build the series of the universe's stocks that the panel has rows of, in the universe's order."""
    return series_from_panel(panel, tuple(s for s in universe.symbols if s in panel.spans), market)


def sessions_of(panel: Panel) -> np.ndarray:
    """Return all dates on which any symbol has a row; datetime64[D], ascending."""
    return np.asarray(panel.dates, dtype="datetime64[D]")


def series_from_histories(
    histories: dict[str, pd.DataFrame], market: pd.DataFrame, sessions: np.ndarray | None = None
) -> Series:
    """Build the series of histories (a panel's rows of one symbol, oldest first).

    Parameters
    ----------
    market : result of `market_days`, or ``UNKNOWN_MARKET``
    sessions : result of `sessions_of`; default: the dates of these histories
    """
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in histories.values()])]).astype(np.int64)
    rows = pd.concat([rows[_PANEL_COLUMNS] for rows in histories.values()], ignore_index=True)
    if sessions is None:
        sessions = np.unique(rows["date"].to_numpy().astype("datetime64[D]"))
    return _build(tuple(histories), offsets, rows, market, sessions)


def _build(
    symbols: tuple[str, ...],
    offsets: np.ndarray,
    rows: pd.DataFrame,
    market: pd.DataFrame,
    sessions: np.ndarray,
) -> Series:
    day, days = pd.factorize(rows["date"])
    market = market.reindex(days)
    dates = rows["date"].to_numpy().astype("datetime64[D]")
    prices = {name: rows[name].to_numpy(np.float64, copy=name == "close") for name in PRICES}
    session = np.searchsorted(sessions, dates)
    return Series(
        symbols=symbols,
        offsets=offsets,
        dates=dates,
        **_price_columns(prices, rows["flags"].to_numpy(), session, offsets),
        **{name: market[name].to_numpy(np.float32)[day] for name in MARKET},
        known=known_rows(rows),
        true=true_rows(rows),
    )


def series_from_prices(
    symbol: str,
    dates: np.ndarray,
    close: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    volume: np.ndarray,
    session: np.ndarray | None = None,
) -> Series:
    """Build the series of prices that a client sent; the market columns are unknown.

    The result equals that of `series_from_histories` with ``UNKNOWN_MARKET``, without the cost of pandas.

    Parameters
    ----------
    dates : datetime64[D], shape (T,), ascending
    close : float64, shape (T,), KES, positive
    high, low, volume : float64, shape (T,), NaN where unknown
    session : int, shape (T,)
        Position of each date among the market's sessions; default: consecutive.
    """
    session = np.arange(len(close)) if session is None else session
    offsets = np.array([0, len(close)], dtype=np.int64)
    unknown = np.full(len(close), np.nan, dtype=np.float32)
    prices = {"close": close, "high": high, "low": low, "volume": volume}
    return Series(
        symbols=(symbol,),
        offsets=offsets,
        dates=dates,
        **_price_columns(prices, np.zeros(len(close), dtype=np.int32), session, offsets),
        **dict.fromkeys(MARKET, unknown),
        known=np.ones(len(close), dtype=bool),
        true=np.ones(len(close), dtype=bool),
    )


def _price_columns(
    prices: dict[str, np.ndarray], flags: np.ndarray, session: np.ndarray, offsets: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute the columns that follow from ``PRICES``; a symbol's first row has no return."""
    close = prices["close"]
    first = offsets[:-1][np.diff(offsets) > 0]
    action, log_close = action_steps(close, flags), np.log(close)
    action |= np.diff(session, prepend=session[:1]) > LONGEST_GAP + 1
    action[first] = (flags[first] & int(Flag.LISTED)) != 0
    log_return = np.diff(log_close, prepend=log_close[:1])
    log_return[action] = 0.0
    log_return[first] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "session": session.astype(np.int32),
            "close": close,
            "log_return": log_return.astype(np.float32),
            "log_high": (np.log(prices["high"]) - log_close).astype(np.float32),
            "log_low": (np.log(prices["low"]) - log_close).astype(np.float32),
            "log_volume": np.log1p(prices["volume"]).astype(np.float32),
            "action": action,
        }
