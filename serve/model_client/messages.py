"""The messages between the router and the models' replicas."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np

from common.errors import NsecastError
from common.forecast.prices import Prices
from common.prices.windows import Windows

REQUEST_ID: ContextVar[str] = ContextVar("nsecast_request_id", default="")
"""Id of the HTTP request that is being handled; set by `ModelClient`."""


@dataclass(frozen=True)
class ModelRequest:
    """One window for one model."""

    key: str
    windows: Windows
    levels: np.ndarray
    """Levels of the intervals, shape (1, H, 3)."""
    request_id: str = field(default_factory=lambda: REQUEST_ID.get())
    """Id of the HTTP request, for the replica's log lines."""


@dataclass(frozen=True)
class ModelResponse:
    """The prices that a replica returned, or its error."""

    prices: Prices | None
    cached: bool = False
    """Whether the model was loaded before this request."""
    error: NsecastError | None = None


@dataclass(frozen=True)
class ForecastCall:
    """The requests of one call of a replica, as arrays of all of them.

    They are pickled in a sixth of the time of single ones.
    """

    keys: tuple[str, ...]
    request_ids: tuple[str, ...]
    windows: Windows
    levels: np.ndarray
    """Shape (N, H, 3)."""

    @classmethod
    def of(cls, requests: Sequence[ModelRequest]) -> "ForecastCall":
        return cls(
            tuple(request.key for request in requests),
            tuple(request.request_id for request in requests),
            Windows.joined([request.windows for request in requests]),
            np.concatenate([request.levels for request in requests]),
        )

    def singles(self) -> list[ModelRequest]:
        rows = [slice(row, row + 1) for row in range(len(self.keys))]
        return [
            ModelRequest(key, self.windows.take(row), self.levels[row], request_id)
            for key, row, request_id in zip(self.keys, rows, self.request_ids, strict=True)
        ]


@dataclass(frozen=True)
class ForecastReply:
    """The responses to a `ForecastCall`, in its order."""

    prices: Prices | None
    """Of the requests without an error."""
    cached: tuple[bool, ...]
    errors: tuple[NsecastError | None, ...]

    @classmethod
    def of(cls, responses: Sequence[ModelResponse]) -> "ForecastReply":
        prices = [response.prices for response in responses if response.prices is not None]
        return cls(
            Prices.joined(prices) if prices else None,
            tuple(response.cached for response in responses),
            tuple(response.error for response in responses),
        )

    def singles(self) -> list[ModelResponse]:
        prices = iter(self.prices.singles() if self.prices else ())
        return [
            ModelResponse(None if error else next(prices), cached, error)
            for cached, error in zip(self.cached, self.errors, strict=True)
        ]
