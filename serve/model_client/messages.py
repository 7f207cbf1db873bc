"""What the router sends to the models' replicas, and what they return."""

from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np

from common.errors import NsecastError
from common.forecast.prices import Prices
from common.prices.windows import Windows

REQUEST_ID: ContextVar[str] = ContextVar("nsecast_request_id", default="")
"""Id of the request for which questions are made; set by `ModelClient`."""


@dataclass(frozen=True)
class ModelRequest:
    """One prepared window for one model."""

    key: str
    windows: Windows
    asked: np.ndarray
    """Levels to ask the intervals for, shape (1, H, 3)."""
    request_id: str = field(default_factory=lambda: REQUEST_ID.get())
    """The HTTP request that the question belongs to, for the replica's log lines."""


@dataclass(frozen=True)
class ModelResponse:
    """What a replica made of a question: prices, or why there are none."""

    prices: Prices | None
    cached: bool = False
    """The model was loaded already."""
    error: NsecastError | None = None
