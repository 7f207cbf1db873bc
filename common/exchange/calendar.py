"""The exchange's trading days: the real ones as far as the data go, then its week without the holidays."""

import datetime as dt
import functools
from dataclasses import dataclass
from typing import Literal

import holidays
import numpy as np

from common.exchange.universe import KENYA

Day = np.datetime64[dt.date]
YEARS_AHEAD = 10
YEAR = 250
"""Newest known sessions that tell the days of the week on which the exchange trades."""
FEWEST = 25
"""With fewer they do not: then it is Monday to Friday."""
SELDOM = 0.25
"""A day of the week with less than this share of the sessions of the commonest is no trading day."""


@dataclass(frozen=True, eq=False)
class Sessions:
    """Trading days.

    Up to the last known one they are real. After it, and before the first, every day counts on which the
    exchange trades in other weeks, and that is no public holiday. Governments announce some only days ahead,
    so that a future date may still be early.
    """

    known: np.ndarray
    """datetime64[D], shape (T,), ascending."""
    country: str = KENYA
    """As `Universe.country`."""

    @property
    def last(self) -> Day:
        last: Day = self.known[-1]
        return last

    @functools.cached_property
    def _closed(self) -> np.ndarray:
        years = self.known[[0, -1]].astype("datetime64[Y]").astype(int) + 1970
        return public_holidays(self.country, int(years[0]) - 1, int(years[1]) + YEARS_AHEAD)

    @functools.cached_property
    def _week(self) -> np.ndarray:
        """Whether it trades on a Monday, Tuesday, ..., shape (7,)."""
        if len(self.known) < FEWEST:
            return np.arange(7) < 5
        thursday = np.datetime64("1970-01-01")
        days = (self.known[-YEAR:] - thursday).astype(int)
        sessions = np.bincount((days + 3) % 7, minlength=7)
        week: np.ndarray = sessions >= SELDOM * sessions.max()
        return week

    def until(self, day: np.datetime64, count: int) -> np.ndarray:
        """The last ``count`` sessions up to and including ``day``, oldest first, shape (count,).

        Before the first known session, weekdays that are no holiday count as well.
        """
        found = self.known[: np.searchsorted(self.known, day, side="right")][-count:]
        if day > self.last:
            later = self._workdays_between(self.last, day)
            found = np.concatenate([found, self._workdays(self.last, min(later, count))])
            if later > count:
                found = self._workdays(day + 1, -count)
            found = found[-count:]
        if missing := count - len(found):
            first = found[0] if len(found) else day + 1
            found = np.concatenate([self._workdays(first, -missing), found])
        return found

    def ahead(self, day: np.datetime64, horizon: int) -> dt.date:
        """The session ``horizon`` sessions after ``day``."""
        later = self.known[np.searchsorted(self.known, day, side="right") :]
        if len(later) >= horizon:
            session: dt.date = later[horizon - 1].item()
        else:
            session = self._workdays(max(day, self.last), horizon - len(later))[-1].item()
        return session

    def between(self, day: np.datetime64, end: np.datetime64) -> int:
        """How many sessions there are after ``day``, up to and including ``end``; 0 if it is not later."""
        if end <= day:
            return 0
        first, last = np.searchsorted(self.known, [day, end], side="right")
        return int(last - first) + max(0, self._workdays_between(max(day, self.last), end))

    def _workdays_between(self, day: np.datetime64, end: np.datetime64) -> int:
        """After ``day``, up to and including ``end``; negative if ``end`` comes first."""
        return int(np.busday_count(day + 1, end + 1, self._week, self._closed))

    def _workdays(self, day: np.datetime64, count: int) -> np.ndarray:
        """The ``count`` workdays after ``day`` (before it, if negative), oldest first."""
        steps = np.arange(1, count + 1) if count >= 0 else np.arange(count, 0)
        roll: Literal["backward", "forward"] = "backward" if count >= 0 else "forward"
        start = np.busday_offset(day, 0, roll, self._week, self._closed)
        return np.busday_offset(start, steps, "raise", self._week, self._closed)


@functools.lru_cache(maxsize=8)
def public_holidays(country: str, first: int, last: int) -> np.ndarray:
    """A country's public holidays of these years, as known to the ``holidays`` package; datetime64[D]."""
    found = holidays.country_holidays(country, years=range(first, last + 1)) if country else ()
    return np.array(sorted(found), "datetime64[D]")
