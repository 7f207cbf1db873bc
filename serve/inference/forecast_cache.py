"""A router's cache of forecasts from the release's own prices, which do not change within a release."""

import datetime as dt
from collections import OrderedDict
from typing import TYPE_CHECKING

from common.forecast.prices import Prices

if TYPE_CHECKING:
    from serve.inference.loaded_release import PreparedRequest

Key = tuple[str, str, dt.date | None]


class ForecastCache:
    """The most recently used ``max_items`` forecasts by model, symbol and ``as_of``; about 2 kB each.

    Forecasts from prices that a request includes are not cached. For one event loop: there is no lock.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._prices: OrderedDict[Key, Prices] = OrderedDict()

    def hold(self, forecasts: int) -> None:
        """Raise the bound to at least ``forecasts``; a bound of 0 stays."""
        self._max_items = max(self._max_items, forecasts) if self._max_items else 0

    def find(self, prepared: "PreparedRequest") -> Prices | None:
        """Return the cached forecast of all horizons."""
        key = _key(prepared)
        if key is None or key not in self._prices:
            return None
        self._prices.move_to_end(key)
        return self._prices[key]

    def keep(self, prepared: "PreparedRequest", prices: Prices) -> None:
        if (key := _key(prepared)) and self._max_items:
            self._prices[key] = prices
            while len(self._prices) > self._max_items:
                self._prices.popitem(last=False)

    def clear(self) -> None:
        self._prices.clear()


def _key(prepared: "PreparedRequest") -> Key | None:
    request = prepared.request
    return None if request.has_prices else (prepared.key, request.symbol, request.as_of)
