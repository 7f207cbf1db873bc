"""The requests of the API, each with the type of its response; nothing is sent here."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import pydantic

from common.errors import BadRequest
from serve.schemas.forecast import (
    Bar,
    BatchRequest,
    BatchResponse,
    Horizon,
    Model,
    Outlook,
    PredictRequest,
    PredictResponse,
    SectorRequest,
)
from serve.schemas.insights import InsightsPage
from serve.schemas.live import LivePage
from serve.schemas.market import HistoryPage, MarketPage
from serve.schemas.matrix import MatrixPage
from serve.schemas.models import AvailableModels, StockModel
from serve.schemas.posted_prices import PostedPrices, PricesResponse
from serve.schemas.releases import ReleasesPage
from serve.schemas.service import Health, Stats

V4 = "/api/v4"
DateLike = dt.date | str
Answer = TypeVar("Answer", bound=Model | str)
"""The type of a response: a schema, or the text itself."""


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request; every request is safe to retry."""

    answer: type[Answer]
    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def predict(
    symbol: str,
    horizon: Horizon = "1d",
    *,
    recent_prices: Iterable[float] | None = None,
    recent_bars: Iterable[Bar | Mapping[str, Any]] | None = None,
    as_of: DateLike | None = None,
    allow_unknown: bool = False,
) -> Call[PredictResponse]:
    """Forecast one stock.

    Parameters
    ----------
    symbol : a symbol, a former one or a company's name, as people write them
    horizon : ``"1d"``, ``"5d"``, ``"10d"`` or ``"30d"``, also as a number
    recent_prices : closes in KES, oldest first, instead of the release's own
    recent_bars : the same with range, volume and date
    as_of : forecast from what was known on the evening of that day
    allow_unknown : accept an unknown symbol, and forecast from the prices sent
    """
    body = {
        "symbol": symbol,
        "horizon": horizon,
        "recent_prices": _closes(recent_prices),
        "recent_bars": None if recent_bars is None else list(recent_bars),
        "as_of": as_of,
        "allow_unknown": allow_unknown,
    }
    return _post(PredictResponse, "predict", PredictRequest, body)


def predict_batch(
    symbols: Iterable[str],
    horizon: Horizon = "1d",
    *,
    recent_prices: Iterable[float] | Mapping[str, Iterable[float]] | None = None,
    as_of: DateLike | None = None,
    allow_unknown: bool = False,
) -> Call[BatchResponse]:
    """Forecast up to 100 stocks by one release; those that fail are in ``summary.errors``.

    Parameters
    ----------
    recent_prices : closes in KES for all stocks, or by symbol
    """
    body = {
        "symbols": list(symbols),
        "horizon": horizon,
        "recent_prices": {symbol: _closes(prices) for symbol, prices in recent_prices.items()}
        if isinstance(recent_prices, Mapping)
        else _closes(recent_prices),
        "as_of": as_of,
        "allow_unknown": allow_unknown,
    }
    return _post(BatchResponse, "predict/batch", BatchRequest, body)


def predict_sector(
    sector: str, horizon: Horizon = "1d", *, as_of: DateLike | None = None
) -> Call[BatchResponse]:
    """Forecast every stock of a sector (case-insensitive)."""
    body = {"sector": sector, "horizon": horizon, "as_of": as_of}
    return _post(BatchResponse, "predict/sector", SectorRequest, body)


def predict_all(horizon: Horizon = "1d", *, as_of: DateLike | None = None) -> Call[BatchResponse]:
    """Forecast every stock of the exchange."""
    return _get(BatchResponse, "predict/all", horizon=horizon, as_of=as_of)


def outlook(symbol: str) -> Call[Outlook]:
    """Forecast one stock at every horizon."""
    return _get(Outlook, f"outlook/{quote(symbol, safe='')}")


def models(*, include_sectors: bool = False) -> Call[AvailableModels]:
    """List every stock and its model, optionally with its sector."""
    return _get(AvailableModels, "models/available", include_sectors=str(include_sectors).lower())


def model(symbol: str) -> Call[StockModel]:
    """Describe one stock, its model and the model's errors."""
    return _get(StockModel, f"models/{quote(symbol, safe='')}")


def matrix() -> Call[MatrixPage]:
    """Return the errors of every stock and horizon on the test part, beside the naive forecast."""
    return _get(MatrixPage, "matrix")


def history(symbol: str, horizon: Horizon = "1d", *, days: int = 250) -> Call[HistoryPage]:
    """Return the newest ``days`` prices of a stock, and its forecasts in the test part."""
    return _get(HistoryPage, f"history/{quote(symbol, safe='')}", horizon=horizon, days=days)


def market() -> Call[MarketPage]:
    """Return every stock's newest closes and warnings."""
    return _get(MarketPage, "market")


def insights() -> Call[InsightsPage]:
    """Return the release's errors by horizon, calibration, embedding and the five questions."""
    return _get(InsightsPage, "insights")


def card() -> Call[str]:
    """Return the model card of the release in production, Markdown."""
    return _get(str, "models/card")


def prices(rows: Iterable[Mapping[str, Any]]) -> Call[PricesResponse]:
    """Add the rows of one trading day to production (admin key), and return the result."""
    return _post(PricesResponse, "prices", PostedPrices, {"rows": list(rows)})


def releases() -> Call[ReleasesPage]:
    """List every release and the history of production."""
    return _get(ReleasesPage, "releases")


def live() -> Call[LivePage]:
    """Return the result of the last `nsecast monitor`: errors of served forecasts, and drift."""
    return _get(LivePage, "live")


def health() -> Call[Health]:
    """Return the server's status and its problems."""
    return _get(Health, "health")


def stats() -> Call[Stats]:
    """Return the counts of one router, by tier."""
    return _get(Stats, "stats")


def _get(answer: type[Answer], page: str, **params: Any) -> Call[Answer]:
    given = {name: str(value) for name, value in params.items() if value is not None}
    return Call(answer, "GET", f"{V4}/{page}", given)


def _post(answer: type[Answer], page: str, kind: type[Model], values: Mapping[str, Any]) -> Call[Answer]:
    """Validate a request; raises BadRequest if it is invalid."""
    try:
        body = kind.model_validate({name: value for name, value in values.items() if value is not None})
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'request'}: {item['msg']} (got {item['input']!r:.80})"
            for item in error.errors()[:3]
        )
        raise BadRequest(f"not sent: {problems}.", status=422) from None
    return Call(answer, "POST", f"{V4}/{page}", body=body.model_dump_json(exclude_defaults=True).encode())


def _closes(prices: Iterable[float] | None) -> list[float] | None:
    """Convert a list, an array or a pandas series to floats."""
    return None if prices is None else [float(price) for price in prices]
