"""Every failure as problem+json (RFC 9457): what is wrong, and what to send instead."""

import http.client
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import pydantic
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from common.errors import NsecastError
from serve.schemas import examples
from serve.schemas.forecast import Model

MEDIA_TYPE = "application/problem+json"
SHOWN_PROBLEMS = 10
SHOWN_CHARACTERS = 80
RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}
}


class FieldProblem(Model):
    """One thing that is wrong with a request."""

    where: str
    """Such as ``recent_prices[3]``."""
    got: str
    need: str


class Problem(Model):
    """What went wrong (RFC 9457)."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [examples.PROBLEM]})
    type: str
    title: str
    status: int
    detail: str
    """What, where, got versus needed, next step."""
    instance: str | None = None
    """Path of the request."""
    request_id: str | None = None
    near: list[str] | None = None
    """Symbols that may have been meant."""
    errors: list[FieldProblem] | None = None
    """The first problems of a body that does not fit its schema."""
    retry_after_s: int | None = None

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The HTTP response, with ``Retry-After`` where there is one, and no null member."""
        headers = dict(headers or {})
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        body = self.model_dump_json(exclude_none=True)
        return Response(body, self.status, headers=headers, media_type=MEDIA_TYPE)


def problem_of(
    error: BaseException, *, instance: str | None = None, request_id: str | None = None
) -> Problem:
    """Describe a failure; one that is nobody's fault but ours says so, and nothing of its inside."""
    cause = getattr(error, "cause", None)  # Ray wraps what a replica raises
    error = cause if isinstance(cause, NsecastError) else error
    about = {"instance": instance, "request_id": request_id}
    if isinstance(error, NsecastError):
        return _expected(error, about)
    if isinstance(error, pydantic.ValidationError):
        return _invalid(error.errors(include_url=False, include_context=False), about)
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors(), about)
    if isinstance(error, HTTPException):
        return _plain(error.status_code, str(error.detail), about)
    return _plain(500, "The server failed, not the request. Try again; the log has the reason.", about)


def register(app: FastAPI) -> None:
    """Answer every failure of ``app`` with a `Problem`, and describe it so.

    Starlette raises an unexpected failure again once it is answered; `RequestGuard` logs it.
    """

    async def handle(request: Request, error: Exception) -> Response:
        problem = problem_of(
            error, instance=request.url.path, request_id=getattr(request.state, "request_id", None)
        )
        if isinstance(error, RequestValidationError) and not _is_json(request):
            got = request.headers.get("content-type", "none")[:SHOWN_CHARACTERS]
            detail = f"Content-Type: got {got}, need application/json. Send the body as JSON."
            problem = _plain(415, detail, {"instance": problem.instance, "request_id": problem.request_id})
        return problem.response(getattr(error, "headers", None))  # such as Allow of a 405

    for kind in (NsecastError, pydantic.ValidationError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)
    _describe_as_problems(app)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problems of a route for OpenAPI: those every route may give, and these."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        | ({"headers": RETRY_AFTER} if status in (429, 503) else {})
        for status in sorted({401, 403, 429, 500, 503, *statuses})
    }


def _describe_as_problems(app: FastAPI) -> None:
    """Take from the OpenAPI description that a problem might be plain JSON, as FastAPI adds for a model."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        found = described()
        for operations in found["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    if MEDIA_TYPE in answer.get("content", {}):
                        answer["content"].pop("application/json", None)
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def _expected(error: NsecastError, about: Mapping[str, Any]) -> Problem:
    context = error.context
    after = context.get("retry_after_s", 5 if error.http_status == 503 else None)
    return Problem(
        type=error.urn(),
        title=" ".join(error.words()).capitalize(),
        status=error.http_status,
        detail=error.message,
        near=context.get("near") or None,
        retry_after_s=None if after is None else max(1, round(after + 0.499)),
        **about,
    )


def _plain(status: int, detail: str, about: Mapping[str, Any]) -> Problem:
    title = http.client.responses.get(status, "Failed")
    slug = title.lower().replace(" ", "-")
    after = 5 if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Problem(
        type=f"urn:nsecast:{slug}", title=title, status=status, detail=detail, retry_after_s=after, **about
    )


def _invalid(items: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> Problem:
    items = list(items)
    if broken := next((item for item in items if item["type"] == "json_invalid"), None):
        reason = str(broken.get("ctx", {}).get("error", broken["msg"]))
        return _plain(400, f"The body is not JSON: {reason}. Send one JSON object.", about)
    found = [_field_problem(item) for item in items[:SHOWN_PROBLEMS]]
    detail = "; ".join(f"{each.where}: got {each.got}, need {each.need}" for each in found[:3])
    more = f" ({len(items) - 3:,} more)" if len(items) > 3 else ""
    return Problem(
        type="urn:nsecast:invalid-request",
        title="Invalid request",
        status=422,
        detail=f"{detail}{more}.",
        errors=found,
        **about,
    )


def _field_problem(item: Mapping[str, Any]) -> FieldProblem:
    place = item["loc"][1:] if item["loc"][:1] in (("body",), ("query",), ("path",)) else item["loc"]
    places = [part for part in place if part not in ("list", "map")]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in places).lstrip(".")
    kind, message = item["type"], str(item["msg"])
    need = re.sub(r"^(Input should be |Value error, )?(need )?", "", message)
    if kind == "missing":
        return FieldProblem(where=_name(where), got="nothing", need="this field")
    if kind == "extra_forbidden":
        return FieldProblem(where=_name(where), got="a field of that name", need="only the documented fields")
    if kind in ("too_short", "too_long"):
        items = item["input"]
        got = (
            f"{len(items):,} item{'s' * (len(items) != 1)}"
            if isinstance(items, list | dict)
            else _short(items)
        )
        need = re.sub(r"^.* should have | after validation, .*$", "", message)
        return FieldProblem(where=_name(where), got=got, need=need)
    if kind.startswith("date_"):
        need = "a day as YYYY-MM-DD"
    if kind == "string_pattern_mismatch":
        need = "letters, digits, '.', '&' or '-', such as SCOM or KPLC-P4"
    return FieldProblem(where=_name(where), got=_short(item.get("input")), need=need)


def _name(where: str) -> str:
    """A place for people; a field's name is whatever was sent."""
    name = where[:SHOWN_CHARACTERS] if where.isprintable() else ascii(where[:SHOWN_CHARACTERS])
    return name or "the body"


def _short(value: Any) -> str:
    """A value for people: never long, never more than its beginning."""
    if isinstance(value, str | bytes):
        text = ascii(value[: SHOWN_CHARACTERS + 1])
    elif isinstance(value, list | tuple | dict):
        return f"a {'map' if isinstance(value, dict) else 'list'} of {len(value):,}"
    elif isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 77 digits"
    else:
        text = repr(value) if isinstance(value, int | float | None) else type(value).__name__
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def _is_json(request: Request) -> bool:
    """Whether the body was sent as JSON, or there is none to speak of."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    bodiless = request.method in ("GET", "HEAD", "DELETE", "OPTIONS")
    return bodiless or kind == "application/json" or kind.endswith("+json")
