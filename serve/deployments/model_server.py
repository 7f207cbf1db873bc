"""The model replicas: a fixed deployment for the general model, and a pool for the specific models.

Each replica of the pool has a least-recently-used cache of models
(`serve.inference.model_cache.ModelCache`, keys ``SYMBOL@release``). It does not use Ray's
``multiplexed_model_id``, which sends all requests for a popular stock to the replicas that have its model. A
model loads in about 5 ms and a replica has room for all of them, so it is better to let
power-of-two-choices pick a replica that is not busy.

A replica does not raise when a model fails, but returns the error (`ModelResponse.error`). The router can
then fall back to the general model, and a batch loses one symbol instead of all.
"""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import ray.serve

from common import storage
from common.errors import BundleError, NsecastError
from common.forecast.forecaster import forecast_together
from common.presets import SPECIFIC
from common.release.bundle import GENERAL, Bundle, BundleFiles, load_bundle
from common.release.manifest import Release, damaged, fingerprint
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.deployments.health import Unhealthy
from serve.inference.memory import give_back, resident_mb
from serve.inference.model_cache import ModelCache, model_key, split_key
from serve.launch.private import keep_replica_to_its_node
from serve.model_client.messages import ForecastCall, ForecastReply, ModelRequest, ModelResponse
from serve.observability.log_files import configure_log

log = logging.getLogger(__name__)
CHECK_S = 20.0
"""Time limit of a health check, below the 30 s after which Ray counts it as failed."""
CHECKED = 3
"""Number of loaded models that a health check may run."""


class BundleLoader:
    """Loads the model of a key from the registry, after comparing its files with the manifest."""

    def __init__(self, home: Path) -> None:
        self._registry = Registry(storage.home(home), offline_ok=True)
        self._last: Release | None = None

    def __call__(self, key: str) -> Bundle:
        """Load a model; raises BundleError if a file is not as published, ReleaseNotFound."""
        job, release_id = split_key(key)
        release = self._last
        if release is None or release.id != release_id:
            release = self._last = self._registry.resolve(release_id)
        try:
            self._check(release, job)
        except BundleError:
            if storage.mirror_of(release.path) is None:
                raise
            release = self._last = self._registry.open(release_id)  # the local copy was damaged
        return load_bundle(release.path, release.info["preset"], job)

    def _check(self, release: Release, job: str) -> None:
        preset = release.info["preset"]
        files, general = BundleFiles.of(preset, job), BundleFiles.of(preset, GENERAL)
        names = [files.folder / name for name in ("model.onnx", "metadata.json", f"{files.scaler}.json")]
        if job != GENERAL:  # all models use the general one's calibration of probabilities
            names.append(general.folder / "metadata.json")
        for name in names:
            path = release.file(name)
            need = release.files[name.as_posix()]
            try:
                got = fingerprint(path)
            except OSError as error:
                raise damaged(release.id, str(path), got=str(error), need="the file as published") from None
            if got != need:
                raise damaged(release.id, str(path), got="another content", need="it as published")


class ModelReplica:
    """The models of one tier; ONNX Runtime on one thread, no TensorFlow."""

    def __init__(self, home: str, size: int, *, tier: str = "", log_to: str = "stderr") -> None:
        keep_replica_to_its_node()
        configure_log(log_to)
        self._cache = ModelCache(BundleLoader(Path(home)), size)
        self._checker = ThreadPoolExecutor(1, "health-check")  # so that a check does not wait for forecasts
        self._ran: set[str] = set()
        self._requests = self._errors = 0
        self._load_production(Path(home), tier)  # before Ray counts the replica as ready

    async def forecast(self, call: ForecastCall) -> ForecastReply:
        """Forecast one request or a small batch.

        A single request for a loaded model takes a millisecond and runs here, since a thread would double
        that; batches and models that have to be loaded run in a thread.
        """
        self._requests += len(call.keys)
        bundle = self._cache.peek(call.keys[0]) if len(call.keys) == 1 else None
        if bundle is not None:
            (request,) = call.singles()
            reply = ForecastReply.of([self._forecast(request, bundle)])
        else:
            reply = await asyncio.to_thread(self._forecast_all, call)
        self._errors += sum(error is not None for error in reply.errors)
        return reply

    async def load(self, keys: list[str]) -> dict[str, str]:
        """Load models in advance; return by key the errors of those that cannot be loaded."""
        return await asyncio.to_thread(self._load_all, keys)

    async def clear(self, release_id: str | None = None) -> int:
        """Drop all models, or those of other releases than this one; return their number."""
        return self._cache.clear(lambda key: release_id is not None and split_key(key)[1] == release_id)

    async def check_health(self) -> None:
        """Raise Unhealthy if the model cache or ONNX Runtime does not work; Ray then replaces the replica.

        A replica without a loaded model is healthy, and so is one whose models have never run: a new replica
        could not run them either.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CHECK_S):
                await loop.run_in_executor(self._checker, self._check_models)
        except TimeoutError:
            raise Unhealthy(f"models: the cache or ONNX Runtime did not answer in {CHECK_S:g} s.") from None

    async def stats(self) -> dict[str, Any]:
        """Return the counts since the replica started, and its memory."""
        cache = self._cache.stats()
        return {
            "pid": os.getpid(),
            "requests": self._requests,
            "errors": self._errors,
            "cache_hits": cache.hits,
            "cache_misses": cache.misses,
            "loaded": list(cache.loaded),
            "bad": list(cache.bad),
            "rss_mb": resident_mb(),
        }

    def _check_models(self) -> None:
        """Run the newest models on zeros; raises Unhealthy if all that ran before now fail."""
        failures = []
        for key, bundle in self._cache.newest(CHECKED):
            try:
                channels = len(bundle.forecaster.representation.channels)
                window = np.zeros((1, bundle.window.days, channels), np.float32)
                bundle.forecaster.network(window, np.zeros((1, 1), np.int32))
            except Exception as error:
                failures += [f"{key}: {error}"] if key in self._ran else []
            else:
                self._ran.add(key)
                return
        if failures:
            raise Unhealthy(f"models: none of those that ran before runs now. {failures[0]}")

    def _forecast_all(self, call: ForecastCall) -> ForecastReply:
        """Forecast a batch: all requests together, or one by one if that fails or the models are not alike.

        Together they get the same prices in less than half the time.
        """
        try:
            models = {key: self._cache.get(key) for key in dict.fromkeys(call.keys)}
            prices = forecast_together(
                [
                    (bundle.forecaster, np.flatnonzero([key == other for other in call.keys]))
                    for key, (bundle, _) in models.items()
                ],
                call.windows,
                call.levels,
            )
        except Exception:
            return ForecastReply.of([self._forecast(request) for request in call.singles()])
        return ForecastReply(prices, tuple(models[key][1] for key in call.keys), (None,) * len(call.keys))

    def _forecast(self, request: ModelRequest, bundle: Bundle | None = None) -> ModelResponse:
        try:
            cached = bundle is not None
            if bundle is None:
                bundle, cached = self._cache.get(request.key)
            prices = bundle.forecaster.forecast(request.windows, request.levels)
            return ModelResponse(prices, cached)
        except NsecastError as error:
            log.warning(
                "no forecast request_id=%s model=%s: %s", request.request_id, request.key, error.message
            )
            return ModelResponse(None, error=error)
        except Exception as error:  # such as a network that does not fit the code
            log.exception("no forecast request_id=%s model=%s", request.request_id, request.key)
            reason = f"{type(error).__name__}: {error}"
            self._cache.mark_bad(request.key, reason)
            return ModelResponse(
                None, error=BundleError(f"model {request.key}: {reason}.", model=request.key)
            )

    def _load_all(self, keys: list[str]) -> dict[str, str]:
        problems: dict[str, str] = {}
        for key in keys:
            try:
                self._cache.get(key)
            except NsecastError as error:
                problems[key] = error.message
        give_back()
        return problems

    def _load_production(self, home: Path, tier: str) -> None:
        try:
            release = Registry(storage.home(home), offline_ok=True).resolve("production")
            jobs = {GENERAL: [GENERAL], SPECIFIC: sorted(ReleasedModels(release).models.own)}.get(tier, [])
        except (NsecastError, OSError, ValueError, KeyError) as error:
            log.warning("nothing loaded in advance: %s", error)
            return
        self._load_all([model_key(job, release.id) for job in jobs])


@ray.serve.deployment(name="GeneralModel")
class GeneralModel(ModelReplica):
    """The general model, for stocks without a model of their own and for unknown symbols."""


@ray.serve.deployment(name="SpecificModel")
class SpecificModel(ModelReplica):
    """The specific models of all stocks; autoscaled."""
