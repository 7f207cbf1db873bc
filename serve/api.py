"""The routes of API v4 that forecast and show; every one ends in a method of `serve.office.Office`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from serve import pages
from serve.api_service import V4, add_service_routes, as_json, rendered
from serve.catalogue import AvailableModels, HistoryPage, MatrixPage, ModelCard
from serve.keys import Client, KeyFile
from serve.limits import RateLimit
from serve.problems import register, responses
from serve.requests import singles
from serve.schemas import (
    BatchRequest,
    BatchResponse,
    Day,
    Horizon,
    PredictRequest,
    PredictResponse,
    SectorRequest,
    Symbol,
)

if TYPE_CHECKING:
    from serve.office import Office

ANYONE = frozenset({"read", "admin"})
BODY = (400, 413, 415, 422)


def make_api(office: Office) -> FastAPI:
    """The application, with its OpenAPI description."""
    api = FastAPI(
        title="nsecast",
        version="4",
        description="Forecasts for every counter of the Nairobi Securities Exchange. Not investment advice.",
    )
    register(api)
    if office.settings.cors_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(office.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    keys = KeyFile(FilePath(office.settings.keys)) if office.settings.keys else None
    reader, admin = Depends(_client(keys, "read")), Depends(_client(keys, "admin"))
    _forecasts(api, office, reader)
    _pages(api, office, reader)
    add_service_routes(api, office, reader, admin)
    return api


def _client(keys: KeyFile | None, scope: Literal["read", "admin"]) -> Callable[..., Any]:
    """A dependency: whose key the request brings; without a key file, its address."""

    async def client(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))] = None,
        header: Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))] = None,
    ) -> Client:
        if keys is None:
            found = Client(request.client.host if request.client else "?", "", ANYONE)
        else:
            found = keys.check(bearer.credentials if bearer else header, scope)
        request.state.facts.client = found.id
        return found

    return client


def _forecasts(api: FastAPI, office: Office, reader: Any) -> None:
    rate, limits = RateLimit(office.settings.limits), office.settings.limits

    async def many(request: Request, requests: list[PredictRequest], desk: Any, client: Client) -> Response:
        rate.hit(client.id, len(requests))
        answer = await office.many(desk, requests, request.state.facts)
        return await rendered(lambda: answer)

    @api.post(f"{V4}/predict", response_model=PredictResponse, responses=responses(404, *BODY))
    async def predict(request: Request, body: PredictRequest, client: Client = reader) -> Response:
        """One stock's price some trading days ahead."""
        rate.hit(client.id)
        return as_json(await office.one(body, request.state.facts))

    @api.post(f"{V4}/predict/batch", response_model=BatchResponse, responses=responses(*BODY))
    async def predict_batch(request: Request, body: BatchRequest, client: Client = reader) -> Response:
        """Many stocks by one release; one that fails is listed and costs the others nothing."""
        limits.check_batch(len(body.symbols))
        return await many(request, singles(body), office.desk, client)

    @api.post(f"{V4}/predict/sector", response_model=BatchResponse, responses=responses(*BODY))
    async def predict_sector(request: Request, body: SectorRequest, client: Client = reader) -> Response:
        """Every stock of a sector."""
        desk = office.desk
        batch = BatchRequest.model_construct(
            symbols=desk.in_sector(body.sector), horizon=body.horizon, as_of=body.as_of
        )
        return await many(request, singles(batch), desk, client)

    @api.get(f"{V4}/predict/all", response_model=BatchResponse, responses=responses(422))
    async def predict_all(
        request: Request,
        horizon: Horizon = "1d",
        as_of: Annotated[Day | None, Query()] = None,
        client: Client = reader,
    ) -> Response:
        """Every stock of the exchange."""
        desk = office.desk
        batch = BatchRequest.model_construct(
            symbols=list(desk.universe.symbols), horizon=horizon, as_of=as_of
        )
        return await many(request, singles(batch), desk, client)


def _pages(api: FastAPI, office: Office, reader: Any) -> None:
    @api.get(
        f"{V4}/models/available",
        response_model=AvailableModels,
        responses=responses(422),
        dependencies=[reader],
    )
    async def models_available(include_sectors: bool = False) -> Response:
        """Every stock, and the model that answers for it."""
        desk, bad = office.desk, office.bad()
        return await rendered(lambda: pages.available(desk, include_sectors=include_sectors, bad=bad))

    @api.get(
        f"{V4}/models/{{symbol}}",
        response_model=ModelCard,
        responses=responses(404, 422),
        dependencies=[reader],
    )
    async def model(symbol: Symbol) -> Response:
        """One stock, its model and how good it is."""
        desk, bad = office.desk, office.bad()
        return as_json(pages.model_card(desk, symbol, bad=bad))

    @api.get(f"{V4}/matrix", response_model=MatrixPage, responses=responses(), dependencies=[reader])
    async def matrix() -> Response:
        """Every stock and horizon next to naive, on the test part."""
        desk = office.desk
        return await rendered(lambda: pages.matrix_page(desk))

    @api.get(
        f"{V4}/history/{{symbol}}",
        response_model=HistoryPage,
        responses=responses(404, 422),
        dependencies=[reader],
    )
    async def history(
        symbol: Symbol,
        horizon: Horizon = "1d",
        days: Annotated[int, Query(ge=1, le=5_000, description="Newest sessions to show.")] = 250,
    ) -> Response:
        """Prices of a stock, and what was forecast for them in the test part."""
        desk = office.desk
        return await rendered(lambda: pages.history_page(desk, symbol, horizon=horizon, days=days))
