"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of one module; skips them if it is not installed."""
    from support.serving.dashboard import browser_of

    yield from browser_of()
