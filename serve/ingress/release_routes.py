"""The routes of API v4 that show releases: models, prices, errors, the registry, and realised accuracy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Response

from common import storage
from common.release.released_models import read_model_card
from serve.ingress.responses import NO_STORE, NOT_MODIFIED, V4, ConditionalRequest, json_response
from serve.schemas.fields import Symbol
from serve.schemas.forecast import AnyHorizon
from serve.schemas.insights import InsightsPage
from serve.schemas.live import LivePage
from serve.schemas.market import HistoryPage, MarketPage
from serve.schemas.matrix import MatrixPage
from serve.schemas.models import AvailableModels, StockModel
from serve.schemas.problems import responses
from serve.schemas.releases import ReleasesPage
from serve.views import models as views
from serve.views.accuracy import live_page
from serve.views.insights import insights_page
from serve.views.market import market_page
from serve.views.releases import releases_page

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient


MARKDOWN: dict[int | str, dict[str, Any]] = {
    200: {"description": "Markdown.", "content": {"text/markdown": {"schema": {"type": "string"}}}}
}


def add_release_routes(api: FastAPI, model_client: ModelClient, reader: Any, conditional: Any) -> None:
    home = storage.home(model_client.settings.home)

    def by_release(*statuses: int) -> dict[str, Any]:
        return {"responses": responses(422, *statuses) | NOT_MODIFIED, "dependencies": [reader]}

    @api.get(f"{V4}/models/available", response_model=AvailableModels, **by_release())
    async def models_available(
        include_sectors: bool = False, cached: ConditionalRequest = conditional
    ) -> Response:
        """List every stock with the model that forecasts it."""
        return await cached.respond(
            lambda: views.available(
                cached.loaded, include_sectors=include_sectors, bad=cached.bad, use=model_client.use()
            )
        )

    @api.get(
        f"{V4}/models/card",
        response_class=Response,
        responses=responses(422, 404) | NOT_MODIFIED | MARKDOWN,
        dependencies=[reader],
    )
    async def card(cached: ConditionalRequest = conditional) -> Response:
        """Return the model card of the release as Markdown: data, recipe, figures, limits, intended use."""
        return await cached.respond(lambda: read_model_card(cached.loaded.release), "text/markdown")

    @api.get(f"{V4}/models/{{symbol}}", response_model=StockModel, **by_release(404))
    async def model(symbol: Symbol, cached: ConditionalRequest = conditional) -> Response:
        """Describe one stock, its model and the model's errors."""
        return await cached.respond(
            lambda: views.stock_model(cached.loaded, symbol, bad=cached.bad, use=model_client.use())
        )

    @api.get(f"{V4}/matrix", response_model=MatrixPage, **by_release())
    async def matrix(cached: ConditionalRequest = conditional) -> Response:
        """Compare every stock and horizon with the naive forecast, on the test part."""
        return await cached.respond(lambda: views.matrix_page(cached.loaded))

    @api.get(f"{V4}/history/{{symbol}}", response_model=HistoryPage, **by_release(404))
    async def history(
        symbol: Symbol,
        horizon: AnyHorizon = "1d",
        days: Annotated[int, Query(ge=1, le=5_000, description="Number of newest sessions.")] = 250,
        cached: ConditionalRequest = conditional,
    ) -> Response:
        """Show the prices of a stock, and its forecasts from the test part."""
        return await cached.respond(
            lambda: views.history_page(cached.loaded, symbol, horizon=horizon, days=days)
        )

    @api.get(f"{V4}/market", response_model=MarketPage, **by_release())
    async def market(cached: ConditionalRequest = conditional) -> Response:
        """Show the newest closes of every stock, and flags such as frozen or stale."""
        return await cached.respond(lambda: market_page(cached.loaded))

    @api.get(f"{V4}/insights", response_model=InsightsPage, **by_release())
    async def insights(cached: ConditionalRequest = conditional) -> Response:
        """Show the quality of the release: errors by horizon, calibration, embedding, the five questions."""
        return await cached.respond(lambda: insights_page(cached.loaded))

    @api.get(f"{V4}/releases", response_model=ReleasesPage, responses=responses(), dependencies=[reader])
    async def releases() -> Response:
        """List all releases and the moves of the production alias."""
        serving = model_client.loaded.release.id
        return json_response(await asyncio.to_thread(releases_page, home, serving), headers=NO_STORE)

    @api.get(f"{V4}/live", response_model=LivePage, responses=responses(), dependencies=[reader])
    async def live() -> Response:
        """Show the latest report of `nsecast monitor`: errors of served forecasts, and drift."""
        return json_response(await asyncio.to_thread(live_page, home), headers=NO_STORE)
