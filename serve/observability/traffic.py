"""Requests of the last minutes in slices of a few seconds: counts, errors and response times."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

SLICE_S = 5
SLICES = 120
"""Ten minutes."""
LATENCIES_KEPT = 2_000
"""Response times that are stored for a slice; those of later requests are not."""


def quantile(ascending: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of all values do not exceed; None without values."""
    if not ascending:
        return None
    return round(ascending[min(len(ascending) - 1, math.ceil(share * len(ascending)) - 1)], 3)


class Traffic:
    """The requests that one router answered; ``clock`` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._closed: deque[dict[str, Any]] = deque(maxlen=SLICES)
        self._open(self._now())

    def add(self, took_ms: float, *, called_model: bool, failed: bool) -> None:
        """Count one request; its time counts only if it called a model."""
        self._roll()
        self._forecasts += called_model
        self._other += not called_model
        self._errors += failed
        if called_model and len(self._took) < LATENCIES_KEPT:
            self._took.append(took_ms)

    def slices(self) -> list[dict[str, Any]]:
        """Return all finished slices as in `TrafficSlice`, oldest first and without gaps."""
        self._roll()
        return list(self._closed)

    def _now(self) -> int:
        return int(self._clock() // SLICE_S)

    def _open(self, number: int) -> None:
        self._at, self._forecasts, self._other, self._errors = number, 0, 0, 0
        self._took: list[float] = []

    def _roll(self) -> None:
        now = self._now()
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
