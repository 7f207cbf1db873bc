"""Drift of the models' inputs and outputs, measured by the population stability index."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2

from cluster.monitor.settings import MonitorSettings
from common.forecast.representation import Representation, representation_from_dict
from common.network.channels import frozen
from common.presets import WindowSpec
from common.prices.market import MARKET
from common.prices.panel import Panel
from common.prices.series import series_of_universe
from common.prices.windows import Windows, make_windows
from common.release.bundle import GENERAL, BundleFiles
from common.release.forecasts import ReleasedModels

BINS = 10
MAX_WINDOWS = 20_000
WHOLE_MARKET = frozenset((*MARKET, "market_known"))
"""Channels that are equal for all stocks of a day, so that a day counts once."""
Word = Literal["stable", "moderate", "large", "too few"]


@dataclass(frozen=True)
class Drift:
    """The drift of one feature."""

    feature: str
    """``input:<channel>`` on the cutoff day, or ``p_move:<horizon>d``."""
    psi: float
    chance: float
    """What all features together exceed by chance in a share ``alpha`` of cases."""
    n: int
    """Number of recent values."""
    reference_n: int
    word: Word

    @property
    def breached(self) -> bool:
        """Whether it is large and beyond chance."""
        return self.word == "large" and self.psi > self.chance


def psi(reference: np.ndarray, recent: np.ndarray) -> float:
    """Population stability index: sum over bins of (q - p) * ln(q / p).

    Bins are deciles of the reference; a value that makes up a tenth of it or more (such as a return of 0) has
    its own bin. Shares are (count + 1/2) over (n + bins / 2), so that an empty bin gives no infinity.

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
        counted = np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1)
        shares.append((counted + 0.5) / (len(sample) + len(counted) / 2))
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def chance(n: int, reference_n: int, level: float) -> float:
    """Return the ``level`` quantile of the index for two samples of one distribution: (1/n + 1/m) times
    chi-squared with bins - 1 degrees of freedom (Yurdakul and Naranjo, Journal of Risk Model Validation
    2020)."""
    return float(chi2.ppf(level, BINS - 1) * (1 / n + 1 / reference_n)) if min(n, reference_n) else math.nan


def drifts(
    models: ReleasedModels,
    panel: Panel,
    spec: WindowSpec,
    served: pd.DataFrame,
    reference: pd.DataFrame,
    settings: MonitorSettings,
) -> list[Drift]:
    """Compare the general model's inputs with training, and ``p_move`` as served with the backtest.

    Inputs are the values on the cutoff day of moving windows: those of the training part (at most 20,000,
    evenly spaced) and those of the newest sessions of ``panel``. Values of one day or one stock are not
    independent, so the effective sample size is the number of sessions or of stocks, whichever is larger.
    """
    windows = make_windows(series_of_universe(panel, models.universe), spec)
    train_end = np.datetime64(models.release.info["train_end"])
    sessions = panel.dates.to_numpy().astype("datetime64[D]")
    newest = sessions[-settings.drift_sessions :]
    then = _moving(windows.take(windows.cutoff <= train_end))
    now = _moving(windows.take(windows.cutoff >= max(newest[0], train_end + 1)))
    representation = _representation(models)
    samples = [
        *_input_samples(representation, then, now),
        *_move_samples(spec.horizons, served, reference),
    ]
    level = 1 - settings.alpha / (len(representation.channels) + len(spec.horizons))
    return [_drift(feature, then, now, level, settings) for feature, then, now in samples]


class Sample(NamedTuple):
    """Values of one feature in one period."""

    values: np.ndarray
    effective_n: int
    days: int


def _representation(models: ReleasedModels) -> Representation:
    files = BundleFiles.of(str(models.release.info["preset"]), GENERAL)
    return representation_from_dict(
        json.loads(models.release.file(files.folder / f"{files.scaler}.json").read_bytes())
    )


def _input_samples(
    representation: Representation, then: Windows, now: Windows
) -> Iterator[tuple[str, Sample, Sample]]:
    if not len(then) or not len(now):
        return
    by_period = []
    for windows in (then, now):
        days = np.unique(windows.cutoff, return_index=True)[1]
        size = max(len(days), len(np.unique(windows.symbol)))
        by_period.append((representation.inputs(windows)[:, -1], days, size))
    for position, channel in enumerate(representation.channels):
        samples = []
        for inputs, days, size in by_period:
            values = inputs[:, position].astype(float)
            if channel in WHOLE_MARKET:
                values = values[days]
            samples.append(Sample(values, min(size, len(values)), len(days)))
        yield f"input:{channel}", samples[0], samples[1]


def _move_samples(
    horizons: Sequence[int], served: pd.DataFrame, reference: pd.DataFrame
) -> Iterator[tuple[str, Sample, Sample]]:
    for horizon in horizons:
        now, then = (rows[rows["horizon"] == horizon] for rows in (served, reference))
        then = then[then["symbol"].isin(now["symbol"].unique())]
        samples = []
        for rows in (then, now):
            rows = rows[rows["p_move"].notna() & ~rows["frozen"].astype(bool)]
            days = rows["cutoff"].nunique()
            values = rows["p_move"].to_numpy(float)
            samples.append(Sample(values, max(days, rows["symbol"].nunique()), days))
        if all(len(sample.values) for sample in samples):
            yield f"p_move:{horizon}d", samples[0], samples[1]


def _drift(feature: str, then: Sample, now: Sample, level: float, settings: MonitorSettings) -> Drift:
    value, limit = psi(then.values, now.values), chance(now.effective_n, then.effective_n, level)
    if now.days < settings.fewest_dates:
        word: Word = "too few"
    elif value >= settings.psi_large:
        word = "large"
    else:
        word = "moderate" if value >= settings.psi_moderate else "stable"
    return Drift(feature, value, limit, len(now.values), len(then.values), word)


def _moving(windows: Windows) -> Windows:
    """Return at most ``MAX_WINDOWS`` windows in which the price moved, evenly spaced."""
    windows = windows.take(~frozen(windows))
    every = np.linspace(0, len(windows) - 1, min(len(windows), MAX_WINDOWS))
    return windows.take(np.unique(every.astype(np.int64)))
