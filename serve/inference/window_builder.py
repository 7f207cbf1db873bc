"""From a question to the one window that answers it."""

import datetime as dt
from dataclasses import fields

import numpy as np

from common.errors import BadRequest, InsufficientHistory
from common.exchange.calendar import Day, Sessions
from common.exchange.universe import Universe
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import Series, market_days, series_from_prices, series_of_counters
from common.prices.windows import Windows, last_window
from serve.inference.evenings import HistoricalWindows
from serve.schemas.forecast import BatchRequest, PredictRequest

_COLUMNS = tuple(each.name for each in fields(Series) if each.name not in ("symbols", "offsets"))


class PriceHistory:
    """The release's own prices, as windows of what was known on any evening.

    On most evenings a stock's window is a piece of today's series. It is not where a close of that window
    was found only later, because that evening a copy of the day before stood there: those are cut anew,
    from `Panel.as_of` (`HistoricalWindows`). `ReleasedModels.forecast` takes the same window.
    """

    def __init__(self, panel: Panel, universe: Universe, spec: WindowSpec) -> None:
        self.panel, self.universe, self.spec = panel, universe, spec
        market = market_days(panel)
        self.series = series_of_counters(panel, universe, market)
        self.sessions = Sessions(panel.dates.to_numpy().astype("datetime64[D]"), universe.country)
        self._rows = {symbol: self.series.rows(symbol) for symbol in self.series.symbols}
        known = [panel.history(symbol)["known"].to_numpy() for symbol in self.series.symbols]
        self._known = np.concatenate(known).astype("datetime64[D]")
        self._untidy = _untidy_evenings(panel)
        self.evenings = HistoricalWindows(panel, spec, market)

    def is_slow(self, symbol: str, as_of: dt.date | None) -> bool:
        """Whether `window` would take milliseconds or longer: it belongs in a thread."""
        if as_of is None or symbol not in self._rows:
            return False
        evening = np.datetime64(as_of)
        return self._end(symbol, evening) is None and (evening, symbol) not in self.evenings

    def window(self, symbol: str, as_of: dt.date | None = None) -> Windows:
        """The newest window known in the evening of ``as_of``, over a series of its own rows only.

        Raises
        ------
        InsufficientHistory
            If the release has fewer closes of it than one window takes.
        """
        if symbol not in self._rows:
            raise InsufficientHistory(
                f"{symbol}: the release has no prices of it. Send recent_prices.", symbol=symbol
            )
        rows = self._rows[symbol]
        evening = None if as_of is None else np.datetime64(as_of)
        end = rows.stop - 1 if evening is None else self._end(symbol, evening)
        if end is None:
            assert evening is not None
            windows = self.evenings.window(evening, symbol)
            got = int((self.series.dates[rows] <= evening).sum())
        else:
            got = end + 1 - rows.start
            windows = _cut(self.series, symbol, end, self.spec) if got >= self.spec.size else None
        if windows is None:
            when = "" if as_of is None else f" up to {as_of}"
            raise InsufficientHistory(
                f"{symbol}: need {self.spec.size} closes, the release has {max(got, 0)}{when}. "
                "Choose a later as_of, or send recent_prices.",
                symbol=symbol,
                need=self.spec.size,
                got=got,
            )
        return windows

    def check_day(self, as_of: dt.date, today: dt.date) -> None:
        """Raises BadRequest for a day that is not over yet, InsufficientHistory for one before the data."""
        first, last = self.sessions.known[0].item(), self.sessions.last.item()
        if as_of > max(today, last):
            raise BadRequest(
                f"as_of: {as_of} is in the future, today is {today}. Send a day from {first}, or none."
            )
        if as_of < first:
            raise InsufficientHistory(
                f"as_of: no prices up to {as_of}, the release has {first} to {last}. Send a later day."
            )

    def _end(self, symbol: str, evening: Day) -> int | None:
        """Row of the last day up to that evening, if the window that ends there was known as it is now."""
        rows = self._rows[symbol]
        end: int = rows.start + int(np.searchsorted(self.series.dates[rows], evening, side="right")) - 1
        if end < rows.start:
            return end
        tidy = not any(start <= evening < stop for start, stop in self._untidy)
        return end if tidy and self._known[end] <= evening else None


def brought_window(request: PredictRequest, sessions: Sessions, spec: WindowSpec, today: dt.date) -> Windows:
    """The window of the prices that a request brings: the newest ``spec.size`` of them.

    Without dates of their own they end with the last session up to ``as_of``, by default the last one
    known. Nothing is known of the market, and of range and volume only what bars say.

    Raises
    ------
    InsufficientHistory
        If there are fewer than one window takes.
    BadRequest
        If a bar is of a day that is not over, or after ``as_of``.
    """
    bars, closes = request.recent_bars, request.recent_prices or []
    got = len(bars) if bars else len(closes)
    if got < spec.size:
        raise InsufficientHistory(
            f"{request.symbol}: got {got} prices, this release needs {spec.size}. Send a longer history.",
            symbol=request.symbol,
            need=spec.size,
            got=got,
        )
    bars = bars[-spec.size :] if bars else None
    columns = [[bar.high, bar.low, bar.volume] for bar in bars] if bars else [[None] * 3] * spec.size
    high, low, volume = np.array(columns, dtype=np.float64).T
    close = np.array([bar.close for bar in bars] if bars else closes[-spec.size :], dtype=np.float64)
    if bars and bars[-1].date:
        end = request.as_of or max(today, sessions.last.item())
        if bars[-1].date > end:
            raise BadRequest(f"recent_bars: the last one is of {bars[-1].date}, after {end}. Leave it out.")
        dates = np.array([bar.date for bar in bars], dtype="datetime64[D]")
        session = np.array([sessions.between(dates[0], day) for day in dates])
    else:
        day = np.datetime64(request.as_of) if request.as_of else sessions.last
        dates, session = sessions.until(day, spec.size), None
    return last_window(series_from_prices(request.symbol, dates, close, high, low, volume, session), spec)


def singles(batch: BatchRequest) -> list[PredictRequest]:
    """A batch as requests, in its order and each symbol once; they were validated as a batch."""
    prices = batch.recent_prices
    return [
        PredictRequest.model_construct(
            symbol=symbol,
            horizon=batch.horizon,
            recent_prices=prices.get(symbol) if isinstance(prices, dict) else prices,
            recent_bars=None,
            as_of=batch.as_of,
            allow_unknown=batch.allow_unknown,
        )
        for symbol in dict.fromkeys(batch.symbols)
    ]


def _cut(series: Series, symbol: str, end: int, spec: WindowSpec) -> Windows:
    rows = slice(end + 1 - spec.size, end + 1)
    offsets = np.array([0, spec.size], dtype=np.int64)
    own = Series((symbol,), offsets, **{name: getattr(series, name)[rows] for name in _COLUMNS})
    return last_window(own, spec)


def _untidy_evenings(panel: Panel) -> list[tuple[np.datetime64, np.datetime64]]:
    """Evenings [start, stop) on which a row that is not its symbol's last was not known yet."""
    frame = panel.frame
    following = frame.groupby("symbol")["date"].shift(-1)
    late = frame[(frame["known"] > frame["date"]) & (following < frame["known"])]
    pairs = {
        (start, stop)
        for start, stop in zip(
            following[late.index].to_numpy().astype("datetime64[D]"),
            late["known"].to_numpy().astype("datetime64[D]"),
            strict=True,
        )
    }
    return sorted(pairs)
