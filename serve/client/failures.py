"""What went wrong with a request, as an error of ours: a problem by its type, anything else by its status."""

import datetime as dt
import email.utils
import json
import re
from collections.abc import Mapping
from typing import Any

from common import errors
from common.errors import (
    BadRequest,
    Forbidden,
    NotAuthenticated,
    NsecastError,
    TooLarge,
    TooManyRequests,
)

AGAIN = (429, 502, 503, 504)
"""Statuses after which the same request may succeed a little later."""
SHOWN = 200


class Unavailable(NsecastError):
    """The service cannot be reached, is too busy or not ready, or did not answer in time."""

    http_status = 503


class BadResponse(NsecastError):
    """What answered is not this service, or is one of another version."""

    http_status = 502


def failure(status: int, headers: Mapping[str, str], body: bytes, where: str) -> NsecastError:
    """The error that an answer of 300 or more stands for.

    Its context has ``status``, ``retry_after_s`` where the server says when to come again, and of a problem
    ``type``, ``title``, ``request_id``, ``near`` and ``errors`` as far as it has them.
    """
    problem = _problem(headers, body)
    context: dict[str, Any] = {
        name: problem[name] for name in ("type", "title", "request_id", "near", "errors") if name in problem
    }
    if (wait := retry_after_s(headers)) is not None:
        context["retry_after_s"] = wait
    detail = problem.get("detail") or f"{where} answered {status}: {_plain(body)}"
    if problem or status in AGAIN:
        kind = _kinds().get(str(problem.get("type"))) or _by_status(status)
    else:
        kind = BadResponse
    return kind(detail, status=status, **context)


def worth_another_try(error: NsecastError) -> bool:
    """Whether the same request may succeed a little later."""
    return isinstance(error, Unavailable) or error.context.get("status") in AGAIN


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, given as such or as a date; None without a sensible one."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=dt.UTC)
    return max(0.0, (until - dt.datetime.now(dt.UTC)).total_seconds())


def _problem(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    if not headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("detail"), str) else {}


def _kinds() -> dict[str, type[NsecastError]]:
    """Our errors by the type that the server gives their problem."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {kind.urn(): kind for kind in kinds if issubclass(kind, NsecastError)}


def _by_status(status: int) -> type[NsecastError]:
    if status in AGAIN:
        return TooManyRequests if status == 429 else Unavailable
    if status >= 500:
        return NsecastError
    return {401: NotAuthenticated, 403: Forbidden, 413: TooLarge}.get(status, BadRequest)


def _plain(body: bytes) -> str:
    text = body[:SHOWN].decode(errors="replace").strip()
    return f"{text!r:.{SHOWN}}" if text else "an empty body"
