"""Run many calls with bounded concurrency."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Part = TypeVar("Part")


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
