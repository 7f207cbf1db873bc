"""The exchange's trading days: the real ones as far as the data go, then weekdays."""

import datetime as dt
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Sessions:
    """Trading days.

    Up to the last known one they are real. After it every weekday counts: the exchange's holidays are
    announced by the government, some of them days ahead, so that a future date may be a few days early.
    """

    known: np.ndarray
    """datetime64[D], shape (T,), ascending."""

    @property
    def last(self) -> np.datetime64:
        return self.known[-1]

    def until(self, day: np.datetime64, count: int) -> np.ndarray:
        """The last ``count`` sessions up to and including ``day``, oldest first, shape (count,).

        Before the first known session, weekdays count as well.
        """
        found = self.known[: np.searchsorted(self.known, day, side="right")][-count:]
        if day > self.last:
            later = int(np.busday_count(self.last + 1, day + 1))
            found = np.concatenate([found, _weekdays(self.last, min(later, count))])
            if later > count:
                found = _weekdays(day + 1, -count)
            found = found[-count:]
        if missing := count - len(found):
            first = found[0] if len(found) else day + 1
            found = np.concatenate([_weekdays(first, -missing), found])
        return found

    def ahead(self, day: np.datetime64, horizon: int) -> dt.date:
        """The session ``horizon`` sessions after ``day``."""
        later = self.known[np.searchsorted(self.known, day, side="right") :]
        if len(later) >= horizon:
            return later[horizon - 1].item()
        return _weekdays(max(day, self.last), horizon - len(later))[-1].item()

    def between(self, day: np.datetime64, end: np.datetime64) -> int:
        """How many sessions there are after ``day``, up to and including ``end``; 0 if it is not later."""
        if end <= day:
            return 0
        first, last = np.searchsorted(self.known, [day, end], side="right")
        return int(last - first) + max(0, int(np.busday_count(max(day, self.last) + 1, end + 1)))


def _weekdays(day: np.datetime64, count: int) -> np.ndarray:
    """The ``count`` weekdays after ``day`` (before it, if negative), oldest first."""
    steps = np.arange(1, count + 1) if count >= 0 else np.arange(count, 0)
    start = np.busday_offset(day, 0, roll="backward" if count >= 0 else "forward")
    return np.busday_offset(start, steps)
