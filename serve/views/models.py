"""Views of a release: its models, its matrix, its prices and its past forecasts."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.errors import BadRequest
from common.exchange.universe import Stock
from common.release.bundle import GENERAL
from common.release.refreshed import REFRESHED
from serve.inference.loaded_release import LoadedRelease
from serve.inference.model_cache import model_key
from serve.inference.response import model_version
from serve.inference.routing import route
from serve.schemas.forecast import Horizon, ModelType, days_of
from serve.schemas.market import HistoryDay, HistoryPage, PastForecast
from serve.schemas.matrix import MatrixPage
from serve.schemas.models import AvailableModels, ModelSummary, StockModel
from serve.schemas.service import CacheStats


@dataclass(frozen=True)
class ModelUse:
    """What a router knows of the replicas' loaded models, and its counts since it started."""

    loaded: frozenset[str] = frozenset()
    """Keys of models that a replica has loaded."""
    capacity: int = 0
    """Specific models that a replica keeps loaded."""
    hits: int = 0
    """Forecasts whose model was loaded already."""
    forecasts: int = 0

    def has(self, loaded: LoadedRelease, job: str) -> bool:
        return model_key(job, loaded.release.id) in self.loaded


NOT_USED = ModelUse()


def cached_stocks(loaded: LoadedRelease, use: ModelUse) -> tuple[str, ...]:
    """Return the symbols whose own model is loaded."""
    return tuple(symbol for symbol in sorted(loaded.own) if use.has(loaded, symbol))


def cache_stats(loaded: LoadedRelease, use: ModelUse, bad: frozenset[str] = frozenset()) -> CacheStats:
    """Count the stocks by model, and the loaded models; ``bad`` as in `LoadedRelease.prepare`."""
    own = sum(stock.symbol in loaded.loadable(bad) for stock in loaded.universe.specific)
    return CacheStats(
        cache_hit_rate=use.hits / use.forecasts if use.forecasts else 0.0,
        specific_models=own,
        general_model_stocks=len(loaded.universe.stocks) - own,
        cache_size=len(cached_stocks(loaded, use)),
        cache_capacity=use.capacity,
        total_requests=use.forecasts,
        cache_hits=use.hits,
    )


def available(
    loaded: LoadedRelease,
    *,
    include_sectors: bool = False,
    bad: frozenset[str] = frozenset(),
    use: ModelUse = NOT_USED,
) -> AvailableModels:
    """List every stock of the universe with its model; ``bad`` as in `LoadedRelease.prepare`."""
    cards = [stock_model(loaded, symbol, bad=bad) for symbol in loaded.universe.symbols]
    own = sum(card.model_type != "general" for card in cards)
    return AvailableModels(
        release=loaded.release.id,
        synthetic=loaded.panel.synthetic,
        total=len(cards),
        total_stocks=len(cards),
        trained_models=len(loaded.own),
        available_stocks=list(loaded.universe.symbols),
        models_by_sector=loaded.sectors,
        model_version=loaded.preset,
        cache_stats=cache_stats(loaded, use, bad),
        stock_specific=own,
        general=len(cards) - own,
        horizons=list(loaded.positions),
        models=[
            ModelSummary(
                confidence=card.performance.confidence if card.performance else "low",
                **{name: getattr(card, name) for name in ModelSummary.model_fields if name != "confidence"},
            )
            for card in cards
        ],
        sectors=loaded.sectors if include_sectors else None,
    )


def stock_model(
    loaded: LoadedRelease, symbol: str, *, bad: frozenset[str] = frozenset(), use: ModelUse = NOT_USED
) -> StockModel:
    """Describe one stock and its model; raises UnknownSymbol."""
    stock, model_type = _routed(loaded, symbol, bad)
    symbol = stock.symbol
    series = loaded.history.series
    rows = series.rows(symbol) if symbol in series.symbols else slice(0, 0)
    has_prices = rows.stop > rows.start
    return StockModel(
        symbol=symbol,
        name=stock.name,
        sector=stock.sector,
        tier=stock.tier,
        model_type=model_type,
        model_version=model_version(loaded.preset, model_type),
        horizons=list(loaded.positions),
        last_date=series.dates[rows.stop - 1].item() if has_prices else None,
        last_price=float(series.close[rows.stop - 1]) if has_prices else None,
        sessions=rows.stop - rows.start,
        available=rows.stop - rows.start >= loaded.spec.size,
        cached=use.has(loaded, GENERAL if model_type == GENERAL else symbol),
        training_date=_trained_to(loaded),
        test_mape=loaded.mape(symbol, next(iter(loaded.positions)))[0],
        performance=loaded.matrix.get(symbol),
        evaluated_until=loaded.valid_end,
        served_until=loaded.seen_until,
        release=loaded.release.id,
    )


def matrix_page(loaded: LoadedRelease) -> MatrixPage:
    """Return the performance matrix."""
    return MatrixPage(
        release=loaded.release.id,
        synthetic=loaded.panel.synthetic,
        source=loaded.panel.source,
        test_from=loaded.valid_end,
        test_to=dt.date.fromisoformat(loaded.release.info["test_end"]),
        rows=list(loaded.matrix.values()),
    )


def history_page(
    loaded: LoadedRelease, symbol: str, *, horizon: Horizon = "1d", days: int = 250
) -> HistoryPage:
    """Return the newest ``days`` prices of a stock, and its forecasts from the test part in that time.

    This reads the release's file of forecasts, which takes tens of milliseconds; call it in a thread.

    Raises
    ------
    UnknownSymbol
        If the symbol is not listed.
    BadRequest
        If the release has no such horizon.
    """
    stock, _ = _routed(loaded, symbol, frozenset())
    symbol = stock.symbol
    if horizon not in loaded.positions:
        raise BadRequest(
            f"horizon: got {horizon}, this release has {', '.join(loaded.positions)}. Choose one."
        )
    prices = _prices(loaded, symbol, days)
    forecasts = _forecasts(loaded, symbol, days_of(horizon))
    first = prices[0].date if prices else dt.date.max
    return HistoryPage(
        symbol=symbol,
        name=stock.name,
        horizon=horizon,
        prices=prices,
        forecasts=[forecast for forecast in forecasts if forecast.target_date >= first],
        release=loaded.release.id,
    )


def _routed(loaded: LoadedRelease, symbol: str, bad: frozenset[str]) -> tuple[Stock, ModelType]:
    chosen = route(symbol, loaded.universe, loaded.loadable(bad))
    assert chosen.stock is not None, "route() without allow_unknown returns a listed stock or raises"
    return chosen.stock, chosen.model_type


def _trained_to(loaded: LoadedRelease) -> dt.date:
    refreshed = loaded.release.info.get(REFRESHED)
    return dt.date.fromisoformat(refreshed["trained"]["to"]) if refreshed else loaded.data_end


def _prices(loaded: LoadedRelease, symbol: str, days: int) -> list[HistoryDay]:
    if symbol not in loaded.history.series.symbols:
        return []
    rows = loaded.panel.history(symbol).tail(days)
    return [
        HistoryDay(
            date=row.date.date(),
            close=row.close,
            low=_finite(row.low),
            high=_finite(row.high),
            volume=_finite(row.volume),
            flags=[str(flag.name) for flag in Flag(row.flags)],
        )
        for row in rows.itertuples(index=False)
    ]


def _forecasts(loaded: LoadedRelease, symbol: str, horizon: int) -> list[PastForecast]:
    columns = ["cutoff", "target_date", "last_price", "published", "actual", "lo90", "hi90"]
    table = pd.read_parquet(
        loaded.release.file("test_forecasts.parquet"),
        columns=columns,
        filters=[("symbol", "==", symbol), ("horizon", "==", horizon)],
    )
    return [
        PastForecast(
            cutoff=row.cutoff.date(),
            target_date=row.target_date.date(),
            last_price=row.last_price,
            published=row.published,
            actual=row.actual,
            lower=_finite(row.lo90),
            upper=_finite(row.hi90),
        )
        for row in table.sort_values("cutoff").itertuples(index=False)
    ]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
