"""Route stocks to the general model or to their own model, and forecast with them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common import storage
from common.exchange.universe import Universe
from common.forecast.prices import Prices
from common.presets import WindowSpec
from common.prices.windows import Windows
from common.release.bundle import GENERAL, Bundle, load_bundle


@dataclass(frozen=True)
class ModelFolder:
    """The models below one folder, each loaded when first needed.

    It is pickled as the folder's address, so another process loads the models itself.
    """

    root: Path
    preset: str
    universe: Universe
    own: frozenset[str]
    """Symbols that have their own model."""
    _bundles: dict[str, Bundle] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[Callable[..., "ModelFolder"], tuple[object, ...]]:
        return _opened, (storage.address_of(self.root), self.preset, self.universe, self.own)

    def job_for(self, symbol: str) -> str:
        """Return the job of the stock's own model, else ``"general"``; UnknownSymbol if it is not listed."""
        return symbol if self.universe.find(symbol).symbol in self.own else GENERAL

    def bundle(self, job: str) -> Bundle:
        if job not in self._bundles:
            self._bundles[job] = load_bundle(self.root, self.preset, job)
        return self._bundles[job]

    @property
    def window(self) -> WindowSpec:
        return self.bundle(GENERAL).window

    def outputs(self, windows: Windows, *, general_only: bool = False) -> np.ndarray:
        """Run each window through its network; returns shape (N, H, K)."""
        general = self.bundle(GENERAL)
        shape = (len(windows), len(general.window.horizons), general.forecaster.representation.outputs)
        outputs = np.empty(shape, dtype=np.float32)
        for job, rows in self._by_job(windows, general_only).items():
            outputs[rows] = self.bundle(job).forecaster.outputs(windows.take(rows))
        return outputs

    def prices(
        self,
        windows: Windows,
        outputs: np.ndarray,
        levels: np.ndarray | None = None,
        *,
        general_only: bool = False,
    ) -> Prices:
        """Convert outputs to KES, with intervals at ``levels``, shape (N, H, 3)."""
        groups = self._by_job(windows, general_only) or {GENERAL: np.arange(0)}
        parts = [
            self.bundle(job).forecaster.prices(
                windows.take(rows), outputs[rows], None if levels is None else levels[rows]
            )
            for job, rows in groups.items()
        ]
        return Prices.joined(parts).take(np.argsort(np.concatenate(list(groups.values()))))

    def _by_job(self, windows: Windows, general_only: bool) -> dict[str, np.ndarray]:
        """Return the rows of the windows by the job that forecasts them."""
        symbols = windows.series.symbols
        jobs = [GENERAL if general_only else self.job_for(symbol) for symbol in symbols]
        numbers = {job: number for number, job in enumerate(dict.fromkeys(jobs))}
        owner = np.array([numbers[job] for job in jobs], dtype=np.int64)[windows.symbol]
        groups = {job: np.flatnonzero(owner == number) for job, number in numbers.items()}
        return {job: rows for job, rows in groups.items() if len(rows)}


@functools.lru_cache(maxsize=1)
def _opened(address: str, preset: str, universe: Universe, own: frozenset[str]) -> ModelFolder:
    """Open the models at an address, cached in this process."""
    root = storage.locate(address)
    if storage.mirror_of(root) is not None:
        storage.fetch_matching(root, "**/*")
    return ModelFolder(root, preset, universe, own)
