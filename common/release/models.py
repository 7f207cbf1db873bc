"""The general model and the specific ones beside it: which of them answers for a stock, and what it says."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from common import storage
from common.exchange.universe import Universe
from common.forecast.prices import Prices
from common.presets import WindowSpec
from common.prices.windows import Windows
from common.release.bundle import GENERAL, Bundle, load_bundle


@dataclass(frozen=True)
class ServedModels:
    """The models below one folder, each loaded when first needed.

    Pickled it is the folder's address: another process, on any machine that sees it, loads them itself.
    """

    root: Path
    preset: str
    universe: Universe
    own: frozenset[str]
    """Symbols that have a model of their own."""
    _bundles: dict[str, Bundle] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[Callable[..., "ServedModels"], tuple[object, ...]]:
        return _opened, (storage.address_of(self.root), self.preset, self.universe, self.own)

    def job_for(self, symbol: str) -> str:
        """The stock's own model if there is one, else ``"general"``; UnknownSymbol if it is no counter."""
        return symbol if self.universe.find(symbol).symbol in self.own else GENERAL

    def bundle(self, job: str) -> Bundle:
        if job not in self._bundles:
            self._bundles[job] = load_bundle(self.root, self.preset, job)
        return self._bundles[job]

    @property
    def window(self) -> WindowSpec:
        return self.bundle(GENERAL).window

    def outputs(
        self,
        windows: Windows,
        *,
        general_only: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray:
        """What each window's network says, shape (N, H, K); ``progress`` is called with windows done."""
        parts, done = {}, 0
        for job, rows in self._by_job(windows, general_only).items():
            parts[job] = rows, self.bundle(job).forecaster.outputs(windows.take(rows))
            done += len(rows)
            progress(done, len(windows))
        bundle = self.bundle(GENERAL)
        shape = (len(windows), len(bundle.window.horizons), bundle.forecaster.representation.outputs)
        outputs = np.empty(shape, dtype=np.float32)
        for rows, said in parts.values():
            outputs[rows] = said
        return outputs

    def prices(
        self,
        windows: Windows,
        outputs: np.ndarray,
        asked: np.ndarray | None = None,
        *,
        general_only: bool = False,
    ) -> Prices:
        """What they said in KES, with intervals at the levels ``asked`` (N, H, 3)."""
        whole: dict[str, np.ndarray] = {}
        groups = self._by_job(windows, general_only) or {GENERAL: np.arange(0)}
        for job, rows in groups.items():
            levels = None if asked is None else asked[rows]
            part = self.bundle(job).forecaster.prices(windows.take(rows), outputs[rows], levels)
            for each in fields(Prices):
                values = getattr(part, each.name)
                target = whole.setdefault(
                    each.name, np.empty((len(windows), *values.shape[1:]), values.dtype)
                )
                target[rows] = values
        return Prices(**whole)

    def _by_job(self, windows: Windows, general_only: bool) -> dict[str, np.ndarray]:
        """Rows of the windows by the job that answers for them."""
        symbols = windows.series.symbols
        jobs = [GENERAL if general_only else self.job_for(symbol) for symbol in symbols]
        numbers = {job: number for number, job in enumerate(dict.fromkeys(jobs))}
        owner = np.array([numbers[job] for job in jobs], dtype=np.int64)[windows.symbol]
        groups = {job: np.flatnonzero(owner == number) for job, number in numbers.items()}
        return {job: rows for job, rows in groups.items() if len(rows)}


@functools.lru_cache(maxsize=1)
def _opened(address: str, preset: str, universe: Universe, own: frozenset[str]) -> ServedModels:
    """The models at an address, kept for the life of the process."""
    root = storage.locate(address)
    if storage.mirror_of(root) is not None:
        storage.found(root, "**/*")
    return ServedModels(root, preset, universe, own)
