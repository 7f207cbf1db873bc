"""What a release has to show: its models, its matrix, its prices and its past forecasts."""

import datetime as dt

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.errors import BadRequest
from common.exchange.universe import Stock
from serve.inference.loaded_release import LoadedRelease
from serve.inference.response import model_version
from serve.inference.routing import Route, route
from serve.schemas.forecast import Horizon, days_of
from serve.schemas.pages import (
    AvailableModels,
    HistoryDay,
    HistoryPage,
    MatrixPage,
    ModelCard,
    ModelSummary,
    PastForecast,
)


def available(
    loaded: LoadedRelease, *, include_sectors: bool = False, bad: frozenset[str] = frozenset()
) -> AvailableModels:
    """Every stock of the universe and its model; ``bad`` as in `LoadedRelease.prepare`."""
    cards = [model_card(loaded, symbol, bad=bad) for symbol in loaded.universe.symbols]
    own = sum(card.model_type != "general" for card in cards)
    return AvailableModels(
        release=loaded.release.id,
        synthetic=loaded.panel.synthetic,
        total=len(cards),
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


def model_card(loaded: LoadedRelease, symbol: str, *, bad: frozenset[str] = frozenset()) -> ModelCard:
    """One stock and its model; raises UnknownSymbol if it is no counter."""
    chosen = _found(loaded, symbol, bad)
    stock, series = _stock(chosen), loaded.history.series
    rows = series.rows(symbol) if symbol in series.symbols else slice(0, 0)
    there = rows.stop > rows.start
    return ModelCard(
        symbol=symbol,
        name=stock.name,
        sector=stock.sector,
        tier=stock.tier,
        model_type=chosen.model_type,
        model_version=model_version(loaded.preset, chosen.model_type),
        horizons=list(loaded.positions),
        last_date=series.dates[rows.stop - 1].item() if there else None,
        last_price=float(series.close[rows.stop - 1]) if there else None,
        sessions=rows.stop - rows.start,
        performance=loaded.matrix.get(symbol),
        release=loaded.release.id,
    )


def matrix_page(loaded: LoadedRelease) -> MatrixPage:
    """The performance matrix."""
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
    """The newest ``days`` prices of a stock, and its forecasts of the test part in that time.

    Reads the release's file of forecasts, which takes tens of milliseconds: call it in a thread.

    Raises
    ------
    UnknownSymbol
        If it is no counter.
    BadRequest
        If the release has no such horizon.
    """
    stock = _stock(_found(loaded, symbol, frozenset()))
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
        forecasts=[each for each in forecasts if each.target_date >= first],
        release=loaded.release.id,
    )


def _found(loaded: LoadedRelease, symbol: str, bad: frozenset[str]) -> Route:
    return route(symbol, loaded.universe, loaded.loadable(bad))


def _stock(chosen: Route) -> Stock:
    assert chosen.stock is not None, "route() without allow_unknown finds a counter or raises"
    return chosen.stock


def _prices(loaded: LoadedRelease, symbol: str, days: int) -> list[HistoryDay]:
    if symbol not in loaded.history.series.symbols:
        return []
    rows = loaded.panel.history(symbol).tail(days)
    return [
        HistoryDay(
            date=row.date.date(),
            close=row.close,
            low=_known(row.low),
            high=_known(row.high),
            volume=_known(row.volume),
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
            lower=_known(row.lo90),
            upper=_known(row.hi90),
        )
        for row in table.sort_values("cutoff").itertuples(index=False)
    ]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
