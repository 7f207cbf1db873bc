"""Errors as problem+json (RFC 9457): what is wrong, and what to send instead."""

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
MAX_PROBLEMS = 10
MAX_CHARACTERS = 80
"""Length to which values of a request are cut in a problem."""
RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}
}


class FieldProblem(Model):
    """One problem with a field of a request."""

    where: str
    """Path of the field, such as ``recent_prices[3]``."""
    got: str
    need: str


class Problem(Model):
    """An error (RFC 9457)."""

    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [examples.PROBLEM]})
    type: str
    title: str
    status: int
    detail: str
    """What is wrong and where, what was sent and what is needed, and the next step."""
    instance: str | None = None
    """Path of the request."""
    request_id: str | None = None
    near: list[str] | None = None
    """Similar symbols."""
    errors: list[FieldProblem] | None = None
    """The first problems of a request that does not match its schema."""
    retry_after_s: int | None = None

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """Return the HTTP response, with ``Retry-After`` if it applies, and without null members."""
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
    """Describe an error; an unexpected one without its details, which are in the log."""
    cause = getattr(error, "cause", None)  # Ray wraps what a replica raises
    error = cause if isinstance(cause, NsecastError) else error
    request = {"instance": instance, "request_id": request_id}
    if isinstance(error, NsecastError):
        return _expected(error, request)
    if isinstance(error, pydantic.ValidationError):
        return _invalid(error.errors(include_url=False, include_context=False), request)
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors(), request)
    if isinstance(error, HTTPException):
        return _plain(error.status_code, str(error.detail), request)
    return _plain(500, "The server failed, not the request. Try again; the log has the reason.", request)


def register(app: FastAPI) -> None:
    """Answer every error of ``app`` with a `Problem`, also in its OpenAPI description.

    Starlette raises an unexpected error again after the response; `RequestGuard` logs it.
    """

    async def handle(request: Request, error: Exception) -> Response:
        problem = problem_of(
            _named(error, request) if isinstance(error, HTTPException) else error,
            instance=request.url.path,
            request_id=getattr(request.state, "request_id", None),
        )
        if isinstance(error, RequestValidationError) and not _is_json(request):
            got = request.headers.get("content-type", "none")[:MAX_CHARACTERS]
            detail = f"Content-Type: got {got}, need application/json. Send the body as JSON."
            problem = _plain(415, detail, {"instance": problem.instance, "request_id": problem.request_id})
        return problem.response(getattr(error, "headers", None))  # such as Allow of a 405

    for kind in (NsecastError, pydantic.ValidationError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)
    _describe_as_problems(app)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route for OpenAPI: those common to all routes, and these."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        | ({"headers": RETRY_AFTER} if status in (423, 429, 503) else {})
        for status in sorted({401, 403, 429, 500, 503, *statuses})
    }


def _named(error: HTTPException, request: Request) -> HTTPException:
    """Say which path or method a request got wrong, where Starlette only names the status."""
    target = f"{request.method} {request.url.path[:MAX_CHARACTERS]}"
    if error.detail != HTTPStatus(error.status_code).phrase:
        return error
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        return HTTPException(405, f"{target}: need {allowed}. See /docs.")
    if error.status_code == HTTPStatus.NOT_FOUND:
        return HTTPException(404, f"{target}: there is nothing at this path. /docs lists all paths.")
    return error


def _describe_as_problems(app: FastAPI) -> None:
    """Remove plain JSON, which FastAPI adds for a model, from the problems in the OpenAPI description."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        description = describe()
        for operations in description["paths"].values():
            for operation in operations.values():
                for response in operation["responses"].values():
                    if MEDIA_TYPE in response.get("content", {}):
                        response["content"].pop("application/json", None)
        return description

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def _expected(error: NsecastError, request: Mapping[str, Any]) -> Problem:
    context = error.context
    after = context.get("retry_after_s", 5 if error.http_status == 503 else None)
    return Problem(
        type=error.urn(),
        title=" ".join(error.words()).capitalize(),
        status=error.http_status,
        detail=error.message,
        near=context.get("near") or None,
        retry_after_s=None if after is None else max(1, round(after + 0.499)),
        **request,
    )


def _plain(status: int, detail: str, request: Mapping[str, Any]) -> Problem:
    title = http.client.responses.get(status, "Failed")
    slug = title.lower().replace(" ", "-")
    after = 5 if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Problem(
        type=f"urn:nsecast:{slug}", title=title, status=status, detail=detail, retry_after_s=after, **request
    )


def _invalid(items: Iterable[Mapping[str, Any]], request: Mapping[str, Any]) -> Problem:
    items = list(items)
    if broken := next((item for item in items if item["type"] == "json_invalid"), None):
        reason = str(broken.get("ctx", {}).get("error", broken["msg"]))
        return _plain(400, f"The body is not JSON: {reason}. Send one JSON object.", request)
    problems = [_field_problem(item) for item in items[:MAX_PROBLEMS]]
    detail = "; ".join(f"{field.where}: got {field.got}, need {field.need}" for field in problems[:3])
    more = f" ({len(items) - 3:,} more)" if len(items) > 3 else ""
    return Problem(
        type="urn:nsecast:invalid-request",
        title="Invalid request",
        status=422,
        detail=f"{detail}{more}.",
        errors=problems,
        **request,
    )


def _field_problem(item: Mapping[str, Any]) -> FieldProblem:
    path = item["loc"][1:] if item["loc"][:1] in (("body",), ("query",), ("path",)) else item["loc"]
    parts = [part for part in path if part not in ("list", "map")]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    kind, message, value = item["type"], str(item["msg"]), item.get("input")
    got = _short(value)
    need = re.sub(r"^(Input should be |Value error, )?(need )?", "", message)
    if kind == "missing":
        got, need = "nothing", "this field"
    elif kind == "extra_forbidden":
        got, need = "a field of that name", "only the documented fields"
    elif kind in ("too_short", "too_long"):
        if isinstance(value, list | dict):
            got = f"{len(value):,} item{'s' * (len(value) != 1)}"
        need = re.sub(r"^.* should have | after validation, .*$", "", message)
    elif kind.startswith("date_"):
        need = "a day as YYYY-MM-DD"
    elif kind == "string_pattern_mismatch":
        need = "a symbol such as SCOM or KPLC-P4, or a company's name"
    return FieldProblem(where=_name(where), got=got, need=need)


def _name(where: str) -> str:
    """Make a path printable and short; names of unknown fields come from the client."""
    name = where[:MAX_CHARACTERS] if where.isprintable() else ascii(where[:MAX_CHARACTERS])
    return name or "the body"


def _short(value: Any) -> str:
    """Describe a value of a request by at most its beginning."""
    if isinstance(value, str | bytes):
        text = ascii(value[: MAX_CHARACTERS + 1])
    elif isinstance(value, list | tuple | dict):
        return f"a {'map' if isinstance(value, dict) else 'list'} of {len(value):,}"
    elif isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 77 digits"
    else:
        text = repr(value) if isinstance(value, int | float | None) else type(value).__name__
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "..."


def _is_json(request: Request) -> bool:
    """Return whether the body was sent as JSON, or the method has none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    bodiless = request.method in ("GET", "HEAD", "DELETE", "OPTIONS")
    return bodiless or kind == "application/json" or kind.endswith("+json")
