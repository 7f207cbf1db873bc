"""Both HTTP clients as one, and responses of a scripted server."""

import asyncio
import json
from typing import Any

from serve.client import AsyncClient, RetryPolicy

QUICK = RetryPolicy(deadline_s=60, timeout_s=20, base_s=0.01)
HEALTH = json.dumps(
    {
        "status": "healthy",
        "service": "nsecast",
        "release": "made",
        "preset": "residual",
        "synthetic": True,
        "quick": False,
        "data_end": "2024-01-02",
        "stocks": 6,
        "total_coverage": 6,
        "specific_models": 1,
        "general_model_stocks": 5,
        "cache_size": "1/40",
        "cache_hit_rate": 0.5,
        "timestamp": "2024-01-02T12:00:00Z",
    }
).encode()
GOOD = (200, {"Content-Type": "application/json"}, HEALTH)


class Waited:
    """`AsyncClient` with every call run to its end, so that both clients pass the same tests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args, self._kwargs = args, kwargs

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with AsyncClient(*self._args, **self._kwargs) as client:
                return await getattr(client, name)(*args, **kwargs)

        return lambda *args, **kwargs: asyncio.run(call(*args, **kwargs))
