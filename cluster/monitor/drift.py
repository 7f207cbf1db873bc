"""Whether what the models are shown, and what they say, is still distributed as it was: the population
stability index."""

import json
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2

from cluster.monitor.settings import MonitorSettings
from common.forecast.representation import Representation, representation_from_dict
from common.network.channels import frozen
from common.presets import WindowSpec
from common.prices.panel import Panel
from common.prices.series import MARKET, series_of_counters
from common.prices.windows import Windows, make_windows
from common.release.bundle import GENERAL, BundleFiles
from common.release.forecasts import ReleasedModels

BINS = 10
MOST_WINDOWS = 20_000
WHOLE_MARKET = frozenset((*MARKET, "market_known"))
"""Channels that are the same for all stocks of a day, so that a day tells one value."""
Word = Literal["stable", "moderate", "large", "too few"]


@dataclass(frozen=True)
class Drift:
    """One feature, then and now."""

    feature: str
    """``input:<channel>`` on the cutoff day, or ``p_move:<horizon>d``."""
    psi: float
    chance: float
    """What chance alone stays below for all features together, but in a share ``alpha`` of cases."""
    n: int
    """Values now."""
    reference_n: int
    word: Word

    @property
    def breached(self) -> bool:
        """Large, and more than chance explains."""
        return self.word == "large" and self.psi > self.chance


def psi(reference: np.ndarray, recent: np.ndarray) -> float:
    """Population stability index: sum over bins of (q - p) * ln(q / p).

    Bins are tenths of the reference; a value that is a tenth of it or more (such as a return of 0) has a bin
    of its own. Shares are (count + 1/2) over (n + bins / 2), so that an empty bin is no infinity.

    Parameters
    ----------
    reference, recent : float, shapes (M,) and (N,), neither empty
    """
    cuts = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    values, counts = np.unique(reference, return_counts=True)
    heavy = values[counts >= len(reference) / BINS]
    edges = np.unique(np.concatenate([cuts, heavy, np.nextafter(heavy, np.inf)]))
    shares = []
    for sample in (reference, recent):
        found = np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1)
        shares.append((found + 0.5) / (len(sample) + len(found) / 2))
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def chance(n: int, reference_n: int, level: float) -> float:
    """The ``level`` quantile of the index of two samples of one distribution: (1/n + 1/m) times chi-squared
    with bins - 1 degrees of freedom (Yurdakul and Naranjo, Journal of Risk Model Validation 2020)."""
    return float(chi2.ppf(level, BINS - 1) * (1 / n + 1 / reference_n)) if min(n, reference_n) else math.nan


def drifts(
    models: ReleasedModels,
    panel: Panel,
    spec: WindowSpec,
    served: pd.DataFrame,
    reference: pd.DataFrame,
    settings: MonitorSettings,
) -> list[Drift]:
    """The general model's input channels now and in training, and p_move as served and in the backtest.

    Inputs are those of the cutoff day of every moving window: the training part's (at most 20,000, evenly
    spaced) and those of the newest sessions of ``panel``. Values of one day or one stock are not independent;
    chance counts as many as there are sessions or stocks, whichever is more.
    """
    windows = make_windows(series_of_counters(panel, models.universe), spec)
    train_end = np.datetime64(models.release.info["train_end"])
    sessions = panel.dates.to_numpy().astype("datetime64[D]")
    newest = sessions[-settings.drift_sessions :]
    then = _moving(windows.take(windows.cutoff <= train_end))
    now = _moving(windows.take(windows.cutoff >= max(newest[0], train_end + 1)))
    representation = _representation(models)
    features = len(representation.channels) + len(spec.horizons)
    found = _inputs(representation, then, now, features, settings)
    for horizon in spec.horizons:
        mine, theirs = (rows[rows["horizon"] == horizon] for rows in (served, reference))
        theirs = theirs[theirs["symbol"].isin(mine["symbol"].unique())]
        pair = [rows[rows["p_move"].notna() & ~rows["frozen"].astype(bool)] for rows in (theirs, mine)]
        sizes = [max(rows["cutoff"].nunique(), rows["symbol"].nunique()) for rows in pair]
        days = pair[1]["cutoff"].nunique()
        if len(pair[0]) and len(pair[1]):
            values = [rows["p_move"].to_numpy(float) for rows in pair]
            found.append(
                _drift(
                    f"p_move:{horizon}d", values[0], values[1], sizes[0], sizes[1], days, features, settings
                )
            )
    return found


def _representation(models: ReleasedModels) -> Representation:
    files = BundleFiles.of(str(models.release.info["preset"]), GENERAL)
    return representation_from_dict(
        json.loads(models.release.file(files.folder / f"{files.scaler}.json").read_bytes())
    )


def _inputs(
    representation: Representation, then: Windows, now: Windows, features: int, settings: MonitorSettings
) -> list[Drift]:
    if not len(then) or not len(now):
        return []
    shown = [representation.inputs(windows)[:, -1] for windows in (then, now)]
    days = [np.unique(windows.cutoff, return_index=True)[1] for windows in (then, now)]
    sizes = [max(len(np.unique(windows.cutoff)), len(np.unique(windows.symbol))) for windows in (then, now)]
    found = []
    for place, channel in enumerate(representation.channels):
        values = [each[:, place].astype(float) for each in shown]
        if channel in WHOLE_MARKET:
            values = [each[rows] for each, rows in zip(values, days, strict=True)]
        effective = [min(size, len(each)) for size, each in zip(sizes, values, strict=True)]
        found.append(
            _drift(
                f"input:{channel}",
                values[0],
                values[1],
                effective[0],
                effective[1],
                len(days[1]),
                features,
                settings,
            )
        )
    return found


def _drift(
    feature: str,
    then: np.ndarray,
    now: np.ndarray,
    effective_then: int,
    effective_now: int,
    days: int,
    features: int,
    settings: MonitorSettings,
) -> Drift:
    level = 1 - settings.alpha / features
    value, limit = psi(then, now), chance(effective_now, effective_then, level)
    if days < settings.fewest_dates:
        word: Word = "too few"
    elif value >= settings.psi_large:
        word = "large"
    else:
        word = "moderate" if value >= settings.psi_moderate else "stable"
    return Drift(feature, value, limit, len(now), len(then), word)


def _moving(windows: Windows) -> Windows:
    """At most ``MOST_WINDOWS`` windows in which the price moved, evenly spaced."""
    windows = windows.take(~frozen(windows))
    every = np.linspace(0, len(windows) - 1, min(len(windows), MOST_WINDOWS))
    return windows.take(np.unique(every.astype(np.int64)))
