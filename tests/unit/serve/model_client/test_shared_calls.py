"""Requests that arrive while calls of a tier are under way share the next call."""

import asyncio
from typing import Any

import numpy as np
import pytest

from common.errors import Overloaded
from serve.model_client.messages import ModelRequest, ModelResponse
from serve.model_client.model_calls import FULL_CALL, WAIT_S, SharedCalls


class Tier:
    """Calls that end when the test says so; the response to a request carries its number."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.ends: list[asyncio.Future[None]] = []

    async def send(self, requests: list[ModelRequest]) -> list[ModelResponse]:
        self.calls.append([request.key for request in requests])
        self.ends.append(asyncio.get_running_loop().create_future())
        await self.ends[-1]
        return [ModelResponse(request.key) for request in requests]  # type: ignore[arg-type]

    def end(self, call: int, error: Exception | None = None) -> None:
        self.ends[call].set_exception(error) if error else self.ends[call].set_result(None)


def request(number: int) -> ModelRequest:
    return ModelRequest(f"{number}", None, np.zeros((1, 4, 3)))  # type: ignore[arg-type]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def start(shared: SharedCalls, *numbers: int) -> list["asyncio.Task[ModelResponse]"]:
    return [asyncio.ensure_future(shared.forecast(request(number))) for number in numbers]


def run(scenario: Any) -> None:
    async def whole() -> None:
        tier = Tier()
        async with asyncio.timeout(20):
            await scenario(tier, SharedCalls(tier.send, timeout_s=lambda: 10))

    asyncio.run(whole())


def test_at_low_load_each_request_is_a_call_of_its_own_and_starts_at_once():
    async def scenario(tier: Tier, shared: SharedCalls) -> None:
        for number in range(3):
            (answer,) = start(shared, number)
            await settle()
            tier.end(number)
            assert (await answer).prices == f"{number}"
        assert tier.calls == [["0"], ["1"], ["2"]]

    run(scenario)


def test_requests_that_arrive_during_calls_share_the_next_one_in_order_and_get_their_own_responses():
    async def scenario(tier: Tier, shared: SharedCalls) -> None:
        answers = start(shared, *range(6))
        await settle()
        assert tier.calls == [["0"]]
        tier.end(0)
        await settle()
        assert tier.calls[1:] == [["1", "2", "3", "4", "5"]]
        tier.end(1)
        assert [answer.prices for answer in await asyncio.gather(*answers)] == [*"012345"]

    run(scenario)


def test_as_many_waiting_requests_as_fill_a_call_start_one_more():
    async def scenario(tier: Tier, shared: SharedCalls) -> None:
        answers = start(shared, *range(1 + 2 * FULL_CALL))
        await settle()
        assert [len(call) for call in tier.calls] == [1, FULL_CALL, FULL_CALL]
        for call in range(len(tier.calls)):
            tier.end(call)
        await asyncio.gather(*answers)

    run(scenario)


def test_calls_that_hang_delay_other_requests_for_a_moment_only():
    async def scenario(tier: Tier, shared: SharedCalls) -> None:
        (hanging,) = start(shared, 0)
        await settle()
        (answer,) = start(shared, 7)
        await asyncio.sleep(3 * WAIT_S)
        assert tier.calls[-1] == ["7"]
        tier.end(-1)
        assert (await answer).prices == "7"
        hanging.cancel()

    run(scenario)


def test_a_cancelled_request_leaves_its_call_to_the_others():
    async def scenario(tier: Tier, shared: SharedCalls) -> None:
        first, waiting, other = start(shared, *range(3))
        await settle()
        waiting.cancel()
        first.cancel()
        await settle()
        assert tier.calls[1:] == [["2"]]
        (late,) = start(shared, 3)
        tier.end(1)
        await settle()
        tier.end(2)
        assert [answer.prices for answer in await asyncio.gather(other, late)] == ["2", "3"]
        assert waiting.cancelled() and first.cancelled()

    run(scenario)


def test_a_failed_call_fails_each_of_its_requests_and_no_other():
    async def scenario(tier: Tier, shared: SharedCalls) -> None:
        first, *shared_answers = start(shared, *range(4))
        await settle()
        tier.end(0)
        await settle()
        tier.end(1, Overloaded("full. Retry after 1 s.", retry_after_s=1))
        assert (await first).prices == "0"
        for answer in shared_answers:
            with pytest.raises(Overloaded):
                await answer
        (again,) = start(shared, 9)
        await settle()
        tier.end(-1)
        assert (await again).prices == "9"

    run(scenario)


def test_a_shared_call_has_a_time_limit():
    async def scenario(tier: Tier, _: SharedCalls) -> None:
        shared = SharedCalls(tier.send, timeout_s=lambda: 0.01)
        first, second = start(shared, *range(2))
        await settle()
        tier.end(0)
        with pytest.raises(TimeoutError):
            await second
        assert (await first).prices == "0"

    run(scenario)


def test_a_changed_time_limit_holds_for_the_next_shared_call():
    async def scenario(tier: Tier, _: SharedCalls) -> None:
        limits = [0.01]
        shared = SharedCalls(tier.send, timeout_s=lambda: limits[0])
        limits[0] = 10
        answers = start(shared, *range(2))
        await settle()
        tier.end(0)
        await asyncio.sleep(0.05)
        tier.end(1)
        assert [answer.prices for answer in await asyncio.gather(*answers)] == ["0", "1"]

    run(scenario)
