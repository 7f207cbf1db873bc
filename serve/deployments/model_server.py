"""The replicas that hold the networks: one fixed deployment for the general model, one pool for the specific.

The pool multiplexes by itself: each replica keeps a least-recently-used cache
(`serve.inference.model_cache.ModelCache`, ids ``SYMBOL@release``), and Ray is *not* told which model a
request is for. With Ray's ``multiplexed_model_id`` a model's requests go to the replicas that already hold
it, so that a hot stock sticks to one replica however many there are, and the autoscaler knows nothing of
models. Ours load in about 5 ms and a replica has room for all of them, so affinity is worth nothing:
power-of-two-choices sends each question to a replica that is not busy. The release in the id makes it
impossible to answer from the wrong one.

Replicas never raise for a model's failure: they return it (`ModelResponse.error`), so that the router can
fall back and a batch loses one symbol, not all.
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
from common.presets import SPECIFIC
from common.prices.windows import Windows
from common.release.bundle import GENERAL, Bundle, BundleFiles, load_bundle
from common.release.forecasts import ReleasedModels
from common.release.manifest import Release, damaged, fingerprint
from common.release.registry import Registry
from serve.deployments.health import Unhealthy
from serve.inference.memory import give_back, resident_mb
from serve.inference.model_cache import ModelCache, model_key, split_key
from serve.launch.private import keep_replica_to_its_node
from serve.model_client.messages import ModelRequest, ModelResponse
from serve.observability.log_files import configure_log

log = logging.getLogger(__name__)
CHECK_S = 20.0
"""How long a health check may take, less than the 30 s after which Ray itself counts it as failed."""
CHECKED = 3
"""Loaded models that a health check tries."""


class BundleLoader:
    """Loads the model of a key from the registry, its own files compared with the manifest first."""

    def __init__(self, home: Path) -> None:
        self._registry = Registry(storage.home(home), offline_ok=True)
        self._last: Release | None = None

    def __call__(self, key: str) -> Bundle:
        """Raises BundleError if a file is not as published, ReleaseNotFound if the release is gone."""
        job, release_id = split_key(key)
        release = self._last
        if release is None or release.id != release_id:
            release = self._last = self._registry.resolve(release_id)
        try:
            self._check(release, job)
        except BundleError:
            if storage.mirror_of(release.path) is None:
                raise
            release = self._last = self._registry.open(release_id)  # the copy here was at fault
        return load_bundle(release.path, release.info["preset"], job)

    def _check(self, release: Release, job: str) -> None:
        files = BundleFiles.of(release.info["preset"], job)
        for name in ("model.onnx", "metadata.json", f"{files.scaler}.json"):
            path = release.file(files.folder / name)
            need = release.files[(files.folder / name).as_posix()]
            try:
                got = fingerprint(path)
            except OSError as error:
                raise damaged(release.id, str(path), got=str(error), need="the file as published") from None
            if got != need:
                raise damaged(release.id, str(path), got="another content", need="it as published")


class ModelReplica:
    """Networks of one tier behind a handle; ONNX Runtime on one thread, no TensorFlow."""

    def __init__(self, home: str, size: int, *, tier: str = "", log_to: str = "stderr") -> None:
        keep_replica_to_its_node()
        configure_log(log_to)
        self._cache = ModelCache(BundleLoader(Path(home)), size)
        self._checker = ThreadPoolExecutor(1, "health-check")  # so that no check waits behind forecasts
        self._ran: set[str] = set()
        self._asked = self._failed = 0
        self._load_production(Path(home), tier)  # a replica counts as ready once it can answer

    async def forecast(self, questions: list[ModelRequest]) -> list[ModelResponse]:
        """Answer a question or a small batch.

        One question of a loaded model takes a millisecond and is answered here, since a thread would cost as
        much again; loading and batches go to a thread.
        """
        self._asked += len(questions)
        bundle = self._cache.peek(questions[0].key) if len(questions) == 1 else None
        if bundle is not None:
            said = [self._forecast(questions[0], bundle)]
        else:
            said = await asyncio.to_thread(self._forecast_all, questions)
        self._failed += sum(each.error is not None for each in said)
        return said

    async def load(self, keys: list[str]) -> dict[str, str]:
        """Load models before they are needed; what is wrong with those that cannot be, by key."""
        return await asyncio.to_thread(self._load_all, keys)

    async def clear(self, release_id: str | None = None) -> int:
        """Drop every model, or those of other releases than this one; returns how many."""
        return self._cache.clear(lambda key: release_id is not None and split_key(key)[1] == release_id)

    async def check_health(self) -> None:
        """Raise Unhealthy if the model cache or ONNX Runtime does not work; Ray then replaces the replica.

        A replica without a model is healthy: there may be no release, or one whose models do not load. So is
        one whose models never ran: they are at fault, and a new replica would run them no better.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CHECK_S):
                await loop.run_in_executor(self._checker, self._check_models)
        except TimeoutError:
            raise Unhealthy(f"models: the cache or ONNX Runtime did not answer in {CHECK_S:g} s.") from None

    async def stats(self) -> dict[str, Any]:
        """Counts since the replica started, and its memory."""
        found = self._cache.stats()
        return {
            "pid": os.getpid(),
            "requests": self._asked,
            "errors": self._failed,
            "cache_hits": found.hits,
            "cache_misses": found.misses,
            "loaded": list(found.loaded),
            "bad": list(found.bad),
            "rss_mb": resident_mb(),
        }

    def _check_models(self) -> None:
        """Run the models used last on zeros; raises Unhealthy if some ran before and none runs now."""
        failures = []
        for key, bundle in self._cache.newest(CHECKED):
            try:
                channels = len(bundle.forecaster.representation.channels)
                window = np.zeros((1, bundle.window.size, channels), np.float32)
                bundle.forecaster.network(window, np.zeros((1, 1), np.int32))
            except Exception as error:
                failures += [f"{key}: {error}"] if key in self._ran else []
            else:
                self._ran.add(key)
                return
        if failures:
            raise Unhealthy(f"models: of those that ran before none runs now. {failures[0]}")

    def _forecast_all(self, questions: list[ModelRequest]) -> list[ModelResponse]:
        """Answer a batch: the questions for one model together, or one by one if that fails.

        Together they get the same prices in less than a fifth of the time.
        """
        places: dict[str, list[int]] = {}
        for place, question in enumerate(questions):
            places.setdefault(question.key, []).append(place)
        said: dict[int, ModelResponse] = {}
        for key, ours in places.items():
            try:
                bundle, cached = self._cache.get(key)
                windows = Windows.joined([questions[place].windows for place in ours])
                asked = np.concatenate([questions[place].levels for place in ours])
                prices = bundle.forecaster.forecast(windows, asked).singles()
                said |= {place: ModelResponse(each, cached) for place, each in zip(ours, prices, strict=True)}
            except Exception:
                said |= {place: self._forecast(questions[place]) for place in ours}
        return [said[place] for place in range(len(questions))]

    def _forecast(self, question: ModelRequest, bundle: Bundle | None = None) -> ModelResponse:
        try:
            cached = bundle is not None
            if bundle is None:
                bundle, cached = self._cache.get(question.key)
            prices = bundle.forecaster.forecast(question.windows, question.levels)
            return ModelResponse(prices, cached)
        except NsecastError as error:
            log.warning(
                "no forecast request_id=%s model=%s: %s", question.request_id, question.key, error.message
            )
            return ModelResponse(None, error=error)
        except Exception as error:  # a network and code that do not fit: the model is at fault
            log.exception("no forecast request_id=%s model=%s", question.request_id, question.key)
            reason = f"{type(error).__name__}: {error}"
            self._cache.mark_bad(question.key, reason)
            return ModelResponse(
                None, error=BundleError(f"model {question.key}: {reason}.", model=question.key)
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
    """The general model: answers for every stock without one of its own, and for strangers."""


@ray.serve.deployment(name="SpecificModel")
class SpecificModel(ModelReplica):
    """Any stock's own model; autoscaled."""
