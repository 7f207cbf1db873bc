"""A release under examination: what its checks look at, each part read once."""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from common.errors import NsecastError
from common.prices.series import Series, series_of_counters
from common.release.bundle import GENERAL, BundleFiles
from common.release.forecasts import Forecast, ReleasedModels
from common.release.manifest import Release

Finding = tuple[bool, str]
"""Whether a check passed, and what it found."""
NAMED = 5
"""So many offenders are named, the others counted."""


class Subject:
    """One release, its files as published; nothing is read before a check asks for it."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.models = ReleasedModels(release)
        self.evaluated = ReleasedModels(release, "evaluated")

    @cached_property
    def jobs(self) -> tuple[str, ...]:
        """The general model, and every specific one that the release claims or holds."""
        own = sorted({*self.release.info["jobs"], *self.models.models.own} - {GENERAL})
        return (GENERAL, *own)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The forecasts of the test part, as published."""
        return pd.read_parquet(self.release.file("test_forecasts.parquet"))

    @cached_property
    def near(self) -> pd.DataFrame:
        """Those that are judged: the shortest horizon, windows in which the price moved, scored."""
        table = self.table
        chosen = (table["horizon"] == table["horizon"].min()) & ~table["frozen"].astype(bool)
        return table[chosen & np.isfinite(table["actual"])]

    @cached_property
    def series(self) -> Series:
        """Prices of the counters that the panel has a row of."""
        return series_of_counters(self.models.panel, self.models.universe)

    @cached_property
    def closes(self) -> dict[str, int]:
        """How many closes the panel has of each counter."""
        lengths = dict(zip(self.series.symbols, np.diff(self.series.offsets).tolist(), strict=True))
        return {symbol: lengths.get(symbol, 0) for symbol in self.models.universe.symbols}

    @cached_property
    def _newest(self) -> tuple[dict[str, list[Forecast]], dict[str, str]]:
        answers, refused = {}, {}
        for symbol in self.models.universe.symbols:
            try:
                answers[symbol] = self.models.forecast(symbol)
            except NsecastError as error:
                refused[symbol] = error.message
        return answers, refused

    @property
    def answers(self) -> dict[str, list[Forecast]]:
        """The newest forecasts, one per horizon, of every counter that has some."""
        return self._newest[0]

    @property
    def refused(self) -> dict[str, str]:
        """Why there is none, by counter."""
        return self._newest[1]

    def folder(self, job: str) -> str:
        """Where a job's bundle lies, relative, with forward slashes."""
        return BundleFiles.of(self.release.info["preset"], job).folder.as_posix()

    def json(self, name: str) -> dict[str, Any]:
        """One published file; BundleError if the release does not list it, ValueError if it is no JSON."""
        content: dict[str, Any] = json.loads(self.release.file(name).read_bytes())
        return content


def listed(problems: Iterable[str]) -> str:
    """The first few of several, and how many there are besides."""
    every = list(problems)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return "; ".join(every[:NAMED]) + more


def finding(problems: Iterable[str], otherwise: str) -> Finding:
    """Passed, with what was found, unless there are problems."""
    problems = list(problems)
    return (False, listed(problems)) if problems else (True, otherwise)


def told(error: Exception) -> str:
    """An error as a reader needs it: our own say everything, others with their kind."""
    if isinstance(error, NsecastError):
        return error.message
    return f"{type(error).__name__}: {error}"
