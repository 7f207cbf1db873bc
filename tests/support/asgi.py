"""Requests to an ASGI application without a server."""

import asyncio
from typing import Any

import httpx

ADMIN = {"/api/v4/refresh", "/api/v4/cache/clear"}
"""Routes that change the server; they ask for an admin key."""


class Client:
    """Sends requests to ``app``; what it raises is its answer of status 500."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **content)

        return asyncio.run(send())

    def get(self, path: str, **content: Any) -> httpx.Response:
        return self.request("GET", path, **content)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.request("POST", path, **content)
