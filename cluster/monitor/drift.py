"""Drift of the models' inputs and outputs, measured by the population stability index."""

import json
import math
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2

from cluster.monitor.settings import MonitorSettings
from common.forecast.representation import Representation, representation_from_dict
from common.network.channels import frozen
from common.presets import WindowSpec
from common.prices.market_days import MARKET
from common.prices.panel import Panel
from common.prices.series import series_of_universe
from common.prices.windows import Windows, make_windows
from common.release.bundle import GENERAL, BundleFiles
from common.release.released_models import ReleasedModels
from serve.schemas.live import InputDrift

BINS = 10
MAX_WINDOWS = 20_000
WHOLE_MARKET = frozenset((*MARKET, "market_known"))
"""Channels that are equal for all stocks of a day, so that a day counts once."""
Word = Literal["stable", "moderate", "large", "too few"]


class Drift(InputDrift):
    """The drift of one feature."""

    chance: float
    """What all features together exceed by chance in a share ``alpha`` of cases."""
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
    representation = _representation(models)
    then = _inputs(representation, windows.take(windows.cutoff <= train_end))
    now = _inputs(representation, windows.take(windows.cutoff >= max(newest[0], train_end + 1)))
    samples = [
        (f"input:{channel}", then[["symbol", "cutoff", channel]], now[["symbol", "cutoff", channel]])
        for channel in representation.channels
    ]
    for horizon in spec.horizons:
        then, now = (rows[rows["horizon"] == horizon] for rows in (reference, served))
        then = then[then["symbol"].isin(now["symbol"].unique())]
        samples.append((f"p_move:{horizon}d", _moves(then), _moves(now)))
    level = 1 - settings.alpha / len(samples)
    return [_drift(*sample, level, settings) for sample in samples if all(map(len, sample[1:]))]


def _representation(models: ReleasedModels) -> Representation:
    files = BundleFiles.of(str(models.release.info["preset"]), GENERAL)
    return representation_from_dict(
        json.loads(models.release.file(files.folder / f"{files.scaler}.json").read_bytes())
    )


def _inputs(representation: Representation, windows: Windows) -> pd.DataFrame:
    """Return ``symbol``, ``cutoff`` and each channel on the cutoff day of moving windows.

    These are at most ``MAX_WINDOWS``, evenly spaced.
    """
    windows = windows.take(~frozen(windows))
    every = np.linspace(0, len(windows) - 1, min(len(windows), MAX_WINDOWS))
    windows = windows.take(np.unique(every.astype(np.int64)))
    channels = list(representation.channels)
    values = representation.inputs(windows)[:, -1] if len(windows) else np.empty((0, len(channels)))
    table = pd.DataFrame(values.astype(float), columns=channels)
    return table.assign(symbol=windows.symbol, cutoff=windows.cutoff)


def _moves(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``symbol``, ``cutoff`` and ``p_move``, where there is one, without frozen windows."""
    return rows.loc[rows["p_move"].notna() & ~rows["frozen"].astype(bool), ["symbol", "cutoff", "p_move"]]


def _drift(
    feature: str, then: pd.DataFrame, now: pd.DataFrame, level: float, settings: MonitorSettings
) -> Drift:
    """Compare the last column of two tables."""
    if feature.removeprefix("input:") in WHOLE_MARKET:
        then, now = then.drop_duplicates("cutoff"), now.drop_duplicates("cutoff")
    n, reference_n = (
        min(max(rows["cutoff"].nunique(), rows["symbol"].nunique()), len(rows)) for rows in (now, then)
    )
    value = psi(then.iloc[:, -1].to_numpy(), now.iloc[:, -1].to_numpy())
    word: Word = "moderate" if value >= settings.psi_moderate else "stable"
    if now["cutoff"].nunique() < settings.fewest_dates:
        word = "too few"
    elif value >= settings.psi_large:
        word = "large"
    return Drift(
        feature=feature,
        psi=value,
        chance=chance(n, reference_n, level),
        n=len(now),
        reference_n=len(then),
        word=word,
    )
