"""GETs about one release: each has an entity tag, and 304 goes to a client that has its answer already."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header, Request, Response

from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import Model

JSON = "application/json"
NOT_KEPT = {"Cache-Control": "no-store"}
"""Of answers that change from second to second."""
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "What the client has, by `If-None-Match`, is still the answer."}
}


@dataclass(frozen=True)
class ConditionalRequest:
    """A question about the release that serves, and whether the client has its answer."""

    loaded: LoadedRelease
    bad: frozenset[str]
    """As in `LoadedRelease.prepare`."""
    headers: dict[str, str]
    known: bool

    async def answer(self, make: Callable[[], Model]) -> Response:
        """The page that ``make`` gives, in a thread; it is not called if the client has it."""
        if self.known:
            return self.unchanged()
        body = await asyncio.to_thread(lambda: make().model_dump_json())
        return Response(body, headers=self.headers, media_type=JSON)

    def unchanged(self) -> Response:
        return Response(status_code=304, headers=self.headers)


def asker(
    loaded: Callable[[], LoadedRelease], bad: Callable[[], frozenset[str]], code: str
) -> Callable[..., Awaitable[ConditionalRequest]]:
    """A dependency that gives `ConditionalRequest`.

    The tag is weak: an answer's time and request id differ from one to the next. It depends on the release,
    on the question, on the exchange's day and whether it has closed (from which the age of the prices is
    counted), on the models that cannot be loaded, and on ``code``, a digest of the program. The client asks
    again each time, which costs it 304.
    """

    async def asked(
        request: Request,
        if_none_match: Annotated[str | None, Header(description="Tag of the answer at hand.")] = None,
    ) -> ConditionalRequest:
        now, failing = loaded(), bad()
        days = f"{now.clock.today()} {now.clock.last_due()}"
        parts = (code, now.release.id, request.url.path, request.url.query, days)
        digest = hashlib.sha256("\n".join((*parts, *sorted(failing))).encode()).hexdigest()[:24]
        return ConditionalRequest(now, failing, *_about(f'W/"{digest}"', if_none_match))

    return asked


def matches(tag: str, if_none_match: str | None) -> bool:
    """Whether a tag is among those of an ``If-None-Match`` header, compared weakly."""
    given = [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]
    return "*" in given or tag.removeprefix("W/") in given


def _about(tag: str, if_none_match: str | None) -> tuple[dict[str, str], bool]:
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, X-API-Key"}
    return headers, matches(tag, if_none_match)
