"""Calls to every replica of a deployment, with a time limit for each."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from serve.launch.private import called_replicas

log = logging.getLogger(__name__)
EVERY = "every"
"""The entry of `BroadcastResult.silent` when no replica could be called."""


@dataclass(frozen=True)
class BroadcastResult:
    """What the replicas of a deployment returned."""

    returned: dict[str, Any]
    """By the id of the replica's Ray actor."""
    silent: tuple[str, ...]
    """Actor ids of the replicas that failed or timed out; ``EVERY`` if none could be called."""


async def call_every(handle: Any, method: str, *arguments: Any, within_s: float) -> BroadcastResult:
    """Call a method of all replicas of a deployment handle, and collect what returns within ``within_s``."""
    try:
        async with asyncio.timeout(within_s):
            results = await called_replicas(handle, method, *arguments)
    except Exception as error:
        log.warning("no replica called method=%s: %s: %s", method, type(error).__name__, error)
        return BroadcastResult({}, (EVERY,))
    if not results:
        log.warning("no replica called method=%s: there are none", method)
        return BroadcastResult({}, (EVERY,))
    calls = {actor: asyncio.ensure_future(result.get_async()) for actor, result in results.items()}
    try:
        await asyncio.wait(calls.values(), timeout=within_s)
    finally:
        for call in calls.values():
            call.cancel()
    returned, silent = {}, []
    for actor, call in calls.items():
        failure = f"no answer in {within_s:g} s"
        if call.done() and not call.cancelled():
            if call.exception() is None:
                returned[actor] = call.result()
                continue
            failure = repr(call.exception())
        silent.append(actor)
        log.warning("replica left out method=%s actor=%s: %s", method, actor, failure)
    return BroadcastResult(returned, tuple(silent))
