"""The routes of the dashboard and its files, which need no key and are not part of the API."""

import asyncio
import functools

from fastapi import FastAPI, HTTPException, Request, Response

from serve.dashboard.assets import Asset, Assets, asset, plotly_asset, plotly_version
from serve.ingress.api_reference import api_markdown, api_page
from serve.ingress.responses import matches

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
"""Nothing inline and nothing from other sites. plotly.js sets styles one by one, which this policy allows. It
adds no style sheets, because the page has elements with their ids (`assets.plotly_styles`)."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FOREVER = "public, max-age=31536000, immutable"
"""Caching of files whose address changes with their contents."""
METHODS = ["GET", "HEAD"]


def add_dashboard(api: FastAPI) -> None:
    """Serve the page at ``/``, its files below ``/static/``, and the reference of the API at ``/docs``."""
    assets = Assets()

    @api.api_route("/", methods=METHODS, include_in_schema=False)
    async def page(request: Request) -> Response:
        return _response(request, assets.page, "no-cache")

    @functools.cache
    def reference_asset() -> Asset:
        return asset("docs.html", api_page(api_markdown(api.openapi()), assets.version))

    @api.api_route("/docs", methods=METHODS, include_in_schema=False)
    async def docs(request: Request) -> Response:
        return _response(request, await asyncio.to_thread(reference_asset), "no-cache")

    @api.api_route("/static/plotly-{version}.js", methods=METHODS, include_in_schema=False)
    async def plotly(request: Request, version: str) -> Response:
        if version != plotly_version():
            raise HTTPException(404)
        return _response(request, await asyncio.to_thread(plotly_asset), FOREVER)

    @api.api_route("/static/{version}/{name:path}", methods=METHODS, include_in_schema=False)
    async def static(request: Request, version: str, name: str) -> Response:
        if version != assets.version or name not in assets.files:
            raise HTTPException(404, "This version of the page has no such file. Load the page again.")
        return _response(request, assets.files[name], FOREVER)


def _response(request: Request, asset: Asset, caching: str) -> Response:
    headers = SECURITY_HEADERS | {"ETag": asset.tag, "Cache-Control": caching, "Vary": "Accept-Encoding"}
    if matches(asset.tag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.content, headers=headers, media_type=asset.media_type)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.packed, headers=headers, media_type=asset.media_type)
