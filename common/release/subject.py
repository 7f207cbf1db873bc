"""The release under examination, with each part read at most once."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from common.errors import NsecastError
from common.prices.series import Series, series_of_universe
from common.release.bundle import GENERAL, BundleFiles
from common.release.manifest import Release
from common.release.released_models import Forecast, ReleasedModels

Finding = tuple[bool, str]
"""Whether a check passed, and its result in words."""
NAMED = 5
"""Number of problems that are listed; the others are only counted."""


@dataclass(frozen=True)
class Check:
    """One line of a checklist; ``found`` describes the result and explains a failure."""

    name: str
    passed: bool
    found: str
    needed: str


class Subject:
    """One release and its files, read when a check needs them."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.models = ReleasedModels(release)
        self.evaluated = ReleasedModels(release, "evaluated")

    @cached_property
    def jobs(self) -> tuple[str, ...]:
        """The general model, and every specific model that the manifest names or a bundle exists for."""
        own = sorted({*self.release.info["jobs"], *self.models.models.own} - {GENERAL})
        return (GENERAL, *own)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The published forecasts of the test part."""
        return pd.read_parquet(self.release.file("test_forecasts.parquet"))

    @cached_property
    def series(self) -> Series:
        """Prices of the stocks that have a row in the panel."""
        return series_of_universe(self.models.panel, self.models.universe)

    @cached_property
    def closes(self) -> dict[str, int]:
        """The number of closes of each stock."""
        lengths = dict(zip(self.series.symbols, np.diff(self.series.offsets).tolist(), strict=True))
        return {symbol: lengths.get(symbol, 0) for symbol in self.models.universe.symbols}

    @cached_property
    def _newest(self) -> tuple[dict[str, list[Forecast]], dict[str, str]]:
        forecasts, refused = {}, {}
        for symbol in self.models.universe.symbols:
            try:
                forecasts[symbol] = self.models.forecast(symbol)
            except NsecastError as error:
                refused[symbol] = error.message
        return forecasts, refused

    @property
    def forecasts(self) -> dict[str, list[Forecast]]:
        """The newest forecasts by symbol, one per horizon."""
        return self._newest[0]

    @property
    def refused(self) -> dict[str, str]:
        """The error message of each stock without a forecast."""
        return self._newest[1]

    def folder(self, job: str) -> str:
        """Return the relative folder of a job's bundle, with forward slashes."""
        return BundleFiles.of(self.release.info["preset"], job).folder.as_posix()

    def json(self, name: str) -> dict[str, Any]:
        """Read a published JSON file; BundleError if the release does not list it, ValueError if invalid."""
        content: dict[str, Any] = json.loads(self.release.file(name).read_bytes())
        return content


def run_check(subject: Subject, name: str, needed: str, check: Callable[[Subject], Finding]) -> Check:
    """Run one check; a check that raises fails, with the error as its finding."""
    try:
        passed, found = check(subject)
    except Exception as error:
        passed, found = False, error_text(error)
    return Check(name, bool(passed), found, needed)


def finding(problems: Iterable[str], otherwise: str) -> Finding:
    """Return a failure with the first ``NAMED`` problems, or a pass with the text ``otherwise``."""
    problems = list(problems)
    more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return (False, "; ".join(problems[:NAMED]) + more) if problems else (True, otherwise)


def error_text(error: Exception) -> str:
    """Return the message of an nsecast error, or the type and text of any other error."""
    return error.message if isinstance(error, NsecastError) else f"{type(error).__name__}: {error}"
