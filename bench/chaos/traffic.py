"""Requests to a server under faults, and their exact expected responses."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import NsecastError
from common.release.registry import Registry
from common.release.released_models import Forecast, ReleasedModels

API = "/api/v4"
KINDS = {"specific": 4, "general": 3, "prices": 2, "batch": 1}
"""Shares of the mix."""
TOGETHER = 6
"""Stocks in a batch of the mix."""


@dataclass(frozen=True)
class Ask:
    """One request: a POST of ``body`` to ``path``."""

    kind: str
    path: str
    body: dict[str, Any]


class Traffic:
    """A mix of requests about releases that are known, and the check of their answers.

    Parameters
    ----------
    home : storage root with these releases
    releases : ids; an answer has to be wholly of one of them
    """

    def __init__(self, home: Path, releases: Sequence[str], *, seed: int = 7) -> None:
        self._rng = random.Random(seed)  # nosec B311 # the choice of stocks is no secret
        registry = Registry(home)
        opened = {name: ReleasedModels(registry.open(name)) for name in releases}
        self._truths = {name: _truth(models) for name, models in opened.items()}
        models = opened[releases[0]]
        everywhere = set.intersection(*({symbol for symbol, _ in truth} for truth in self._truths.values()))
        self.size, own = models.models.window.size, models.models.own
        self.horizons = tuple(models.models.window.horizons)
        self.symbols = sorted(everywhere)
        self._of = {
            "specific": sorted(everywhere & own) or self.symbols,
            "general": sorted(everywhere - own) or self.symbols,
        }

    def mixed(self) -> Iterator[Ask]:
        """Requests of all kinds, for ever."""
        names, weights = list(KINDS), list(KINDS.values())
        while True:
            (kind,) = self._rng.choices(names, weights)
            yield getattr(self, f"_{kind}", self._single)(kind)

    def heavy(self) -> Iterator[Ask]:
        """Batches of brought prices: much more work for the server than for who asks, and none remembered."""
        symbols = [f"NEW{number}" for number in range(20)]
        bodies = [
            {"symbols": symbols, "recent_prices": self._closes(), "allow_unknown": True} for _ in range(50)
        ]
        return itertools.cycle([Ask("heavy", f"{API}/predict/batch", body) for body in bodies])

    def check(self, ask: Ask, answer: Any) -> str:
        """What is wrong with an answer of status 200; empty if nothing is."""
        try:
            return self._check(ask, answer)
        except (KeyError, TypeError, AttributeError) as error:
            return f"{ask.kind}: no such answer: {type(error).__name__}: {error}"

    def _check(self, ask: Ask, answer: dict[str, Any]) -> str:
        predictions = answer.get("predictions", [answer])
        if len(predictions) != len(ask.body.get("symbols", [0])):
            return f"{ask.kind}: {len(predictions)} forecasts of {len(ask.body.get('symbols', [0]))}"
        releases = {one["release"] for one in predictions} | {answer["release"]}
        if len(releases) != 1 or not releases <= self._truths.keys():
            return f"{ask.kind}: of the releases {', '.join(sorted(map(str, releases)))}"
        truth = self._truths[answer["release"]]
        for one in predictions:
            interval = one["confidence_interval"] or {}
            numbers = [one["prediction"], one["mean_prediction"], one["last_price"], *interval.values()]
            if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
                return f"{ask.kind}: {one['symbol']}: a number that is none"
            expected = truth.get((one["symbol"], int(one["horizon"][:-1])))
            if "recent_prices" in ask.body or expected is None:
                continue
            if (one["prediction"], one["mean_prediction"]) != (expected.published, expected.raw):
                return f"{ask.kind}: {one['symbol']}: another forecast than release {answer['release']} makes"
        return ""

    def _single(self, kind: str) -> Ask:
        return Ask(
            kind,
            f"{API}/predict",
            {"symbol": self._rng.choice(self._of[kind]), "horizon": f"{self._rng.choice(self.horizons)}d"},
        )

    def _prices(self, kind: str) -> Ask:
        body = {"symbol": self._rng.choice(self.symbols), "recent_prices": self._closes()}
        return Ask(kind, f"{API}/predict", body)

    def _batch(self, kind: str) -> Ask:
        some = self._rng.sample(self.symbols, min(TOGETHER, len(self.symbols)))
        return Ask(kind, f"{API}/predict/batch", {"symbols": some})

    def _closes(self) -> list[float]:
        start = self._rng.uniform(10, 500)
        return [round(start * (1 + self._rng.uniform(-0.02, 0.02)), 2) for _ in range(self.size + 1)]


def _truth(models: ReleasedModels) -> dict[tuple[str, int], Forecast]:
    results: dict[tuple[str, int], Forecast] = {}
    for symbol in models.universe.symbols:
        try:
            results |= {(symbol, forecast.horizon): forecast for forecast in models.forecast(symbol)}
        except NsecastError:
            continue  # too few closes: it is not requested
    return results
