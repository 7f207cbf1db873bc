"""The messages between the router and the models' replicas."""

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
