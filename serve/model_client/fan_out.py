"""Many calls, a bounded number of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Part = TypeVar("Part")


async def fan_out(parts: Sequence[Part], call: Callable[[Part], Awaitable[None]], most: int) -> None:
    """Await ``call(part)`` for every part, in their order and at most ``most`` at once.

    After a failure no further part begins. The first failure is raised once the calls under way have ended,
    so that what they compute can still be used.
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

    await asyncio.gather(*(work() for _ in range(min(most, len(parts)))))
    if failures:
        raise failures[0]
