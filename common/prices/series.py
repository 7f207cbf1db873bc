"""Many symbols' histories side by side, as the flat arrays that windows are cut from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from common.archive.actions import action_steps
from common.archive.flags import Flag
from common.archive.layouts import MARKET_INDEX
from common.errors import BadPrices
from common.exchange.universe import Universe
from common.prices.panel import Panel

MARKET = ("market", "breadth", "active")
UNKNOWN_MARKET = pd.DataFrame(columns=list(MARKET), index=pd.DatetimeIndex([]), dtype=float)
SESSIONS = 1 << 32
"""More than there can be."""
_NEEDED = ["date", "close", "low", "high", "volume", "flags", "known"]
_NO_ROWS = pd.DataFrame(columns=_NEEDED, dtype="float64").astype(
    {"date": "datetime64[us]", "flags": "int32", "known": "datetime64[us]"}
)
STEP = 0.1
"""The exchange's daily band: no stock counts for more in the market's breadth."""
LONGEST_GAP = 5
"""Sessions in a row that a symbol may lack; the step over a longer gap is no return. Of Nairobi's stocks from
2013 to 2024 one has a gap: MSC, of 554 sessions."""


@dataclass(frozen=True)
class Series:
    """Rows of several symbols, one symbol after the other, oldest first.

    Attributes
    ----------
    symbols : tuple of str, S
    offsets : int64, shape (S + 1,)
        Symbol ``s`` owns rows ``offsets[s]:offsets[s + 1]``.
    dates : datetime64[D], shape (R,)
    session : int32, shape (R,)
        Position of the date among the market's sessions: two rows are as many sessions apart as these differ.
    close : float64, shape (R,), KES
    log_return : float32, shape (R,)
        Log return into the row; 0 on a symbol's first row and where ``action`` is true.
    log_high, log_low : float32, shape (R,)
        log(high / close), log(low / close); NaN where unknown.
    log_volume : float32, shape (R,)
        log(1 + shares traded); NaN where unknown.
    market : float32, shape (R,)
        Log return of the market index into the row's date; NaN where unknown.
    breadth, active : float32, shape (R,)
        Mean log return of all stocks into the row's date, and the share that moved; NaN where unknown.
    action : bool, shape (R,)
        The step into the row is a split or bonus, or lies across a gap of more than ``LONGEST_GAP`` sessions:
        it is no return, and no target lies beyond it.
    known : bool, shape (R,)
        The close was known on the evening of its own date: the row may be a cutoff.
    true : bool, shape (R,)
        The close is a real one: the row may be a target.
    """

    symbols: tuple[str, ...]
    offsets: np.ndarray
    dates: np.ndarray
    session: np.ndarray
    close: np.ndarray
    log_return: np.ndarray
    log_high: np.ndarray
    log_low: np.ndarray
    log_volume: np.ndarray
    market: np.ndarray
    breadth: np.ndarray
    active: np.ndarray
    action: np.ndarray
    known: np.ndarray
    true: np.ndarray

    def rows(self, symbol: str) -> slice:
        position = self._positions[symbol]
        return slice(int(self.offsets[position]), int(self.offsets[position + 1]))

    @cached_property
    def keys(self) -> np.ndarray:
        """Of every row, ``SESSIONS`` times its symbol's position plus its session; int64, ascending."""
        owner = np.repeat(np.arange(len(self.symbols), dtype=np.int64), np.diff(self.offsets))
        keys: np.ndarray = owner * SESSIONS + self.session
        return keys

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {symbol: position for position, symbol in enumerate(self.symbols)}


def series_from_panel(panel: Panel, symbols: tuple[str, ...], market: pd.DataFrame | None = None) -> Series:
    """Line up ``symbols``; raises UnknownSymbol for one that the panel lacks.

    Parameters
    ----------
    market : ``market_days(panel)`` if it is computed already
    """
    days = market_days(panel) if market is None else market
    for symbol in symbols:
        if symbol not in panel.spans:
            panel.history(symbol)  # raises, with the symbols that are near
    spans = np.array([panel.spans[symbol] for symbol in symbols], dtype=np.int64).reshape(-1, 2)
    offsets = np.concatenate([[0], np.cumsum(spans[:, 1] - spans[:, 0])])
    rows = np.arange(offsets[-1]) + np.repeat(spans[:, 0] - offsets[:-1], np.diff(offsets))
    return _lined_up(symbols, offsets, panel.frame[_NEEDED].iloc[rows], days, sessions_of(panel))


def series_of_counters(panel: Panel, universe: Universe, market: pd.DataFrame | None = None) -> Series:
    """Line up the counters that the panel has a row of, in the universe's order; as `series_from_panel`."""
    present = set(panel.symbols)
    symbols = tuple(symbol for symbol in universe.symbols if symbol in present)
    return series_from_panel(panel, symbols, market)


def sessions_of(panel: Panel) -> np.ndarray:
    """The market's sessions: every date on which any symbol has a row; datetime64[D], ascending."""
    sessions: np.ndarray = panel.dates.to_numpy().astype("datetime64[D]")
    return sessions


def market_days(panel: Panel) -> pd.DataFrame:
    """What the whole market did into each date: the columns ``MARKET``, NaN where unknown.

    A session whose index was not known on its own evening has no return, and neither has the session
    after it: some stocks were quoted that day, and their windows must not see what came later. Breadth
    and activity count the stocks whose close was known that evening; steps of more than ``STEP`` as that.
    """
    rows = panel.frame
    log_close = np.log(rows["close"].to_numpy())
    steps = np.diff(log_close, prepend=np.nan)
    counted = _known(rows) & ((rows["flags"].to_numpy() & int(Flag.ACTION)) == 0)
    for symbol, (start, stop) in panel.spans.items():
        counted[start : stop if symbol.startswith("^") else start + 1] = False
    step, date = pd.Series(steps[counted]), rows["date"].array[counted]
    days = pd.DataFrame(
        {
            "breadth": step.clip(-STEP, STEP).groupby(date).mean(),
            "active": (step != 0).astype(float).groupby(date).mean(),
        }
    )
    if MARKET_INDEX in panel.symbols:
        index = panel.history(MARKET_INDEX)
        level = np.where(_known(index), np.log(index["close"]), np.nan)
        returns = pd.Series(np.diff(level, prepend=np.nan), index=index["date"])
        days = days.join(returns.rename("market"), how="outer")
    return days.reindex(columns=list(MARKET))


def series_from_histories(
    histories: dict[str, pd.DataFrame], market: pd.DataFrame, sessions: np.ndarray | None = None
) -> Series:
    """Line up histories (columns as in the panel), each oldest first.

    Parameters
    ----------
    market : as `market_days` gives it; ``UNKNOWN_MARKET`` if nothing is known of it
    sessions : as `sessions_of` gives them; default: the dates of these histories

    Raises
    ------
    BadPrices
        If a close is zero, negative or not a number: names the symbol and the date.
    """
    if sessions is None:
        dates = [rows["date"].to_numpy().astype("datetime64[D]") for rows in histories.values()]
        sessions = np.unique(np.concatenate([*dates, np.empty(0, "datetime64[D]")]))
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in histories.values()])]).astype(np.int64)
    parts = [rows[_NEEDED] for rows in histories.values()]
    rows = pd.concat(parts, ignore_index=True) if parts else _NO_ROWS
    return _lined_up(tuple(histories), offsets, rows, market, sessions)


def _lined_up(
    symbols: tuple[str, ...],
    offsets: np.ndarray,
    rows: pd.DataFrame,
    market: pd.DataFrame,
    sessions: np.ndarray,
) -> Series:
    """The series of panel rows that stand one symbol after the other."""
    close = rows["close"].to_numpy(np.float64)
    _refuse_bad(symbols, offsets, close, rows["date"])
    day, days = pd.factorize(rows["date"])
    that_day = market.reindex(days)
    dates = rows["date"].to_numpy().astype("datetime64[D]")
    high, low, volume = (rows[name].to_numpy(np.float64) for name in ("high", "low", "volume"))
    session = np.searchsorted(sessions, dates)
    return Series(
        symbols=symbols,
        offsets=offsets,
        dates=dates,
        **_price_columns(close, high, low, volume, rows["flags"].to_numpy(), session, offsets),
        **{name: that_day[name].to_numpy(np.float32)[day] for name in MARKET},
        known=_known(rows),
        true=_real(rows),
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
    """One symbol's prices as someone sends them: each known in time, and nothing known of the market.

    What `series_from_histories` would make of them with ``UNKNOWN_MARKET``, in microseconds.

    Parameters
    ----------
    dates : datetime64[D], shape (T,), ascending
    close : float64, shape (T,), KES, positive
    high, low, volume : float64, shape (T,), NaN where unknown
    session : int, shape (T,)
        Position of each date among the market's sessions; default: none lies between two dates.
    """
    session = np.arange(len(close)) if session is None else session
    offsets = np.array([0, len(close)], dtype=np.int64)
    unknown = np.full(len(close), np.nan, dtype=np.float32)
    return Series(
        symbols=(symbol,),
        offsets=offsets,
        dates=dates,
        **_price_columns(close, high, low, volume, np.zeros(len(close), dtype=np.int32), session, offsets),
        **dict.fromkeys(MARKET, unknown),
        known=np.ones(len(close), dtype=bool),
        true=np.ones(len(close), dtype=bool),
    )


def _refuse_bad(symbols: tuple[str, ...], offsets: np.ndarray, close: np.ndarray, dates: pd.Series) -> None:
    bad = ~(np.isfinite(close) & (close > 0))
    if not bad.any():
        return
    row = int(bad.argmax())
    place = int(np.searchsorted(offsets, row, side="right")) - 1
    of_symbol = bad[offsets[place] : offsets[place + 1]]
    raise BadPrices(
        f"{symbols[place]}: close on {dates.iloc[row]:%Y-%m-%d} is {close[row]}; every close must be a "
        f"positive number of KES ({int(of_symbol.sum())} of {len(of_symbol)} are not).",
        symbol=symbols[place],
        rows=int(of_symbol.sum()),
    )


def _price_columns(
    close: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    volume: np.ndarray,
    flags: np.ndarray,
    session: np.ndarray,
    offsets: np.ndarray,
) -> dict[str, np.ndarray]:
    """Into a symbol's first row there is no step, whatever symbol stands before it."""
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
            "log_high": (np.log(high) - log_close).astype(np.float32),
            "log_low": (np.log(low) - log_close).astype(np.float32),
            "log_volume": np.log1p(volume).astype(np.float32),
            "action": action,
        }


def _known(history: pd.DataFrame) -> np.ndarray:
    known: np.ndarray = (history["known"] == history["date"]).to_numpy() & _real(history)
    return known


def _real(history: pd.DataFrame) -> np.ndarray:
    real: np.ndarray = (history["flags"].to_numpy() & int(Flag.STALE)) == 0
    return real
