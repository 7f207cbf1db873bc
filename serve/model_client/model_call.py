"""One call of a model, and many of them with bounded concurrency."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from common.errors import BundleError, NsecastError
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.inference.response import predict_response
from serve.model_client.messages import ModelRequest, ModelResponse
from serve.observability.metrics import Facts
from serve.schemas.forecast import PredictResponse

NOT_CALLED = ModelResponse(None)
Part = TypeVar("Part")


@dataclass(slots=True)
class ModelCall:
    """A prepared request and the response of its model."""

    prepared: PreparedRequest
    response: ModelResponse = NOT_CALLED

    @property
    def tier(self) -> str:
        return self.prepared.route.model_type

    @property
    def request(self) -> ModelRequest:
        return ModelRequest(self.prepared.key, self.prepared.windows, self.prepared.levels)

    def render(self, loaded: LoadedRelease, facts: Facts) -> PredictResponse:
        """Return the response to the request; raises the model's error."""
        prices = self.response.prices
        if prices is None:
            raise self.response.error or BundleError(f"model {self.prepared.key}: returned no prices.")
        return predict_response(
            loaded,
            self.prepared,
            prices,
            cached=self.response.cached,
            started=facts.started,
            request_id=facts.request_id,
        )


def render_all(
    loaded: LoadedRelease, calls: Sequence[ModelCall], failures: dict[str, NsecastError], facts: Facts
) -> list[PredictResponse]:
    """Return the responses of the calls that succeeded; adds the others to ``failures`` as requested."""
    responses = []
    for call in calls:
        try:
            responses.append(call.render(loaded, facts))
        except NsecastError as error:
            failures[call.prepared.requested] = error
    return responses


async def fan_out(parts: Sequence[Part], call: Callable[[Part], Awaitable[None]], concurrency: int) -> None:
    """Await ``call(part)`` for every part, in order and at most ``concurrency`` at once.

    After a failure no further call starts. The first failure is raised once all running calls have ended,
    so that their results can still be used.
    """
    waiting, failures = iter(parts), []

    async def work() -> None:
        for part in waiting:
            try:
                await call(part)
            except Exception as error:
                failures.append(error)
            if failures:
                return

    await asyncio.gather(*(work() for _ in range(min(concurrency, len(parts)))))
    if failures:
        raise failures[0]
