"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable
from typing import Any

import httpx


def until(
    condition: Callable[[], Any],
    what: str = "the condition",
    *,
    patience_s: float = 60.0,
    every_s: float = 0.01,
    pending: tuple[type[Exception], ...] = (),
) -> Any:
    """Return the first true value of a condition.

    Parameters
    ----------
    what : names the condition in the error
    pending : exceptions of the condition that mean "not yet"

    Raises
    ------
    AssertionError
        If there is no such value within ``patience_s`` seconds.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if value := condition():
                return value
        except pending:
            pass
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(every_s)


def first_answer(url: str) -> httpx.Response:
    """The first response of a server that is starting."""
    return until(lambda: [httpx.get(url, timeout=5)], url, patience_s=20, pending=(httpx.TransportError,))[0]
