"""The application for hostile requests, and the check of its responses."""

import asyncio
import contextlib
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.release.registry import Registry
from serve.deployments.router import http_service
from serve.model_client.client import ModelClient
from serve.settings import ServeSettings
from support.releases.release import made_release
from support.serving.hostile import Case
from support.serving.server import local_tiers

PRICES = ("prediction", "mean_prediction", "last_price", "lower", "upper", "close")
"""Members of an answer that are prices in KES."""


def problem_with(answer: httpx.Response) -> str:
    """What is wrong with an answer to whatever was sent; empty if nothing is."""
    status, kind = answer.status_code, answer.headers.get("content-type", "")
    if status >= 500 and not (status == 503 and answer.headers.get("retry-after")):
        return f"status {status}: {answer.text:.300}"
    if status >= 400:
        if kind != "application/problem+json":
            return f"status {status} as {kind!r}"
        body = answer.json()
        if not (body["status"] == status and body["title"] and body["detail"] and body["type"]):
            return f"no problem: {body}"
        return "an inside shown" if "Traceback" in answer.text or "/serve/" in answer.text else ""
    if kind != "application/json":
        return ""
    try:
        return _numbers(json.loads(answer.text, parse_constant=lambda name: float(name)))
    except ValueError as error:
        return f"no JSON: {error}"


def _numbers(value: Any, name: str = "") -> str:
    """A number that is none, or a price that is not positive, anywhere inside."""
    if isinstance(value, dict):
        return next(filter(None, (_numbers(inner, key) for key, inner in value.items())), "")
    if isinstance(value, list):
        return next(filter(None, (_numbers(inner, name) for inner in value)), "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not math.isfinite(value) or (name in PRICES and value <= 0):
        return f"{name}: {value}"
    return ""


@dataclass(frozen=True)
class Application:
    """The complete application in this process; all requests go through one event loop."""

    app: Any
    loop: asyncio.AbstractEventLoop
    paths: list[str]
    """That can be read, as its description has them."""

    def ask(self, case: Case) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await case.send(client)

        return self.loop.run_until_complete(send())


@contextlib.contextmanager
def application() -> Iterator[Application]:
    """Serve a synthetic release without rate limits and with long timeouts."""
    with tempfile.TemporaryDirectory(prefix="made-hostile-") as folder:
        home = Path(folder)
        made_release(home, "one")
        Registry(home).promote("one")
        tiers = local_tiers(home)
        limits = {"forecasts_per_minute": 0, "timeout_s": 120}
        model_client = ModelClient(*tiers, ServeSettings(home=str(home), access_log="off", limits=limits))
        app, loop = http_service(model_client), asyncio.new_event_loop()
        try:
            loop.run_until_complete(model_client.watcher.check())
            described = Application(app, loop, []).ask(Case("GET", "/openapi.json")).json()["paths"]
            yield Application(app, loop, sorted(path for path, how in described.items() if "get" in how))
        finally:
            model_client.ledger.close()
            loop.close()
