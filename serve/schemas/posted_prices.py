"""Prices of one trading day that a client sends, and the result."""

import datetime as dt
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from serve.schemas import examples
from serve.schemas.forecast import Model

MAX_ROWS = 5_000
Text = Annotated[str, pydantic.Strict()] | Annotated[float, pydantic.Strict()] | None
"""A field as in the exchange's files: text such as ``1,234.50`` or ``-``, or a number."""


class PriceRow(Model):
    """One row of the exchange's daily file. The server reads it as it reads a row of a file."""

    model_config = pydantic.ConfigDict(extra="forbid")
    date: Annotated[str, Field(max_length=40)]
    """Such as ``2024-01-02``; the same in all rows."""
    symbol: Annotated[str, Field(max_length=40)]
    """Stock or index, such as ``SCOM`` or ``^NASI``."""
    close: Text
    """Closing price in KES."""
    low: Text = None
    high: Text = None
    previous: Text = None
    """The previous close; without it, copied and missing sessions are not detected."""
    volume: Text = None
    """Shares traded; ``-`` is 0, null is unknown."""
    name: Text = None
    """Not read, like the fields below."""
    change: Text = None
    change_percent: Text = None

    def texts(self) -> dict[str, str]:
        """Return the fields as text."""
        values: dict[str, Any] = self.model_dump(exclude_none=True)
        return {name: value if isinstance(value, str) else repr(value) for name, value in values.items()}


class PostedPrices(Model):
    """Rows of one trading day."""

    model_config = pydantic.ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.PRICES]})
    rows: Annotated[list[PriceRow], Field(min_length=1, max_length=MAX_ROWS)]


class RejectedRow(Model):
    """A rejected row."""

    row: int
    """Its position among the rows sent, from 1."""
    symbol: str
    reason: str


class PricesResponse(Model):
    """The result of posting prices."""

    state: Literal["refreshed", "current", "rejected"]
    """``current``: the release in production has this day already, and nothing changed. ``rejected``: every
    row was rejected, and nothing changed."""
    release: str
    """The release in production; routers load it within seconds."""
    before: str
    """The release that was in production before."""
    data_end: dt.date
    """The last session of its prices."""
    rows: int
    """New rows."""
    rejected: list[RejectedRow]
    """They are also kept in ``checks/rejects.csv`` below the storage root."""
    differences: int
    """Rows of a day that the release already has, with another close or of a stock that it has no row of on
    that day; they are ignored."""
    stocks: int
    """Stocks with new forecasts."""
    forecasts: int
