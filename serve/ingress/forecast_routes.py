"""The routes of API v4 that forecast; each calls `serve.model_client.client.ModelClient`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from serve.auth.keys import Client
from serve.inference.window_builder import split_batch
from serve.ingress.identity import RateLimit, client_check, sent_key
from serve.ingress.responses import (
    NO_STORE,
    NOT_MODIFIED,
    PREDICT,
    V4,
    ConditionalRequest,
    json_response,
    large_json_response,
)
from serve.schemas.fields import Day, Symbol
from serve.schemas.forecast import (
    AnyHorizon,
    BatchRequest,
    BatchResponse,
    Model,
    Outlook,
    PredictRequest,
    PredictResponse,
    SectorRequest,
)
from serve.schemas.problems import responses
from serve.settings import SHARED_RATE

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient

BODY = (400, 413, 415, 422)
"""Statuses of every route with a body."""


def direct_route(body: type[Model], check: Callable[[Request, str | None], Client]) -> type[APIRoute]:
    """Return a route class for endpoints that take a request, a body and a client.

    A request that is as its schema says is validated in one pass and goes to the endpoint at once; FastAPI's
    own handling takes a fifth of a router's time. Any other request still gets that, and its errors.
    """

    class DirectRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            endpoint, general = self.endpoint, super().get_route_handler()

            async def handle(request: Request) -> Response:
                if request.headers.get("content-type") != "application/json":
                    return await general(request)
                try:
                    valid = body.model_validate_json(await request.body())
                except (ValidationError, ClientDisconnect):
                    return await general(request)
                response: Response = await endpoint(request, valid, check(request, sent_key(request)))
                return response

            return handle

    return DirectRoute


def add_forecast_routes(api: FastAPI, model_client: ModelClient, reader: Any, conditional: Any) -> None:
    limits = model_client.settings.limits
    free = model_client.settings.forecasts_per_minute == 0
    chosen = SHARED_RATE if limits.forecasts_per_minute is None else limits.forecasts_per_minute
    rate = RateLimit(chosen, local=not free)

    def cache_headers(request: ConditionalRequest, *, failed: bool = False) -> dict[str, str]:
        """Let the client cache a response unless a model failed while it was made."""
        return NO_STORE if failed or model_client.bad() != request.bad else request.headers

    async def predict(request: Request, body: PredictRequest, client: Client = reader) -> Response:
        """Forecast the price of one stock some trading days ahead."""
        await rate.hit(client.id)
        return json_response(await model_client.predict(body, request.state.facts))

    api.router.add_api_route(
        PREDICT,
        predict,
        methods=["POST"],
        response_model=PredictResponse,
        responses=responses(404, *BODY),
        route_class_override=direct_route(
            PredictRequest, client_check(model_client.settings, model_client.keys, "read")
        ),
    )

    @api.post(f"{V4}/predict/batch", response_model=BatchResponse, responses=responses(*BODY))
    async def predict_batch(request: Request, body: BatchRequest, client: Client = reader) -> Response:
        """Forecast many stocks with one release; one that fails is listed and does not affect the others."""
        limits.check_batch(len(body.symbols))
        requests = split_batch(body)
        await rate.hit(client.id, len(requests))
        batch = await model_client.predict_batch(model_client.loaded, requests, request.state.facts)
        return await large_json_response(batch)

    @api.post(f"{V4}/predict/sector", response_model=BatchResponse, responses=responses(*BODY))
    async def predict_sector(request: Request, body: SectorRequest, client: Client = reader) -> Response:
        """Forecast every stock of a sector."""
        loaded = model_client.loaded
        symbols = loaded.in_sector(body.sector)
        requests = split_batch(
            BatchRequest.model_construct(symbols=symbols, horizon=body.horizon, as_of=body.as_of)
        )
        await rate.hit(client.id, len(requests))
        return await large_json_response(
            await model_client.predict_batch(loaded, requests, request.state.facts)
        )

    @api.get(f"{V4}/predict/all", response_model=BatchResponse, responses=responses(422) | NOT_MODIFIED)
    async def predict_all(
        request: Request,
        horizon: AnyHorizon = "1d",
        as_of: Annotated[Day | None, Query()] = None,
        client: Client = reader,
        cached: ConditionalRequest = conditional,
    ) -> Response:
        """Forecast every stock of the exchange."""
        if cached.is_current:
            return cached.not_modified()
        symbols = list(cached.loaded.universe.symbols)
        requests = split_batch(BatchRequest.model_construct(symbols=symbols, horizon=horizon, as_of=as_of))
        await rate.hit(client.id, rate.at_most(len(requests)))
        batch = await model_client.predict_batch(cached.loaded, requests, request.state.facts)
        failed = any(error.status >= 500 for error in batch.summary.errors)
        return await large_json_response(batch, headers=cache_headers(cached, failed=failed))

    @api.get(f"{V4}/outlook/{{symbol}}", response_model=Outlook, responses=responses(404, 422) | NOT_MODIFIED)
    async def outlook(
        request: Request, symbol: Symbol, client: Client = reader, cached: ConditionalRequest = conditional
    ) -> Response:
        """Forecast one stock at every horizon, from the prices in the release."""
        if cached.is_current:
            return cached.not_modified()
        await rate.hit(client.id, len(cached.loaded.positions))
        forecasts = await model_client.outlook(cached.loaded, symbol, request.state.facts)
        return json_response(forecasts, headers=cache_headers(cached))
