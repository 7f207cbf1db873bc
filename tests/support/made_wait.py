"""Waiting for what has to come, instead of for a time."""

import time
from collections.abc import Callable


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
