"""Field types of request bodies, with their bounds."""

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

MIN_PRICES, MAX_PRICES = 60, 5_000
MAX_BATCH = 100
SMALLEST_PRICE, LARGEST_PRICE = 0.01, 1_000_000.0
"""KES: the exchange's smallest tick, and a bound far above the price of any listed share."""


def _iso_date(value: Any) -> Any:
    """Accept only ``2024-06-03``; pydantic alone would read a number as a timestamp."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError("need a day as YYYY-MM-DD")
    if not isinstance(value, str | dt.date | None):
        raise ValueError("need a day as a string YYYY-MM-DD")
    return value


def limit_members(value: Any) -> Any:
    """Reject a map with too many members before pydantic validates each of them."""
    if isinstance(value, dict) and len(value) > MAX_BATCH:
        raise PydanticCustomError("too_long", "Map should have at most {most} items", {"most": MAX_BATCH})
    return value


Day = Annotated[dt.date, BeforeValidator(_iso_date)]
MAX_SYMBOL = 64
_SYMBOL = StringConstraints(
    strict=True,
    to_upper=True,
    min_length=1,
    max_length=MAX_SYMBOL,
    pattern=r"^ *[A-Za-z0-9][A-Za-z0-9 .,:&()'-]*$",
)
Symbol = Annotated[str, _SYMBOL, AfterValidator(str.strip)]
"""A symbol, former symbol or company name, see `common.exchange.names.find_stock`."""
Price = Annotated[float, Field(strict=True, ge=SMALLEST_PRICE, le=LARGEST_PRICE, allow_inf_nan=False)]
Volume = Annotated[float, Field(strict=True, ge=0, le=1e12, allow_inf_nan=False)]
PRICE_COUNT = Field(min_length=MIN_PRICES, max_length=MAX_PRICES, fail_fast=True)
Closes = Annotated[list[Price], PRICE_COUNT]
ClosesBySymbol = Annotated[
    dict[Symbol, Closes],
    BeforeValidator(limit_members),
    Field(
        max_length=MAX_BATCH,
        json_schema_extra={"additionalProperties": False, "propertyNames": {"maxLength": MAX_SYMBOL}},
    ),
]
ClosesOrMap = Annotated[
    Annotated[Closes, Tag("list")] | Annotated[ClosesBySymbol, Tag("map")],
    Discriminator(lambda value: "map" if isinstance(value, dict) else "list"),
]
