"""Trading days of an exchange: those in the data, then its usual weekdays without public holidays."""

import datetime as dt
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import holidays
import numpy as np

from common.exchange.universe import KENYA

Day = np.datetime64[dt.date]
YEARS_AHEAD = 10
WEEK_SESSIONS = 250
"""Newest known sessions from which the weekly trading days are derived."""
AHEAD_CACHED = 1_000
"""Days and horizons whose target dates are cached."""
MIN_SESSIONS = 25
"""With fewer known sessions the week is Monday to Friday."""
MIN_WEEKDAY_SHARE = 0.25
"""A day of the week trades if it has at least this share of the sessions of the most frequent one."""


@dataclass(frozen=True, eq=False)
class Sessions:
    """Past and future trading days.

    Between the first and the last known session they are exact. Outside, they are the exchange's weekly
    trading days without public holidays. Governments announce some holidays only days ahead, so a future
    date may turn out to be too early.
    """

    known: np.ndarray
    """datetime64[D], shape (T,), ascending."""
    country: str = KENYA
    """As `Universe.country`."""

    @property
    def last(self) -> Day:
        """The last known session."""
        last: Day = self.known[-1]
        return last

    @functools.cached_property
    def _closed(self) -> np.ndarray:
        years = self.known[[0, -1]].astype("datetime64[Y]").astype(int) + 1970
        return public_holidays(self.country, int(years[0]) - 1, int(years[1]) + YEARS_AHEAD)

    @functools.cached_property
    def _week(self) -> np.ndarray:
        """Whether the exchange trades on a Monday, Tuesday, ..., shape (7,)."""
        if len(self.known) < MIN_SESSIONS:
            return np.arange(7) < 5
        days = self.known[-WEEK_SESSIONS:].astype("datetime64[D]").astype(int)
        sessions = np.bincount((days + 3) % 7, minlength=7)  # day 0, 1970-01-01, was a Thursday
        return np.asarray(sessions >= MIN_WEEKDAY_SHARE * sessions.max())

    def until(self, day: np.datetime64, count: int) -> np.ndarray:
        """Return the last ``count`` sessions up to and including ``day``, oldest first, shape (count,)."""
        sessions = self.known[: np.searchsorted(self.known, day, side="right")][-count:]
        if day > self.last:
            later = self._workdays_between(self.last, day)
            if later > count:
                return self._workdays(day + 1, -count)
            sessions = np.concatenate([sessions, self._workdays(self.last, later)])[-count:]
        if missing := count - len(sessions):
            first = sessions[0] if len(sessions) else day + 1
            sessions = np.concatenate([self._workdays(first, -missing), sessions])
        return sessions

    def ahead(self, day: np.datetime64, horizon: int) -> dt.date:
        """Return the session ``horizon`` sessions after ``day``."""
        return self._ahead(day, horizon)

    @functools.cached_property
    def _ahead(self) -> Callable[[np.datetime64, int], dt.date]:
        return functools.lru_cache(AHEAD_CACHED)(self._compute_ahead)

    def _compute_ahead(self, day: np.datetime64, horizon: int) -> dt.date:
        later = self.known[np.searchsorted(self.known, day, side="right") :][:horizon]
        if len(later) < horizon:
            later = self._workdays(max(day, self.last), horizon - len(later))
        session: dt.date = later[-1].item()
        return session

    def between(self, day: np.datetime64, end: np.datetime64) -> int:
        """Count the sessions after ``day``, up to and including ``end``; 0 if ``end`` is not later."""
        if end <= day:
            return 0
        first, last = np.searchsorted(self.known, [day, end], side="right")
        return int(last - first) + max(0, self._workdays_between(max(day, self.last), end))

    def _workdays_between(self, day: np.datetime64, end: np.datetime64) -> int:
        """Count the workdays after ``day``, up to and including ``end``; negative if ``end`` comes first."""
        return int(np.busday_count(day + 1, end + 1, self._week, self._closed))

    def _workdays(self, day: np.datetime64, count: int) -> np.ndarray:
        """Return the ``count`` workdays after ``day`` (before it if negative), oldest first."""
        steps = np.arange(1, count + 1) if count >= 0 else np.arange(count, 0)
        roll: Literal["backward", "forward"] = "backward" if count >= 0 else "forward"
        start = np.busday_offset(day, 0, roll, self._week, self._closed)
        return np.busday_offset(start, steps, "raise", self._week, self._closed)


@functools.lru_cache(maxsize=8)
def public_holidays(country: str, first: int, last: int) -> np.ndarray:
    """Return a country's public holidays in the years ``first`` to ``last``; datetime64[D], ascending."""
    days = holidays.country_holidays(country, years=range(first, last + 1)) if country else ()
    return np.array(sorted(days), "datetime64[D]")
