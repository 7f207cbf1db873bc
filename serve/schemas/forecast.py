"""Requests and forecasts of API v4; errors are in `serve.schemas.problems`."""

import datetime as dt
import itertools
import re
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BeforeValidator, Discriminator, Field, StrictBool, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from common.forecast.confidence import Word
from serve.schemas import examples

MIN_PRICES, MAX_PRICES = 60, 5_000
MAX_BATCH = 100
SMALLEST_PRICE, LARGEST_PRICE = 0.01, 1_000_000.0
"""KES; the exchange's smallest tick, and far above any share it lists."""


def _iso_date(value: Any) -> Any:
    """Only ``2024-06-03``: pydantic alone would take a number for a timestamp."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError("need a day as YYYY-MM-DD")
    if not isinstance(value, str | dt.date | None):
        raise ValueError("need a day as a string YYYY-MM-DD")
    return value


def _few(value: Any) -> Any:
    """Refuses a map of many members before each of them costs time."""
    if isinstance(value, dict) and len(value) > MAX_BATCH:
        raise PydanticCustomError("too_long", "Map should have at most {most} items", {"most": MAX_BATCH})
    return value


Day = Annotated[dt.date, BeforeValidator(_iso_date)]
Symbol = Annotated[
    str,
    StringConstraints(
        strict=True,
        to_upper=True,
        min_length=1,
        max_length=16,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.&-]*$",
    ),
]
Price = Annotated[float, Field(strict=True, ge=SMALLEST_PRICE, le=LARGEST_PRICE, allow_inf_nan=False)]
Volume = Annotated[float, Field(strict=True, ge=0, le=1e12, allow_inf_nan=False)]
Closes = Annotated[list[Price], Field(min_length=MIN_PRICES, max_length=MAX_PRICES, fail_fast=True)]
ClosesBySymbol = Annotated[
    dict[Symbol, Closes],
    BeforeValidator(_few),
    Field(
        max_length=MAX_BATCH,
        json_schema_extra={"additionalProperties": False, "propertyNames": {"maxLength": 16}},
    ),
]
Horizon = Literal["1d", "5d", "10d", "30d"]
ModelType = Literal["stock_specific", "general"]
Level = Literal["80", "90", "95"]
Source = Literal["model", "last_price"]


def days_of(horizon: str) -> int:
    """Trading days of ``"5d"``: 5."""
    return int(horizon[:-1])


class Model(pydantic.BaseModel):
    """Base of all bodies: frozen, and the docstring of a field is its description."""

    model_config = pydantic.ConfigDict(frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class _Request(Model):
    """A body in which an unknown name is an error."""

    model_config = pydantic.ConfigDict(extra="forbid")
    _few_names = pydantic.model_validator(mode="before")(staticmethod(_few))


class Bar(_Request):
    """One session of a stock, prices in KES."""

    close: Price
    high: Price | None = None
    low: Price | None = None
    volume: Volume | None = None
    """Shares traded."""
    date: Day | None = None
    """Give the date of every bar, or of none."""

    @pydantic.model_validator(mode="after")
    def _in_range(self) -> Self:
        low = self.close if self.low is None else self.low
        high = self.close if self.high is None else self.high
        if not low <= self.close <= high:
            raise ValueError("low <= close <= high")
        return self


class PredictRequest(_Request):
    """One stock, one horizon. Without prices, the release's own are used."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [*examples.PREDICT]})
    symbol: Symbol
    """Public ticker."""
    horizon: Horizon = "1d"
    """Trading days ahead."""
    recent_prices: Closes | None = None
    """Closes in KES, oldest first; the newest ones, as many as a window takes, are used."""
    recent_bars: (
        Annotated[list[Bar], Field(min_length=MIN_PRICES, max_length=MAX_PRICES, fail_fast=True)] | None
    ) = None
    """Instead of ``recent_prices``: sessions with their range and volume, oldest first."""
    as_of: Day | None = None
    """Forecast from what was known in the evening of that day; default: all the release knows."""
    allow_unknown: StrictBool = False
    """Also forecast a symbol that is no counter, from the prices sent, with low confidence."""

    @pydantic.model_validator(mode="after")
    def _one_past(self) -> Self:
        if self.recent_prices is not None and self.recent_bars is not None:
            raise ValueError("send recent_prices or recent_bars, never both")
        dates = [bar.date for bar in self.recent_bars or [] if bar.date]
        if dates and len(dates) != len(self.recent_bars or []):
            raise ValueError("recent_bars: give the date of every bar, or of none")
        for before, after in itertools.pairwise(dates):
            if before >= after:
                raise ValueError(f"recent_bars: {after} follows {before}; send each day once, oldest first")
        return self

    @property
    def brings_prices(self) -> bool:
        return self.recent_prices is not None or self.recent_bars is not None


class BatchRequest(_Request):
    """Many stocks, one horizon."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [*examples.BATCH]})
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=MAX_BATCH)]
    horizon: Horizon = "1d"
    recent_prices: (
        Annotated[
            Annotated[Closes, Tag("list")] | Annotated[ClosesBySymbol, Tag("map")],
            Discriminator(lambda value: "map" if isinstance(value, dict) else "list"),
        ]
        | None
    ) = None
    """One list for all symbols, or a list for each symbol that has one."""
    as_of: Day | None = None
    allow_unknown: StrictBool = False

    @pydantic.model_validator(mode="after")
    def _no_strangers(self) -> Self:
        given = self.recent_prices if isinstance(self.recent_prices, dict) else {}
        if strangers := sorted(given.keys() - set(self.symbols)):
            raise ValueError(f"recent_prices: {', '.join(strangers[:5])} not among the symbols")
        return self


class SectorRequest(_Request):
    """Every stock of one sector."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [*examples.SECTOR]})
    sector: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)]
    """As ``/api/v4/models/available?include_sectors=true`` lists it; case does not matter."""
    horizon: Horizon = "1d"
    as_of: Day | None = None


class Interval(Model):
    """A range in KES that should hold the price with probability ``level``."""

    lower: float
    upper: float
    level: float


class Caveat(Model):
    """What to know before using a forecast."""

    code: str
    """Stable, for machines."""
    message: str


class PredictResponse(Model):
    """A forecast; prices in KES."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [examples.ANSWER]})
    symbol: str
    name: str | None
    """Null for a symbol that is no counter."""
    sector: str | None
    prediction: float
    """The published price: the median of the forecast, a price that can be quoted."""
    mean_prediction: float
    """The forecast for squared error, not rounded: an output of its own, trained with the Huber loss, and not
    the mean of the distribution that the intervals come from."""
    horizon: Horizon
    target_date: dt.date
    """The session forecast; a future one is a weekday that is no public holiday known so far."""
    last_price: float
    last_date: dt.date
    change_percent: float
    """``prediction`` against ``last_price``."""
    model_type: ModelType
    confidence: Word
    """A documented rule, not a probability."""
    confidence_reasons: list[str]
    confidence_interval: Interval | None
    """At 90 %; null where the model gives none."""
    intervals: dict[Level, Interval]
    mape: float | None
    """Mean absolute error on the test part for this symbol and horizon, percent; null if not measured."""
    naive_mape: float | None
    """The same of the last price."""
    forecast_source: Source
    """``last_price``: the price stood still, or the model did not beat it on validation."""
    warnings: list[Caveat]
    model_version: str
    """``<preset>_specific`` or ``<preset>_general``."""
    release: str
    cached: bool
    """The model was loaded already."""
    execution_time: float
    """Seconds."""
    timestamp: dt.datetime
    request_id: str


class SymbolError(Model):
    """Why one symbol of many has no forecast."""

    symbol: str
    status: int
    title: str
    detail: str


class BatchSummary(Model):
    total: int
    successful: int
    failed: int
    errors: list[SymbolError]


class BatchResponse(Model):
    """Forecasts of one release, in the order asked; a symbol that failed is in ``summary.errors``."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [examples.ANSWERS]})
    predictions: list[PredictResponse]
    summary: BatchSummary
    release: str
    execution_time: float
    """Seconds."""
    timestamp: dt.datetime
    request_id: str
