"""Calls to every replica of a deployment, each with a time limit of its own."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)
EVERY = "every"
"""Stands for the replicas of a deployment if none of them could be called."""


@dataclass(frozen=True)
class Replies:
    """What the replicas of a deployment returned."""

    returned: dict[str, Any]
    """By the id of the replica's Ray actor."""
    silent: tuple[str, ...]
    """Actor ids of the replicas that did not answer in time, or failed; ``EVERY`` if none could be called."""


async def call_every(handle: Any, method: str, *arguments: Any, within_s: float) -> Replies:
    """Call a method of every replica at once, and return what came back in time.

    Ray's own ``results_async`` raises TimeoutError for all if one replica hangs, hence its parts are used.

    Parameters
    ----------
    handle : of the deployment
    within_s : how long each replica may take
    """
    try:
        async with asyncio.timeout(within_s):
            results = await handle.broadcast(method, *arguments)._fetch_replica_results_async()
    except Exception as error:
        log.warning("no replica called method=%s: %s: %s", method, type(error).__name__, error)
        return Replies({}, (EVERY,))
    if not results:
        log.warning("no replica called method=%s: none is there", method)
        return Replies({}, (EVERY,))
    calls = {_actor(result): asyncio.ensure_future(result.get_async()) for result in results}
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
    return Replies(returned, tuple(silent))


def _actor(result: Any) -> str:
    """The id of the actor that was called, from a result of either of Ray Serve's transports."""
    if actor := getattr(result, "_actor_id", None):
        return str(actor.hex())
    reference = getattr(result, "_obj_ref", None)
    return str(reference.task_id().actor_id().hex()) if reference is not None else f"local-{id(result)}"
