"""Build the window of a request."""

import datetime as dt
from dataclasses import fields

import numpy as np

from common.errors import BadRequest, InsufficientHistory
from common.exchange.calendar import Day, Sessions
from common.exchange.universe import Universe
from common.presets import WindowSpec
from common.prices.market_days import market_days
from common.prices.panel import Panel
from common.prices.series import Series, series_from_prices, series_of_universe
from common.prices.windows import Windows, last_window
from serve.inference.evenings import HistoricalWindows
from serve.schemas.forecast import BatchRequest, PredictRequest

_COLUMNS = tuple(field.name for field in fields(Series) if field.name not in ("symbols", "offsets"))


class PriceHistory:
    """The release's own prices, as windows of what was known on the evening of any day.

    Most windows are a slice of today's series. Where a close of the window was published after that evening,
    the window is built from `Panel.as_of` instead (`HistoricalWindows`), since that evening the panel held a
    copy of the close before. `ReleasedModels.forecast` builds the same windows.
    """

    def __init__(self, panel: Panel, universe: Universe, spec: WindowSpec) -> None:
        self.panel, self.universe, self.spec = panel, universe, spec
        market = market_days(panel)
        self.series = series_of_universe(panel, universe, market)
        self.sessions = Sessions(panel.dates.to_numpy().astype("datetime64[D]"), universe.country)
        self._rows = {symbol: self.series.rows(symbol) for symbol in self.series.symbols}
        known = [panel.history(symbol)["known"].to_numpy() for symbol in self.series.symbols]
        self._known = np.concatenate(known).astype("datetime64[D]")
        self._gaps = _evenings_with_gaps(panel)
        self.evenings = HistoricalWindows(panel, spec, market)

    def is_slow(self, symbol: str, as_of: dt.date) -> bool:
        """Whether `window` would take milliseconds or longer, so that it belongs in a thread."""
        if symbol not in self._rows:
            return False
        evening = np.datetime64(as_of)
        return self._end(symbol, evening) is None and (evening, symbol) not in self.evenings

    def window(self, symbol: str, as_of: dt.date | None = None) -> Windows:
        """Return the newest window known on the evening of ``as_of``, over a series of its own rows only.

        Raises
        ------
        InsufficientHistory
            If the release has fewer closes of the symbol than one window needs.
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
        """Raise BadRequest for a day in the future, InsufficientHistory for one before the data."""
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
        """Return the row of the last day up to an evening; None if `HistoricalWindows` has to build it."""
        rows = self._rows[symbol]
        end: int = rows.start + int(np.searchsorted(self.series.dates[rows], evening, side="right")) - 1
        if end < rows.start:
            return end
        complete = not any(start <= evening < stop for start, stop in self._gaps)
        return end if complete and self._known[end] <= evening else None


def request_window(request: PredictRequest, sessions: Sessions, spec: WindowSpec, today: dt.date) -> Windows:
    """Build the window of the newest ``spec.size`` prices that a request includes.

    Prices without dates end with the last session up to ``as_of``, by default with the last known session.
    The market is unknown, and so are range and volume without bars.

    Raises
    ------
    InsufficientHistory
        If there are fewer prices than one window needs.
    BadRequest
        If a bar is in the future, or after ``as_of``.
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


def split_batch(batch: BatchRequest) -> list[PredictRequest]:
    """Split a validated batch into requests, in order and one for each symbol."""
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


def _evenings_with_gaps(panel: Panel) -> list[tuple[np.datetime64, np.datetime64]]:
    """Return the intervals of evenings [start, stop) on which a close before a symbol's last was missing."""
    frame = panel.frame
    following = frame.groupby("symbol")["date"].shift(-1)
    late = (frame["known"] > frame["date"]) & (following < frame["known"])
    starts, stops = (
        column[late].to_numpy().astype("datetime64[D]") for column in (following, frame["known"])
    )
    return sorted(set(zip(starts, stops, strict=True)))
