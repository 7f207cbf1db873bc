"""Forecast with a published release."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from common.errors import BundleError, CardNotFound, InsufficientHistory
from common.exchange.universe import Universe
from common.forecast.conformal import LEVELS, Calibration
from common.forecast.prices import Prices
from common.forecast.probabilities import DIRECTIONS
from common.presets import SPECIFIC
from common.prices.market_days import market_days
from common.prices.panel import Panel
from common.prices.series import series_from_histories, sessions_of
from common.prices.windows import Windows, last_window
from common.release.bundle import EVALUATED, GENERAL, Bundle, BundleFiles
from common.release.manifest import Release, read_json
from common.release.models import ModelFolder

Networks = Literal["served", "evaluated"]


@dataclass(frozen=True)
class Forecast:
    """The forecast of one stock for one horizon; prices in KES."""

    symbol: str
    name: str
    horizon: int
    """Trading days ahead."""
    last_date: dt.date
    last_price: float
    published: float
    raw: float
    change_percent: float
    """Change of the published price from the last price."""
    expected_change_percent: float
    """Change of the raw price from the last price."""
    probabilities: dict[str, float]
    """Of a close above, at and below the last price: ``up``, ``unchanged``, ``down``; empty if the model has
    none."""
    intervals: dict[str, tuple[float, float]]
    """(low, high) by nominal level, such as ``"90"``; empty if the model has none."""
    model_type: str
    """``stock_specific`` or ``general``."""
    source: str
    """``model``, or ``last_price`` if the price never moved in the window or the model did not beat it on
    validation."""
    frozen: bool
    in_sample: bool
    """The models were fitted or chosen on data after ``last_date``, so this is no measure of their skill."""
    release: str


def is_refitted(release: Release) -> bool:
    """Whether the networks that a release serves are not those that its figures are measured on."""
    return "train_end" in release.info.get("refit", {})


def networks_line(info: dict[str, Any]) -> str:
    """A sentence on which networks a release, whose manifest says ``info``, was measured on and serves."""
    measured, refit = f"Measured on networks trained to {info['train_end']}", info.get("refit", {})
    if "train_end" in refit:
        return f"{measured}; served by the same recipe trained to {refit['train_end']}."
    failed = f" The refit to all prices failed: {refit['failed']}" if "failed" in refit else ""
    return f"{measured}, which are served too.{failed}"


MODEL_CARD = "MODEL_CARD.md"
"""Written when a release is published; older releases do not have it."""


def read_model_card(release: Release) -> str:
    """Return a release's model card as Markdown; raises CardNotFound, or BundleError if it is damaged.

    A refreshed release has the card of the release that was trained, and a note in it.
    """
    if MODEL_CARD not in release.files:
        raise CardNotFound(
            f"release {release.id}: no {MODEL_CARD}; it was published before releases had a model card. The "
            "next `nsecast train` writes one; `nsecast report` shows the figures of this release.",
            release=release.id,
        )
    path = release.file(MODEL_CARD)
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {type(error).__name__}: {error}. Publish the release again.") from None
    refreshed = release.info.get("refreshed")  # see `common.release.refresh`
    if not refreshed:
        return text
    title, end, rest = text.partition("\n")
    note = (
        f"> **Refreshed.** Release {release.id} has these networks and figures, prices to {refreshed['to']} "
        "and interval levels that have learned from them."
    )
    return f"{title}{end}\n{note}\n{rest}"


class ReleasedModels:
    """Forecasts of a verified release, its bundles loaded when first needed.

    Parameters
    ----------
    networks : ``served``, or ``evaluated``: the networks that the release's figures are measured on. They are
        the same unless the release was refitted to all its prices.
    """

    def __init__(self, release: Release, networks: Networks = "served") -> None:
        self.release, self.networks = release, networks
        self._evenings: dict[dt.date | None, tuple[Panel, pd.DataFrame]] = {}

    @cached_property
    def universe(self) -> Universe:
        path = self.release.file("universe.json")
        return Universe.from_dict(read_json(path), str(path))

    @cached_property
    def panel(self) -> Panel:
        return Panel.load(self.release.file("panel.parquet"))

    @cached_property
    def calibration(self) -> Calibration:
        return Calibration.from_dict(read_json(self.release.file("calibration.json")))

    @cached_property
    def models(self) -> ModelFolder:
        preset, root = self.release.info["preset"], self._root
        own = {
            symbol
            for symbol in self.universe.symbols
            if (root / BundleFiles.of(preset, symbol).folder / "metadata.json").as_posix()
            in self.release.files
        }
        return ModelFolder(self.release.path / root, preset, self.universe, frozenset(own))

    @property
    def _root(self) -> Path:
        return Path(EVALUATED) if self.networks == "evaluated" and is_refitted(self.release) else Path()

    @property
    def seen_until(self) -> dt.date:
        """The last date of the prices that the networks were fitted or chosen on."""
        refitted = self.networks == "served" and is_refitted(self.release)
        return dt.date.fromisoformat(
            self.release.info["refit"]["train_end"] if refitted else self.release.info["valid_end"]
        )

    def bundle(self, job: str) -> Bundle:
        return self.models.bundle(job)

    def forecast(self, symbol: str, *, as_of: dt.date | None = None) -> list[Forecast]:
        """Forecast one stock for every horizon, from what was known on the evening of ``as_of``.

        Raises
        ------
        UnknownSymbol
            If the symbol is not listed, or the release's data have no row of it.
        InsufficientHistory
            If there are fewer closes than one window needs.
        """
        name = self.universe.find(symbol).name
        panel, market = self._known_on(as_of)
        series = series_from_histories({symbol: panel.history(symbol)}, market, sessions_of(panel))
        windows = last_window(series, self.models.window)
        levels = self.calibration.for_windows(windows)
        prices = self.models.prices(windows, self.models.outputs(windows), levels)
        return [self._forecast(symbol, name, windows, prices, h) for h in range(len(windows.spec.horizons))]

    def _known_on(self, as_of: dt.date | None) -> tuple[Panel, pd.DataFrame]:
        """Return the panel of that evening and its market days; the last result is cached."""
        if as_of not in self._evenings:
            panel = self.panel.as_of(as_of) if as_of else self.panel
            if not panel.symbols:
                raise InsufficientHistory(
                    f"no prices up to {as_of}: the release has {self.panel.dates[0]:%Y-%m-%d} to "
                    f"{self.panel.dates[-1]:%Y-%m-%d}. Choose a later day."
                )
            self._evenings = {as_of: (panel, market_days(panel))}
        return self._evenings[as_of]

    def _forecast(self, symbol: str, name: str, windows: Windows, prices: Prices, h: int) -> Forecast:
        last, published = float(prices.last[0]), float(prices.published[0, h])
        bounds = zip(LEVELS, prices.low[0, h], prices.high[0, h], strict=True)
        return Forecast(
            symbol=symbol,
            name=name,
            horizon=windows.spec.horizons[h],
            last_date=windows.cutoff[0].item(),
            last_price=last,
            published=published,
            raw=float(prices.raw[0, h]),
            change_percent=100 * (published / last - 1),
            expected_change_percent=float(prices.expected_change_percent[0, h]),
            probabilities={
                name: float(value)
                for name, value in zip(DIRECTIONS, prices.probabilities[0, h], strict=True)
                if np.isfinite(value)
            },
            intervals={
                f"{100 * level:.0f}": (float(low), float(high))
                for level, low, high in bounds
                if np.isfinite(low)
            },
            model_type=GENERAL if self.models.job_for(symbol) == GENERAL else SPECIFIC,
            source="model" if prices.by_model[0, h] else "last_price",
            frozen=bool(prices.frozen[0]),
            in_sample=windows.cutoff[0].item() < self.seen_until,
            release=self.release.id,
        )
