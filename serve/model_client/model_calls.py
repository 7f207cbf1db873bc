"""Calls of the models: one request's, those that HTTP requests share, and the results that are kept.

A call of a replica costs some 5 ms of CPU whatever it carries. At low load each request is a call of its own
and starts at once. Requests that arrive while a call is under way share the next one.
"""

import asyncio
import datetime as dt
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from common.errors import BundleError, NsecastError
from common.forecast.prices import Prices
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.inference.response import predict_response
from serve.model_client.messages import ModelRequest, ModelResponse
from serve.observability.metrics import Facts
from serve.schemas.forecast import PredictResponse

NOT_CALLED = ModelResponse(None)
Part = TypeVar("Part")
FULL_CALL = 16
"""Requests that do not wait any longer: so many waiting requests start one more call."""
WAIT_S = 0.05
"""How long a request waits at most: a replica that hangs delays only the requests that it has."""
Waiting = tuple[ModelRequest, "asyncio.Future[ModelResponse]"]
Key = tuple[str, str, dt.date | None]


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
        last = self.prepared.responses.get(id(prices))
        if last is None:
            self.prepared.responses.clear()
            response = predict_response(
                loaded, self.prepared, prices, cached=False, started=facts.started, request_id=""
            )
            self.prepared.responses[id(prices)] = last = prices, response
        return last[1].model_copy(
            update={
                "cached": self.response.cached,
                "execution_time": time.perf_counter() - facts.started,
                "timestamp": dt.datetime.now(dt.UTC),
                "request_id": facts.request_id,
            }
        )


class SharedCalls:
    """Answers requests one by one, by as few calls as the load allows.

    A failed call fails each of its requests; a request that is cancelled leaves the call to the others. Under
    high load the number of calls under way grows with the number of requests, so that Ray's autoscaling sees
    it.

    Parameters
    ----------
    send : calls a replica with some requests, and returns their responses in order
    timeout_s : returns the present time limit of a shared call; that of a call for one request is the
        request's own
    """

    def __init__(
        self,
        send: Callable[[list[ModelRequest]], Awaitable[list[ModelResponse]]],
        timeout_s: Callable[[], float],
    ) -> None:
        self._send, self._timeout_s = send, timeout_s
        self._under_way = 0
        self._waiting: list[Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def forecast(self, request: ModelRequest) -> ModelResponse:
        """Return the response to one request; raises what the call raises."""
        if not self._under_way:
            self._under_way += 1
            try:
                (response,) = await self._send([request])
                return response
            finally:
                self._end_call()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ModelResponse] = loop.create_future()
        self._waiting.append((request, future))
        if len(self._waiting) >= FULL_CALL:
            self._call_waiting()
        elif self._timer is None:
            self._timer = loop.call_later(WAIT_S, self._call_waiting)
        return await future

    def _call_waiting(self) -> None:
        """Start one call for all requests that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        part = [(request, future) for request, future in self._waiting if not future.done()]
        self._waiting.clear()
        if part:
            self._under_way += 1
            task = asyncio.get_running_loop().create_task(self._call(part))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, part: list[Waiting]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s()):
                responses = await self._send([request for request, _ in part])
            for (_, future), response in zip(part, responses, strict=True):
                if not future.done():
                    future.set_result(response)
        except Exception as error:
            for _, future in part:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in part:
                future.cancel()  # no effect on a future that has a result
            self._end_call()

    def _end_call(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._call_waiting()


class ForecastCache:
    """The most recently used ``max_items`` forecasts by model, symbol and ``as_of``; about 2 kB each.

    Forecasts from prices that a request includes are not cached. For one event loop: there is no lock.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._prices: OrderedDict[Key, Prices] = OrderedDict()

    def hold(self, forecasts: int) -> None:
        """Raise the bound to at least ``forecasts``; a bound of 0 stays."""
        self._max_items = max(self._max_items, forecasts) if self._max_items else 0

    def find(self, prepared: PreparedRequest) -> Prices | None:
        """Return the cached forecast of all horizons."""
        key = _key(prepared)
        if key is None or key not in self._prices:
            return None
        self._prices.move_to_end(key)
        return self._prices[key]

    def keep(self, prepared: PreparedRequest, prices: Prices) -> None:
        if (key := _key(prepared)) and self._max_items:
            self._prices[key] = prices
            while len(self._prices) > self._max_items:
                self._prices.popitem(last=False)

    def clear(self) -> None:
        self._prices.clear()


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


def _key(prepared: PreparedRequest) -> Key | None:
    request = prepared.request
    return None if request.has_prices else (prepared.key, request.symbol, request.as_of)
