"""Requests and forecasts of API v4. Errors are in `serve.schemas.problems`."""

import datetime as dt
import itertools
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
from pydantic import BeforeValidator, Field, StrictBool, StringConstraints

from common.forecast.confidence import ConfidenceRating
from serve.schemas import examples
from serve.schemas.fields import (
    MAX_BATCH,
    PRICE_COUNT,
    Closes,
    ClosesOrMap,
    Day,
    Price,
    Symbol,
    Volume,
    limit_members,
)

Horizon = Literal["1d", "5d", "10d", "30d"]
ModelType = Literal["stock_specific", "general"]
Level = Literal["80", "90", "95"]
Source = Literal["model", "last_price"]
MapeSource = Literal["stock", "general", "all"]


def as_horizon(value: Any) -> Any:
    """Return ``"5d"`` for 5, ``"5"``, ``"5d"`` and ``"5D"``; anything else unchanged."""
    return _WRITTEN.get(value, value) if isinstance(value, str | int | float) and value is not True else value


_WRITTEN: dict[Any, str] = {
    written: name for name in get_args(Horizon) for written in (int(name[:-1]), name[:-1], name, name.upper())
}
AnyHorizon = Annotated[Horizon, BeforeValidator(as_horizon, json_schema_input_type=Literal[tuple(_WRITTEN)])]
"""A horizon of a request: trading days ahead."""


def days_of(horizon: str) -> int:
    """Return the trading days of a horizon: 5 for ``"5d"``."""
    return int(horizon[:-1])


class Model(pydantic.BaseModel):
    """Base of all bodies: frozen, with the docstring of a field as its description."""

    model_config = pydantic.ConfigDict(frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class _Request(Model):
    """Base of request bodies: an unknown field is an error."""

    model_config = pydantic.ConfigDict(extra="forbid")
    _limit_names = pydantic.model_validator(mode="before")(staticmethod(limit_members))


class Bar(_Request):
    """One session of a stock, prices in KES."""

    close: Price
    high: Price | None = None
    low: Price | None = None
    volume: Volume | None = None
    """Shares traded."""
    date: Day | None = None
    """Send the date of every bar, or of none."""

    @pydantic.model_validator(mode="after")
    def _check_range(self) -> Self:
        low = self.close if self.low is None else self.low
        high = self.close if self.high is None else self.high
        if not low <= self.close <= high:
            raise ValueError("low <= close <= high")
        return self


class PredictRequest(_Request):
    """One stock, one horizon. Without prices, the forecast uses those of the release."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [*examples.PREDICT]})
    symbol: Symbol
    """Symbol, former symbol or company name, in any case; a symbol also as ``NSE:SCOM``, ``NSEKE:SCOM``,
    ``SCOM.NR`` or ``SCOM.KE``."""
    horizon: AnyHorizon = "1d"
    """Trading days ahead: ``5``, ``"5"``, ``"5d"`` or ``"5D"``."""
    recent_prices: Closes | None = None
    """Closes in KES, oldest first. The model uses as many of the newest as its window holds."""
    recent_bars: Annotated[list[Bar], PRICE_COUNT] | None = None
    """Sessions with range and volume, oldest first; an alternative to ``recent_prices``."""
    as_of: Day | None = None
    """Forecast from what was known on the evening of that day. Default: everything in the release."""
    allow_unknown: StrictBool = False
    """Accept a symbol that is not listed, and forecast it from the prices sent, with low confidence."""

    @pydantic.model_validator(mode="after")
    def _check_prices(self) -> Self:
        if self.recent_prices is not None and self.recent_bars is not None:
            raise ValueError("send recent_prices or recent_bars, never both")
        bars = self.recent_bars or []
        dates = [bar.date for bar in bars if bar.date]
        if dates and len(dates) != len(bars):
            raise ValueError("recent_bars: give the date of every bar, or of none")
        for before, after in itertools.pairwise(dates):
            if before >= after:
                raise ValueError(f"recent_bars: {after} follows {before}; send each day once, oldest first")
        return self

    @property
    def has_prices(self) -> bool:
        return self.recent_prices is not None or self.recent_bars is not None


class BatchRequest(_Request):
    """Many stocks, one horizon."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [*examples.BATCH]})
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=MAX_BATCH)]
    horizon: AnyHorizon = "1d"
    recent_prices: ClosesOrMap | None = None
    """One list for all symbols, or a map from symbols to lists."""
    as_of: Day | None = None
    allow_unknown: StrictBool = False

    @pydantic.model_validator(mode="after")
    def _check_symbols(self) -> Self:
        given = self.recent_prices if isinstance(self.recent_prices, dict) else {}
        if unknown := sorted(given.keys() - set(self.symbols)):
            raise ValueError(f"recent_prices: {', '.join(unknown[:5])} not among the symbols")
        return self


class SectorRequest(_Request):
    """Every stock of one sector."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [*examples.SECTOR]})
    sector: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)]
    """A name from ``/api/v4/models/available?include_sectors=true``, in any case."""
    horizon: AnyHorizon = "1d"
    as_of: Day | None = None


class Interval(Model):
    """A range in KES that should hold the price with probability ``level``."""

    lower: float
    upper: float
    level: float


class Caveat(Model):
    """A warning about a forecast."""

    code: str
    """Stable identifier for programs."""
    message: str


class PredictResponse(Model):
    """A forecast; prices in KES."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [examples.ANSWER]})
    symbol: str
    name: str | None
    """Null for a symbol that is not listed."""
    sector: str | None
    prediction: float
    """The published price: the median of the forecast, rounded to a price that can be quoted."""
    mean_prediction: float
    """The forecast for squared error, not rounded: a separate output trained with the Huber loss, not the
    mean of the distribution behind the intervals."""
    horizon: Horizon
    target_date: dt.date
    """The session that is forecast; in the future, a weekday without a known public holiday."""
    last_price: float
    last_date: dt.date
    change_percent: float
    """``prediction`` relative to ``last_price``."""
    expected_change_percent: float | None = None
    """``mean_prediction`` relative to ``last_price``: the change that is best for squared error. It is not
    rounded, so it also tells the direction where ``prediction`` is the last price."""
    probability_up: float | None = None
    """Of a close above ``last_price`` on ``target_date``, by at least one tick. The three sum to
    1, and are null if the model gives none."""
    probability_unchanged: float | None = None
    """Of a close equal to ``last_price``; 1 if the price has not moved for a whole window."""
    probability_down: float | None = None
    """Of a close below ``last_price``."""
    model_type: ModelType
    confidence: ConfidenceRating
    """From a documented rule; not a probability."""
    confidence_reasons: list[str]
    confidence_interval: Interval | None
    """At 90 %; null if the model gives none."""
    intervals: dict[Level, Interval]
    mape: float | None
    """Mean absolute percentage error on the test part at this horizon, of what ``mape_source`` says."""
    mape_source: MapeSource | None = None
    """``stock``: of this stock; ``general``: of the stocks that the general model forecasts, since this one
    was not measured; ``all``: of all stocks, since none of those was measured. Null without any figure."""
    naive_mape: float | None
    """The error of the last price as the forecast, for this stock; null if not measured."""
    forecast_source: Source
    """``last_price`` if the price has not moved, or if the model did not beat it on validation."""
    warnings: list[Caveat]
    model_version: str
    """``<preset>_specific`` or ``<preset>_general``."""
    release: str
    cached: bool
    """Whether the model was already loaded."""
    execution_time: float
    """Seconds."""
    timestamp: dt.datetime
    request_id: str


class SymbolError(Model):
    """Why one symbol of a batch has no forecast."""

    symbol: str
    """As requested."""
    status: int
    title: str
    detail: str


class BatchSummary(Model):
    total: int
    successful: int
    failed: int
    errors: list[SymbolError]


class BatchResponse(Model):
    """Forecasts from one release, in the order requested; ``summary.errors`` lists failed symbols.

    A stock that was requested twice, such as by its former and its present symbol, is answered twice.
    """

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [examples.ANSWERS]})
    predictions: list[PredictResponse]
    summary: BatchSummary
    release: str
    execution_time: float
    """Seconds."""
    timestamp: dt.datetime
    request_id: str


class Outlook(Model):
    """Forecasts of one stock at every horizon of the release, nearest first."""

    symbol: str
    release: str
    predictions: list[PredictResponse]
