"""Calls to every replica of a deployment, each with a time limit of its own."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from serve.launch.private import called_replicas

log = logging.getLogger(__name__)
EVERY = "every"
"""Stands for the replicas of a deployment if none of them could be called."""


@dataclass(frozen=True)
class BroadcastResult:
    """What the replicas of a deployment returned."""

    returned: dict[str, Any]
    """By the id of the replica's Ray actor."""
    silent: tuple[str, ...]
    """Actor ids of the replicas that did not answer in time, or failed; ``EVERY`` if none could be called."""


async def call_every(handle: Any, method: str, *arguments: Any, within_s: float) -> BroadcastResult:
    """Call a method of every replica at once, and return what came back in time.

    Parameters
    ----------
    handle : of the deployment
    within_s : how long each replica may take
    """
    try:
        async with asyncio.timeout(within_s):
            results = await called_replicas(handle, method, *arguments)
    except Exception as error:
        log.warning("no replica called method=%s: %s: %s", method, type(error).__name__, error)
        return BroadcastResult({}, (EVERY,))
    if not results:
        log.warning("no replica called method=%s: none is there", method)
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
