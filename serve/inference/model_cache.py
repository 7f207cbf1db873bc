"""An LRU cache of loaded models."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice

from common.errors import BundleError
from common.release.bundle import Bundle

REMEMBER_BAD_S = 60.0


def model_key(job: str, release_id: str) -> str:
    """Return the id of a model of a release, such as ``SCOM@20241031-residual-01d04261``."""
    return f"{job}@{release_id}"


def split_key(key: str) -> tuple[str, str]:
    """Split a `model_key` into job and release id; a release id contains no ``@``."""
    job, _, release_id = key.rpartition("@")
    return job, release_id


@dataclass(frozen=True)
class CacheStats:
    """Counts since the start, and the current contents."""

    hits: int
    misses: int
    """Loads started."""
    failures: int
    """Loads that failed."""
    evicted: int
    loaded: tuple[str, ...]
    """Keys, least recently used first."""
    bad: tuple[str, ...]
    """Keys of the models that failed a short while ago."""


class ModelCache:
    """At most ``size`` loaded models by `model_key`; safe to use from many threads.

    The lock covers bookkeeping only. The first thread that needs a model loads it while other threads that
    need the same one wait; different models load concurrently. A model that failed is refused without another
    try for ``remember_bad_s``.
    """

    def __init__(
        self,
        load: Callable[[str], Bundle],
        size: int,
        *,
        remember_bad_s: float = REMEMBER_BAD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._size = load, size
        self._remember_bad_s, self._clock = remember_bad_s, clock
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Bundle] = OrderedDict()
        self._loading: dict[str, Future[Bundle]] = {}
        self._bad: dict[str, tuple[float, str]] = {}
        self._epoch = 0
        self._hits = self._misses = self._failures = self._evicted = 0

    def peek(self, key: str) -> Bundle | None:
        """Return the model if it is loaded, which counts as a hit; never blocks, for event loops."""
        with self._lock:
            return self._lookup(key)

    def get(self, key: str) -> tuple[Bundle, bool]:
        """Return the model, loaded if necessary (milliseconds), and whether it was loaded before.

        Raises
        ------
        BundleError
            If it cannot be loaded, or failed a short while ago.
        """
        with self._lock:
            if model := self._lookup(key):
                return model, True
            self._refuse_bad(key)
            mine = key not in self._loading
            future = self._loading.setdefault(key, Future())
            self._misses += mine
            epoch = self._epoch
        if mine:
            self._fill(key, future, epoch)
        return future.result(), False

    def bad(self) -> frozenset[str]:
        """Return the keys of the models that failed a short while ago."""
        with self._lock:
            now = self._clock()
            self._bad = {key: entry for key, entry in self._bad.items() if entry[0] > now}
            return frozenset(self._bad)

    def mark_bad(self, key: str, reason: str) -> None:
        """Drop a model that failed after loading, and refuse it for ``remember_bad_s``."""
        with self._lock:
            self._models.pop(key, None)
            self._bad[key] = (self._clock() + self._remember_bad_s, reason)

    def clear(self, keep: Callable[[str], bool] = lambda key: False) -> int:
        """Drop all models and failures except those to keep; return how many models were dropped."""
        with self._lock:
            dropped = [key for key in self._models if not keep(key)]
            for key in dropped:
                del self._models[key]
            self._bad = {key: entry for key, entry in self._bad.items() if keep(key)}
            self._epoch += 1
            return len(dropped)

    def newest(self, count: int) -> list[tuple[str, Bundle]]:
        """Return the ``count`` most recently used models, newest first, without counting hits."""
        with self._lock:
            return list(islice(reversed(self._models.items()), count))

    def stats(self) -> CacheStats:
        bad = self.bad()
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                failures=self._failures,
                evicted=self._evicted,
                loaded=tuple(self._models),
                bad=tuple(sorted(bad)),
            )

    def _lookup(self, key: str) -> Bundle | None:
        model = self._models.get(key)
        if model is not None:
            self._models.move_to_end(key)
            self._hits += 1
        return model

    def _refuse_bad(self, key: str) -> None:
        until, reason = self._bad.get(key, (0.0, ""))
        if until > self._clock():
            raise BundleError(
                f"model {key}: not usable: {reason} Tried again in {until - self._clock():.0f} s.", model=key
            )
        self._bad.pop(key, None)

    def _fill(self, key: str, future: "Future[Bundle]", epoch: int) -> None:
        try:
            model = self._load(key)
        except BaseException as error:
            reason = error.message if isinstance(error, BundleError) else f"{type(error).__name__}: {error}."
            with self._lock:
                self._failures += 1
                if isinstance(error, Exception):
                    self._bad[key] = (self._clock() + self._remember_bad_s, reason)
                self._loading.pop(key, None)
            failure = error
            if isinstance(error, Exception) and not isinstance(error, BundleError):
                failure = BundleError(f"model {key}: not usable: {reason}", model=key)
            future.set_exception(failure)
            return
        with self._lock:
            self._loading.pop(key, None)
            if epoch == self._epoch:
                self._models[key] = model
                while len(self._models) > self._size:
                    self._models.popitem(last=False)
                    self._evicted += 1
        future.set_result(model)
