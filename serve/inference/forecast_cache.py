"""Forecasts from a release's own prices, kept: neither model nor prices change, so nor does the answer."""

import datetime as dt
from collections import OrderedDict
from typing import TYPE_CHECKING

from common.forecast.prices import Prices

if TYPE_CHECKING:
    from serve.inference.loaded_release import PreparedRequest

Key = tuple[str, str, dt.date | None]


class ForecastCache:
    """The ``most`` forecasts asked for last, by model (and so release), symbol and evening; about 2 kB each.

    A question that brings its own prices is never kept. For one event loop: there is no lock.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._prices: OrderedDict[Key, Prices] = OrderedDict()

    def hold(self, forecasts: int) -> None:
        """Keep at least so many, such as one of every stock; still none if the bound is 0."""
        self._most = max(self._most, forecasts) if self._most else 0

    def find(self, prepared: "PreparedRequest") -> Prices | None:
        """All horizons of that stock, if its model was asked before."""
        key = _key(prepared)
        found = self._prices.get(key) if key else None
        if key and found is not None:
            self._prices.move_to_end(key)
        return found

    def keep(self, prepared: "PreparedRequest", prices: Prices) -> None:
        key = _key(prepared)
        if key and self._most:
            self._prices[key] = prices
            while len(self._prices) > self._most:
                self._prices.popitem(last=False)

    def clear(self) -> None:
        self._prices.clear()


def _key(prepared: "PreparedRequest") -> Key | None:
    request = prepared.request
    return None if request.brings_prices else (prepared.key, request.symbol, request.as_of)
