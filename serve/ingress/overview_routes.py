"""The routes of API v4 that show the whole: market, quality of the release, registry, realised accuracy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response

from common import storage
from serve.ingress.etag import NOT_KEPT, NOT_MODIFIED, ConditionalRequest
from serve.ingress.service_routes import V4, as_json
from serve.schemas.problems import responses
from serve.views.accuracy import LivePage, live_page
from serve.views.insights import InsightsPage, insights_page
from serve.views.market import MarketPage, market_page
from serve.views.registry import ReleasesPage, releases_page

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient


def add_overview_routes(api: FastAPI, model_client: ModelClient, reader: Any, asked_of: Any) -> None:
    home = storage.home(model_client.settings.home)
    by_release: dict[str, Any] = {"responses": responses(422) | NOT_MODIFIED, "dependencies": [reader]}

    @api.get(f"{V4}/market", response_model=MarketPage, **by_release)
    async def market(asked: ConditionalRequest = asked_of) -> Response:
        """Every stock's newest closes, and what is wrong with it."""
        return await asked.answer(lambda: market_page(asked.loaded))

    @api.get(f"{V4}/insights", response_model=InsightsPage, **by_release)
    async def insights(asked: ConditionalRequest = asked_of) -> Response:
        """How good the release is: errors by horizon, calibration, embedding, the five questions."""
        return await asked.answer(lambda: insights_page(asked.loaded))

    @api.get(f"{V4}/releases", response_model=ReleasesPage, responses=responses(), dependencies=[reader])
    async def releases() -> Response:
        """Every release, and what was in production when."""
        serving = model_client.loaded.release.id
        return as_json(await asyncio.to_thread(releases_page, home, serving), headers=NOT_KEPT)

    @api.get(f"{V4}/live", response_model=LivePage, responses=responses(), dependencies=[reader])
    async def live() -> Response:
        """Errors of served forecasts next to the backtest's, and drift, as `nsecast monitor` last found."""
        return as_json(await asyncio.to_thread(live_page, home), headers=NOT_KEPT)
