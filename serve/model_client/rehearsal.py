"""The rehearsal of a release: before it serves, every replica loads its models and forecasts once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from common.errors import BundleError, NsecastError
from common.presets import SPECIFIC
from common.release.bundle import GENERAL
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.inference.model_cache import model_key
from serve.model_client.broadcast import BroadcastResult
from serve.model_client.messages import ForecastCall, ModelRequest, ModelResponse
from serve.schemas.forecast import PredictRequest

log = logging.getLogger(__name__)
LOAD_S = 20.0
"""Time limit for a replica to load the models of a new release."""


async def rehearse(
    loaded: LoadedRelease,
    broadcast: Callable[..., Awaitable[BroadcastResult]],
    call: Callable[[list[ModelRequest]], Awaitable[list[ModelResponse]]],
) -> dict[str, tuple[str, ...]]:
    """Load a release's models in every replica, and forecast with the general one.

    Parameters
    ----------
    broadcast : as `ModelClient.broadcast`
    call : calls one replica of the general model, and waits for one if none has started

    Returns
    -------
    dict
        By tier, the replicas that did not answer in time. The release serves without them: they load a model
        at the next request for it.

    Raises
    ------
    NsecastError
        If a replica cannot forecast with the general model, or none can be reached.
    """
    prepared = loaded.general(await asyncio.to_thread(_first_forecast, loaded))
    request = ModelRequest(prepared.key, prepared.windows, prepared.levels)
    keys = [model_key(job, loaded.release.id) for job in sorted(loaded.own)]
    forecasts, loads = await asyncio.gather(
        broadcast(GENERAL, "forecast", ForecastCall.of([request]), within_s=LOAD_S),
        broadcast(SPECIFIC, "load", keys, within_s=LOAD_S),
    )
    replies = forecasts.returned.values()
    responses = [response for reply in replies for response in reply.singles()] or await call([request])
    for response in responses:
        if response.error is not None:
            raise response.error
    for problems in loads.returned.values():
        for key, reason in problems.items():
            log.error("the general model replaces model=%s: %s", key, reason)
    silent = {GENERAL: forecasts.silent, SPECIFIC: loads.silent}
    for tier, actors in silent.items():
        if actors:
            log.error(
                "replicas have not loaded release=%s tier=%s actors=%s", loaded.release.id, tier, actors
            )
    return silent


def _first_forecast(loaded: LoadedRelease) -> PreparedRequest:
    """Prepare the first stock with enough prices; raises BundleError if there is none."""
    for symbol in loaded.universe.symbols:
        try:
            return loaded.prepare(PredictRequest(symbol=symbol, horizon=next(iter(loaded.positions))))
        except NsecastError:
            continue
    raise BundleError(f"release {loaded.release.id}: no stock has enough prices for a forecast.")
