"""A daily limit on the log space of each client."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)
MAX_CLIENTS = 10_000
"""Further clients of a day share one budget."""
DAY_S = 86_400


class DayBudget:
    """A number of bytes for each client and day (UTC), counted in this process.

    Parameters
    ----------
    client_bytes : budget of one client for one day
    clock : seconds since the epoch
    """

    def __init__(self, client_bytes: float, clock: Callable[[], float]) -> None:
        self._client_bytes, self._clock = client_bytes, clock
        self._day, self._spent = -1, dict[str, float]()
        self._warned: set[str] = set()

    def spend(self, client: str, size: float, *, share: float = 1.0) -> bool:
        """Charge ``size`` bytes to a client; False if it would exceed a ``share`` of its budget."""
        if (day := int(self._clock() // DAY_S)) != self._day:
            self._day, self._spent, self._warned = day, {}, set()
        if client not in self._spent and len(self._spent) >= MAX_CLIENTS:
            client = "others"
        spent = self._spent.get(client, 0.0) + size
        if spent <= share * self._client_bytes:
            self._spent[client] = spent
            return True
        if client not in self._warned:
            self._warned.add(client)
            log.warning("log budget of the day exceeded: further receipts are incomplete client=%s", client)
        return False
