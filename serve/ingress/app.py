"""The routes of API v4 that forecast and show; each calls `serve.model_client.client.ModelClient`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from cluster.connect.source import digest
from serve.auth.keys import Client, KeyFile, Scope
from serve.inference.loaded_release import LoadedRelease
from serve.inference.window_builder import singles
from serve.ingress.cross_site import refuse_cross_site
from serve.ingress.dashboard_routes import add_dashboard
from serve.ingress.etag import NOT_KEPT, NOT_MODIFIED, ConditionalRequest, asker
from serve.ingress.forwarded import client_address
from serve.ingress.overview_routes import add_overview_routes
from serve.ingress.rate_limit import RateLimit
from serve.ingress.service_routes import V4, add_service_routes, as_json, rendered
from serve.schemas.forecast import (
    BatchRequest,
    BatchResponse,
    Day,
    Horizon,
    PredictRequest,
    PredictResponse,
    SectorRequest,
    Symbol,
)
from serve.schemas.pages import AvailableModels, HistoryPage, MatrixPage, ModelCard, Outlook
from serve.schemas.problems import register, responses
from serve.views import models as pages

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient
    from serve.settings import ServeSettings

ANYONE: frozenset[Scope] = frozenset({"read", "admin"})
BODY = (400, 413, 415, 422)
PACKED_FROM = 2_000
"""Bytes of an answer from which it is compressed; a single forecast is smaller."""
PACKED_IN_THREAD_FROM = 16_384
"""Bytes from which a thread compresses it; less takes the event loop a fraction of a millisecond."""


def make_api(model_client: ModelClient) -> FastAPI:
    """The application, with its OpenAPI description."""
    api = FastAPI(
        title="nsecast",
        version="4",
        description="Forecasts for every counter of the Nairobi Securities Exchange. Not investment advice.",
        docs_url=None,  # it loads scripts from elsewhere; ours is the dashboard's
        redoc_url=None,
    )
    register(api)
    api.add_middleware(
        GZipMiddleware,
        minimum_size=PACKED_FROM,
        compresslevel=5,
        thread_minimum_size=PACKED_IN_THREAD_FROM,
    )
    if model_client.settings.cors_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(model_client.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["ETag", "Retry-After", "X-Request-ID", "X-Correlation-ID"],
        )
    if model_client.keys:
        model_client.keys.follow()
    reader = Depends(_client(model_client.settings, model_client.keys, "read"))
    admin = Depends(_client(model_client.settings, model_client.keys, "admin"))
    asked_of = Depends(asker(lambda: model_client.loaded, lambda: model_client.bad(), digest()))
    _forecasts(api, model_client, reader, asked_of)
    _pages(api, reader, asked_of)
    add_overview_routes(api, model_client, reader, asked_of)
    add_service_routes(api, model_client, reader, admin)
    add_dashboard(api)
    return api


def _client(settings: ServeSettings, keys: KeyFile | None, scope: Scope) -> Callable[..., Any]:
    """A dependency: whose key the request brings; without a key file, its address.

    It raises what `KeyFile.check` does; without a key file CrossSite.
    """

    async def client(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))] = None,
        header: Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))] = None,
    ) -> Client:
        if keys is None:
            found = anyone(request)
        else:
            found = keys.check(bearer.credentials if bearer else header, scope)
        request.state.facts.client = found.id
        return found

    def anyone(request: Request) -> Client:
        refuse_cross_site(request.headers, request.method, settings.cors_origins, admin=scope == "admin")
        address = client_address(
            request.scope, behind_haproxy=settings.behind_haproxy, trusted=settings.trusted_proxies
        )
        return Client(address, "", ANYONE)

    return client


def _forecasts(api: FastAPI, model_client: ModelClient, reader: Any, asked_of: Any) -> None:
    rate, limits = RateLimit(model_client.settings.limits), model_client.settings.limits

    async def many(
        request: Request,
        requests: list[PredictRequest],
        loaded: LoadedRelease,
        client: Client,
        cost: int | None = None,
    ) -> BatchResponse:
        await rate.hit(client.id, len(requests) if cost is None else cost)
        return await model_client.predict_batch(loaded, requests, request.state.facts)

    def kept(asked: ConditionalRequest, statuses: Iterable[int] = ()) -> Mapping[str, str]:
        """Headers of an answer: it may be kept unless a model failed under it."""
        sound = model_client.bad() == asked.bad and all(status < 500 for status in statuses)
        return asked.headers if sound else NOT_KEPT

    @api.post(f"{V4}/predict", response_model=PredictResponse, responses=responses(404, *BODY))
    async def predict(request: Request, body: PredictRequest, client: Client = reader) -> Response:
        """One stock's price some trading days ahead."""
        await rate.hit(client.id)
        return as_json(await model_client.predict(body, request.state.facts))

    @api.post(f"{V4}/predict/batch", response_model=BatchResponse, responses=responses(*BODY))
    async def predict_batch(request: Request, body: BatchRequest, client: Client = reader) -> Response:
        """Many stocks by one release; one that fails is listed and costs the others nothing."""
        limits.check_batch(len(body.symbols))
        return await rendered(await many(request, singles(body), model_client.loaded, client))

    @api.post(f"{V4}/predict/sector", response_model=BatchResponse, responses=responses(*BODY))
    async def predict_sector(request: Request, body: SectorRequest, client: Client = reader) -> Response:
        """Every stock of a sector."""
        loaded = model_client.loaded
        batch = BatchRequest.model_construct(
            symbols=loaded.in_sector(body.sector), horizon=body.horizon, as_of=body.as_of
        )
        return await rendered(await many(request, singles(batch), loaded, client))

    @api.get(f"{V4}/predict/all", response_model=BatchResponse, responses=responses(422) | NOT_MODIFIED)
    async def predict_all(
        request: Request,
        horizon: Horizon = "1d",
        as_of: Annotated[Day | None, Query()] = None,
        client: Client = reader,
        asked: ConditionalRequest = asked_of,
    ) -> Response:
        """Every stock of the exchange."""
        if asked.known:
            return asked.unchanged()
        batch = BatchRequest.model_construct(
            symbols=list(asked.loaded.universe.symbols), horizon=horizon, as_of=as_of
        )
        cost = rate.at_most(len(batch.symbols))
        answer = await many(request, singles(batch), asked.loaded, client, cost)
        return await rendered(answer, headers=kept(asked, (each.status for each in answer.summary.errors)))

    @api.get(f"{V4}/outlook/{{symbol}}", response_model=Outlook, responses=responses(404, 422) | NOT_MODIFIED)
    async def outlook(
        request: Request, symbol: Symbol, client: Client = reader, asked: ConditionalRequest = asked_of
    ) -> Response:
        """One stock at every horizon, from all that the release knows."""
        if asked.known:
            return asked.unchanged()
        await rate.hit(client.id, len(asked.loaded.positions))
        answer = await model_client.outlook(asked.loaded, symbol, request.state.facts)
        return as_json(answer, headers=kept(asked))


def _pages(api: FastAPI, reader: Any, asked_of: Any) -> None:
    def by_release(*statuses: int) -> dict[str, Any]:
        return {"responses": responses(422, *statuses) | NOT_MODIFIED, "dependencies": [reader]}

    @api.get(f"{V4}/models/available", response_model=AvailableModels, **by_release())
    async def models_available(
        include_sectors: bool = False, asked: ConditionalRequest = asked_of
    ) -> Response:
        """Every stock, and the model that answers for it."""
        return await asked.answer(
            lambda: pages.available(asked.loaded, include_sectors=include_sectors, bad=asked.bad)
        )

    @api.get(f"{V4}/models/{{symbol}}", response_model=ModelCard, **by_release(404))
    async def model(symbol: Symbol, asked: ConditionalRequest = asked_of) -> Response:
        """One stock, its model and how good it is."""
        return await asked.answer(lambda: pages.model_card(asked.loaded, symbol, bad=asked.bad))

    @api.get(f"{V4}/matrix", response_model=MatrixPage, **by_release())
    async def matrix(asked: ConditionalRequest = asked_of) -> Response:
        """Every stock and horizon next to naive, on the test part."""
        return await asked.answer(lambda: pages.matrix_page(asked.loaded))

    @api.get(f"{V4}/history/{{symbol}}", response_model=HistoryPage, **by_release(404))
    async def history(
        symbol: Symbol,
        horizon: Horizon = "1d",
        days: Annotated[int, Query(ge=1, le=5_000, description="Newest sessions to show.")] = 250,
        asked: ConditionalRequest = asked_of,
    ) -> Response:
        """Prices of a stock, and what was forecast for them in the test part."""
        return await asked.answer(
            lambda: pages.history_page(asked.loaded, symbol, horizon=horizon, days=days)
        )
