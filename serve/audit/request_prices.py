"""Pack the prices of a request into text that compresses well, without loss.

Closes, highs and lows become differences in cents (``[2515, 5, -10]``: 25.15, 25.20, 25.10), dates become
differences in days, wherever that is exact. Under zstd this takes a third less space than the JSON of the
request, and half with bars.
"""

import datetime as dt
import hashlib
import itertools
import json
from typing import Any

from serve.schemas.fields import MIN_PRICES
from serve.schemas.forecast import PredictRequest

FIELDS = ("close", "high", "low", "volume", "date")
"""Fields of `serve.schemas.forecast.Bar`."""
CENTS = ("close", "high", "low")
Brought = dict[str, Any]
"""``recent_prices`` or ``recent_bars``, and ``allow_unknown``, as `PredictRequest` takes them from JSON."""


def prices_text(request: PredictRequest, size: int) -> str:
    """Return the prices of a request that a window of ``size`` sessions uses, as compact JSON of `Brought`.

    The fields are in the order of the API's schema.
    """
    count = max(size, MIN_PRICES)
    prices = {
        name: (getattr(request, name) or [])[-count:] or None for name in ("recent_prices", "recent_bars")
    }
    short = request.model_copy(update=prices)
    return json_of(short.model_dump(mode="json", include={*prices, "allow_unknown"}, exclude_none=True))


def digest(text: str) -> str:
    """Return the hexadecimal SHA-256 of `prices_text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def json_of(prices: Brought) -> str:
    """Format prices as `prices_text` does."""
    return json.dumps(prices, separators=(",", ":"))


def bytes_in_file(text: str) -> int:
    """Estimate the size of `prices_text` in a file: half a byte for each digit."""
    content = text.encode()
    return (len(content) - len(content.translate(None, b"0123456789"))) // 2


def pack(text: str) -> str:
    """Pack the text of `prices_text`; `unpack` reverses it."""
    prices = json.loads(text)
    bars = prices.get("recent_bars")
    columns = {name: [bar.get(name) for bar in bars] for name in FIELDS} if bars else {}
    columns = columns or {"close": prices["recent_prices"]}
    packed = {
        name: _pack(name, column) for name, column in columns.items() if any(v is not None for v in column)
    }
    rest = {"bars": bool(bars), "allow_unknown": prices["allow_unknown"]}
    return json_of(packed | rest)


def unpack(text: str) -> Brought:
    """Return the prices that `pack` packed.

    Raises
    ------
    ValueError, KeyError, TypeError
        If the text was not made by `pack`.
    """
    packed = json.loads(text)
    columns = {name: _unpack(name, packed[name]) for name in FIELDS if name in packed}
    allowed = {"allow_unknown": packed["allow_unknown"]}
    if not packed["bars"]:
        return {"recent_prices": columns["close"]} | allowed
    rows = zip(*columns.values(), strict=True)
    bars = [{name: v for name, v in zip(columns, row, strict=True) if v is not None} for row in rows]
    return {"recent_bars": bars} | allowed


def _pack(name: str, column: list[Any]) -> Any:
    if name == "date" and None not in column:
        return {"steps": _steps([dt.date.fromisoformat(day).toordinal() for day in column])}
    if name in CENTS and None not in column:
        cents = [round(100 * price) for price in column]
        if [price / 100 for price in cents] == column:
            return {"steps": _steps(cents)}
    return column


def _unpack(name: str, packed: Any) -> list[Any]:
    if isinstance(packed, list):
        return packed
    numbers = itertools.accumulate(packed["steps"])
    if name == "date":
        return [dt.date.fromordinal(number).isoformat() for number in numbers]
    return [number / 100 for number in numbers]


def _steps(numbers: list[int]) -> list[int]:
    return [numbers[0], *(after - before for before, after in itertools.pairwise(numbers))]
