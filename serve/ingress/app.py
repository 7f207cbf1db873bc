"""The HTTP application of API v4 and its OpenAPI description."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from serve.ingress.dashboard_routes import add_dashboard
from serve.ingress.forecast_routes import add_forecast_routes
from serve.ingress.identity import client_dependency
from serve.ingress.price_routes import add_price_routes
from serve.ingress.release_routes import add_release_routes
from serve.ingress.responses import Packing, conditional_request
from serve.ingress.service_routes import add_service_routes
from serve.schemas.problems import register
from serve.settings import ServeSettings

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient


def make_api(model_client: ModelClient) -> FastAPI:
    """Build the application with all its routes."""
    settings, keys = model_client.settings, model_client.keys
    api = FastAPI(
        title="nsecast",
        version="4",
        description="Forecasts for every stock of the Nairobi Securities Exchange. Not investment advice.",
        docs_url=None,  # it loads scripts from other sites; `dashboard_routes` has a page without scripts
        redoc_url=None,
    )
    register(api)
    api.add_middleware(Packing)
    if settings.cors_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["ETag", "Retry-After", "X-Request-ID", "X-Correlation-ID"],
        )
    if keys:
        keys.follow()
    reader = Depends(client_dependency(settings, keys, "read"))
    admin = Depends(client_dependency(settings, keys, "admin"))
    conditional = Depends(conditional_request(model_client))
    add_forecast_routes(api, model_client, reader, conditional)
    add_release_routes(api, model_client, reader, conditional)
    add_price_routes(api, model_client, admin)
    add_service_routes(api, model_client, reader, admin)
    add_dashboard(api)
    return api


def openapi_description() -> dict[str, Any]:
    """Return the OpenAPI description of the service without starting one."""
    model_client = SimpleNamespace(settings=ServeSettings(home="/"), keys=None)  # no route is called
    return make_api(cast("ModelClient", model_client)).openapi()
