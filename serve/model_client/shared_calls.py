"""Calls of a tier that several HTTP requests share.

A call of a replica costs some 5 ms of CPU whatever it carries. At low load each request is a call of its own
and starts at once. Requests that arrive while calls are under way share the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable

from serve.model_client.messages import ModelRequest, ModelResponse

CALLS_AT_ONCE = 2
"""Calls under way from which on requests wait for one to end: the second one keeps the replica busy."""
FULL_CALL = 8
"""Requests that do not wait any longer: so many waiting requests start one more call."""
WAIT_S = 0.05
"""How long a request waits at most: a replica that hangs delays only the requests that it has."""
Waiting = tuple[ModelRequest, "asyncio.Future[ModelResponse]"]


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
        if self._under_way < CALLS_AT_ONCE:
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
        if self._under_way < CALLS_AT_ONCE:
            self._call_waiting()
