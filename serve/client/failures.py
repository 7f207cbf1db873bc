"""Errors of failed requests: by the type of a problem+json body, otherwise by status."""

import json
import re
from collections.abc import Mapping
from typing import Any

from common import errors
from common.errors import (
    BadRequest,
    Busy,
    Forbidden,
    NotAuthenticated,
    NsecastError,
    TooLarge,
    TooManyRequests,
)

RETRYABLE = (423, 429, 502, 503, 504)
"""Statuses after which the same request may succeed a little later."""
MAX_SHOWN = 200


class Unavailable(NsecastError):
    """The server is unreachable, overloaded or not ready, or did not respond in time."""

    http_status = 503


class BadResponse(NsecastError):
    """The response is not from this service, or from another version of it."""

    http_status = 502


def error_of(status: int, headers: Mapping[str, str], body: bytes, where: str) -> NsecastError:
    """Return the error for a response with a status of 300 or more.

    Its context has ``status``, ``retry_after_s`` if the server sent it, and from a problem+json body those of
    ``type``, ``title``, ``request_id``, ``near`` and ``errors`` that it has.
    """
    problem = _problem(headers, body)
    context: dict[str, Any] = {
        name: problem[name] for name in ("type", "title", "request_id", "near", "errors") if name in problem
    }
    if (wait := retry_after_s(headers)) is not None:
        context["retry_after_s"] = wait
    detail = problem.get("detail") or f"{where} answered {status}: {_plain(body)}"
    if problem or status in RETRYABLE:
        kind = _kinds().get(str(problem.get("type"))) or _by_status(status)
    else:
        kind = BadResponse
    return kind(detail, status=status, **context)


def is_retryable(error: NsecastError) -> bool:
    """Whether the same request may succeed a little later."""
    return isinstance(error, Unavailable) or error.context.get("status") in RETRYABLE


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``Retry-After``; None if it is missing or no number."""
    text = headers.get("retry-after", "").strip()
    return float(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def _problem(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    if not headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) and isinstance(problem.get("detail"), str) else {}


def _kinds() -> dict[str, type[NsecastError]]:
    """Return the error classes by the type of their problem+json body."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {kind.urn(): kind for kind in kinds if issubclass(kind, NsecastError)}


def _by_status(status: int) -> type[NsecastError]:
    if status in RETRYABLE:
        return {423: Busy, 429: TooManyRequests}.get(status, Unavailable)
    if status >= 500:
        return NsecastError
    return {401: NotAuthenticated, 403: Forbidden, 413: TooLarge}.get(status, BadRequest)


def _plain(body: bytes) -> str:
    text = body[:MAX_SHOWN].decode(errors="replace").strip()
    return f"{text!r:.{MAX_SHOWN}}" if text else "an empty body"
