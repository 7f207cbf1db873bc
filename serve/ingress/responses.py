"""JSON responses, their compression, and 304 for a client that already has the response."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Header, Request, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.connect.code_package import digest
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import Model

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient

V4 = "/api/v4"
JSON = "application/json"
PREDICT = f"{V4}/predict"
PACKED_FROM = 2_000
"""Bytes from which a response is compressed."""
PACKED_IN_THREAD_FROM = 16_384
"""Bytes from which it is compressed in a thread; less takes a fraction of a millisecond."""
NO_STORE = {"Cache-Control": "no-store"}
"""Headers of responses that change from second to second."""
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The response that the client has, by `If-None-Match`, is still current."}
}


class Packing(GZipMiddleware):
    """Compresses responses, except single forecasts, which are small."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, PACKED_FROM, compresslevel=5, thread_minimum_size=PACKED_IN_THREAD_FROM)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.app if scope.get("path") == PREDICT else super().__call__)(scope, receive, send)


def json_response(body: Model, *, headers: Mapping[str, str] | None = None) -> Response:
    """Serialize a small body on the event loop."""
    return Response(body.model_dump_json(), headers=headers, media_type=JSON)


async def large_json_response(body: Model, *, headers: Mapping[str, str] | None = None) -> Response:
    """Serialize a large body in a thread."""
    return await asyncio.to_thread(json_response, body, headers=headers)


@dataclass(frozen=True)
class ConditionalRequest:
    """A GET about the release that serves, with its entity tag."""

    loaded: LoadedRelease
    bad: frozenset[str]
    """As in `LoadedRelease.prepare`."""
    headers: dict[str, str]
    is_current: bool
    """Whether the client already has the response."""

    async def respond(self, make: Callable[[], Model | str], media_type: str = JSON) -> Response:
        """Call ``make`` and serialize the result in a thread, unless the client has the response."""

        def response() -> Response:
            body = make()
            text = body if isinstance(body, str) else body.model_dump_json()
            return Response(text, headers=self.headers, media_type=media_type)

        return self.not_modified() if self.is_current else await asyncio.to_thread(response)

    def not_modified(self) -> Response:
        return Response(status_code=304, headers=self.headers)


def conditional_request(model_client: "ModelClient") -> Callable[..., Awaitable[ConditionalRequest]]:
    """Return a dependency that provides the `ConditionalRequest`.

    The tag is weak, since time and request id differ between responses. It depends on the release, the URL,
    the models that cannot be loaded, the program's source, and the exchange's day and whether it has closed,
    which determine the age of the prices. Clients have to revalidate each time.
    """
    code = digest()

    async def conditional(
        request: Request,
        if_none_match: Annotated[str | None, Header(description="Tag of the response at hand.")] = None,
    ) -> ConditionalRequest:
        loaded, bad = model_client.loaded, model_client.bad()
        days = f"{loaded.clock.today()} {loaded.clock.last_due()}"
        parts = (code, loaded.release.id, request.url.path, request.url.query, days, *sorted(bad))
        value = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
        tag = f'W/"{value}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, X-API-Key"}
        return ConditionalRequest(loaded, bad, headers, matches(tag, if_none_match))

    return conditional


def matches(tag: str, if_none_match: str | None) -> bool:
    """Return whether a tag is in an ``If-None-Match`` header, by weak comparison."""
    tags = [value.strip().removeprefix("W/") for value in (if_none_match or "").split(",")]
    return "*" in tags or tag.removeprefix("W/") in tags
