"""Requests of the last minutes in slices of a few seconds: how many, how many failed, how long they took."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

SLICE_S = 5
SLICES = 120
"""Ten minutes."""
LATENCIES_KEPT = 2_000
"""Of one slice; of more requests the first ones are measured."""


def quantile(ascending: Sequence[float], share: float) -> float | None:
    """The smallest value that ``share`` of all are not above; None of nothing."""
    if not ascending:
        return None
    return round(ascending[min(len(ascending) - 1, math.ceil(share * len(ascending)) - 1)], 3)


class Traffic:
    """What one router answered.

    Parameters
    ----------
    clock : seconds since the epoch
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._closed: deque[dict[str, Any]] = deque(maxlen=SLICES)
        self._open(self._place())

    def add(self, took_ms: float, *, asked: bool, failed: bool) -> None:
        """Count one request; ``asked``: it went to a model, and only then its time counts."""
        self._roll()
        self._forecasts += asked
        self._other += not asked
        self._errors += failed
        if asked and len(self._took) < LATENCIES_KEPT:
            self._took.append(took_ms)

    def slices(self) -> list[dict[str, Any]]:
        """Every slice that is over, oldest first, without gaps: ``at`` (seconds since the epoch),
        ``seconds``, ``forecasts`` and ``other`` (requests), ``errors``, ``p50_ms`` and ``p99_ms``."""
        self._roll()
        return list(self._closed)

    def _place(self) -> int:
        return int(self._clock() // SLICE_S)

    def _open(self, place: int) -> None:
        self._at, self._forecasts, self._other, self._errors = place, 0, 0, 0
        self._took: list[float] = []

    def _roll(self) -> None:
        now = self._place()
        while self._at < now:
            took = sorted(self._took)
            self._closed.append(
                {
                    "at": self._at * SLICE_S,
                    "seconds": SLICE_S,
                    "forecasts": self._forecasts,
                    "other": self._other,
                    "errors": self._errors,
                    "p50_ms": quantile(took, 0.5),
                    "p99_ms": quantile(took, 0.99),
                }
            )
            self._open(max(self._at + 1, now - SLICES))
