"""An LRU cache of loaded models."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
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
    loaded: tuple[str, ...]
    """Keys, least recently used first."""
    bad: tuple[str, ...]
    """Keys of the models that failed a short while ago."""


class ModelCache:
    """At most ``size`` loaded models by `model_key`; safe to use from many threads.

    One model loads at a time, which takes milliseconds; loaded models never wait for that. A model that
    failed is refused without another try for ``remember_bad_s``.
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
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._models: OrderedDict[str, Bundle] = OrderedDict()
        self._bad: dict[str, tuple[float, str]] = {}
        self._clears = self._hits = self._misses = 0

    def peek(self, key: str) -> Bundle | None:
        """Return the model if it is loaded, which counts as a hit; never blocks, for event loops."""
        with self._lock:
            model = self._models.get(key)
            if model is not None:
                self._models.move_to_end(key)
                self._hits += 1
            return model

    def get(self, key: str) -> tuple[Bundle, bool]:
        """Return the model, loaded if necessary (milliseconds), and whether it was loaded before.

        Raises
        ------
        BundleError
            If it cannot be loaded, or failed a short while ago.
        """
        if model := self.peek(key):
            return model, True
        with self._loading:
            if model := self.peek(key):  # loaded while this thread waited
                return model, False
            with self._lock:
                self._refuse_bad(key)
                self._misses += 1
                clears = self._clears
            try:
                model = self._load(key)
            except BundleError as error:
                self.mark_bad(key, error.message)
                raise
            except Exception as error:
                reason = f"{type(error).__name__}: {error}."
                self.mark_bad(key, reason)
                raise BundleError(f"model {key}: not usable: {reason}", model=key) from error
            with self._lock:
                if clears == self._clears:
                    self._models[key] = model
                    if len(self._models) > self._size:
                        self._models.popitem(last=False)
            return model, False

    def bad(self) -> frozenset[str]:
        """Return the keys of the models that failed a short while ago."""
        with self._lock:
            now = self._clock()
            self._bad = {key: entry for key, entry in self._bad.items() if entry[0] > now}
            return frozenset(self._bad)

    def mark_bad(self, key: str, reason: str) -> None:
        """Drop a model that failed, also after loading, and refuse it for ``remember_bad_s``."""
        with self._lock:
            self._models.pop(key, None)
            self._bad[key] = (self._clock() + self._remember_bad_s, reason)

    def clear(self, keep: Callable[[str], bool] = lambda key: False) -> int:
        """Drop all models and failures except those to keep; return how many models were dropped.

        A model that is being loaded is returned to its callers, but not kept.
        """
        with self._lock:
            dropped = [key for key in self._models if not keep(key)]
            for key in dropped:
                del self._models[key]
            self._bad = {key: entry for key, entry in self._bad.items() if keep(key)}
            self._clears += 1
            return len(dropped)

    def newest(self, count: int) -> list[tuple[str, Bundle]]:
        """Return the ``count`` most recently used models, newest first, without counting hits."""
        with self._lock:
            return list(islice(reversed(self._models.items()), count))

    def stats(self) -> CacheStats:
        bad = tuple(sorted(self.bad()))
        with self._lock:
            return CacheStats(self._hits, self._misses, tuple(self._models), bad)

    def _refuse_bad(self, key: str) -> None:
        until, reason = self._bad.get(key, (0.0, ""))
        if until > self._clock():
            raise BundleError(
                f"model {key}: not usable: {reason} Tried again in {until - self._clock():.0f} s.", model=key
            )
