"""Waiting for what has to come, instead of for a time."""

import time
from collections.abc import Callable

import httpx


def until(condition: Callable[[], object], *, patience_s: float = 60.0) -> None:
    """Wait for a condition; the patience is only for what never comes.

    Raises
    ------
    AssertionError
        If it has not come by then.
    """
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"it has not come within {patience_s:g} s"
        time.sleep(0.005)


def first_answer(url: str) -> httpx.Response:
    """The first response of a server that is starting."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return httpx.get(url, timeout=5)
        except httpx.TransportError:
            assert time.monotonic() < deadline, "HAProxy does not answer"
            time.sleep(0.05)
