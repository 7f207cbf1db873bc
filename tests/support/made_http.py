"""Requests of the tests."""

import time

import httpx


def first_answer(url: str) -> httpx.Response:
    """The first response of a server that is starting."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return httpx.get(url, timeout=5)
        except httpx.TransportError:
            assert time.monotonic() < deadline, "HAProxy does not answer"
            time.sleep(0.05)
