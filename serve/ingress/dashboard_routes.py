"""Where the page and its files are served; none of it asks for a key or is part of the API."""

import asyncio
import functools

from fastapi import FastAPI, HTTPException, Request, Response

from serve.dashboard.assets import Asset, Assets, asset, plotly_asset, plotly_version
from serve.ingress.api_reference import reference
from serve.ingress.etag import matches
from serve.ingress.reference_page import reference_page

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
"""Nothing inline, nothing from elsewhere. plotly.js sets styles one by one, which this policy allows, and it
writes no style sheets, because elements of the page have their ids."""
SAFE = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
KEPT = "public, max-age=31536000, immutable"
"""Of addresses that change with what is there."""
METHODS = ["GET", "HEAD"]


def add_dashboard(api: FastAPI) -> None:
    """The page at ``/``, its files below ``/static/``, and the API's reference at ``/docs``."""
    assets = Assets()

    @api.api_route("/", methods=METHODS, include_in_schema=False)
    async def page(request: Request) -> Response:
        return _sent(request, assets.page, "no-cache")

    @functools.cache
    def reference_asset() -> Asset:
        return asset("docs.html", reference_page(reference(api.openapi()), assets.version))

    @api.api_route("/docs", methods=METHODS, include_in_schema=False)
    async def docs(request: Request) -> Response:
        return _sent(request, await asyncio.to_thread(reference_asset), "no-cache")

    @api.api_route("/static/plotly-{version}.js", methods=METHODS, include_in_schema=False)
    async def plotly(request: Request, version: str) -> Response:
        if version != plotly_version():
            raise HTTPException(404)
        return _sent(request, await asyncio.to_thread(plotly_asset), KEPT)

    @api.api_route("/static/{version}/{name:path}", methods=METHODS, include_in_schema=False)
    async def static(request: Request, version: str, name: str) -> Response:
        if version != assets.version or name not in assets.files:
            raise HTTPException(404, "No such file of this version of the page. Load the page again.")
        return _sent(request, assets.files[name], KEPT)


def _sent(request: Request, asset: Asset, keep: str) -> Response:
    headers = SAFE | {"ETag": asset.tag, "Cache-Control": keep, "Vary": "Accept-Encoding"}
    if matches(asset.tag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.content, headers=headers, media_type=asset.media_type)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.packed, headers=headers, media_type=asset.media_type)
