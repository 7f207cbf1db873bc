"""How much of a log one client may fill in a day."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)
CLIENTS_KEPT = 10_000
"""Further clients of a day share one budget."""
DAY_S = 86_400


class DayBudget:
    """A number of bytes for each client and day (UTC), counted in this process.

    Parameters
    ----------
    bytes_each : of one client in one day
    clock : seconds since the epoch
    """

    def __init__(self, bytes_each: float, clock: Callable[[], float]) -> None:
        self._bytes_each, self._clock = bytes_each, clock
        self._day, self._spent = -1, dict[str, float]()
        self._warned: set[str] = set()

    def spend(self, client: str, size: float, *, share: float = 1.0) -> bool:
        """Take ``size`` bytes of a client's budget if its spending then stays within a ``share`` of it."""
        if (day := int(self._clock() // DAY_S)) != self._day:
            self._day, self._spent, self._warned = day, {}, set()
        if client not in self._spent and len(self._spent) >= CLIENTS_KEPT:
            client = "others"
        spent = self._spent.get(client, 0.0) + size
        if spent > share * self._bytes_each:
            self._warn(client)
            return False
        self._spent[client] = spent
        return True

    def _warn(self, client: str) -> None:
        if client not in self._warned:
            self._warned.add(client)
            log.warning("a client's answers no longer have all of their receipts today client=%s", client)
