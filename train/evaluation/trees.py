"""LightGBM on what the networks see: gradient-boosted trees, one model per horizon and loss.

Source: Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from common.data.windows import Windows
from common.model.representation import CLIP, Residual, frozen, sigma
from train.evaluation.baselines import BaselineForecast, forecast_from

DAYS = 10
"""Last days that are features one by one."""
SPANS = (5, 20, 60)
"""Last days whose mean and standard deviation are features."""
CHUNK = 8192
"""Windows whose inputs are in memory at once."""
ROUNDS, PATIENCE = 600, 40
SETTINGS = {
    "learning_rate": 0.06,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "max_bin": 127,
}
"""Chosen on validation, see `trees`."""
LOSSES = {"published": ("l1", 1), "raw": ("l2", 2)}
"""Objective, and power of sigma that weighs a window: the errors compared are in percent of the price."""


def trees(
    train: Windows,
    valid: Windows,
    windows: Windows,
    representation: Residual,
    *,
    threads: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BaselineForecast:
    """Fit on ``train``, stop early on ``valid``, forecast ``windows``; all three over the same symbols.

    Targets are the networks' own: log(P[t+h] / P[t]) / (sigma * sqrt(h)). Frozen windows are neither
    trained on nor forecast; without a moving window in either part the answer is the last price.

    Parameters
    ----------
    progress : callable
        Called with the models fitted and their number.
    """
    import lightgbm

    train, valid = train.take(~frozen(train)), valid.take(~frozen(valid))
    x, x_valid, x_asked = (features(part, representation) for part in (train, valid, windows))
    y, y_valid = (representation.targets(part) for part in (train, valid))
    horizons = windows.spec.horizons
    found = {loss: np.zeros((len(windows), len(horizons))) for loss in LOSSES}
    data = lightgbm.Dataset(x, categorical_feature=[0], free_raw_data=False, params=_fixed(threads, seed))
    done = 0
    for loss, (objective, power) in LOSSES.items():
        for place in range(len(horizons)):
            ...
            done += 1
            progress(done, len(LOSSES) * len(horizons))
    scale = sigma(windows)[:, None] * np.sqrt(horizons)
    change = {loss: scale * np.clip(scaled, -CLIP, CLIP) for loss, scaled in found.items()}
    return forecast_from(windows, change["raw"], change["published"])


def features(windows: Windows, representation: Residual) -> np.ndarray:
    """float32, shape (N, F): stock, sigma, the last days of every channel, and means and spreads of more.

    The stock is its position among the series' symbols, a category.
    """
    days, spans = min(DAYS, windows.spec.size), [min(span, windows.spec.size) for span in SPANS]
    count = 2 + len(representation.channels) * (days + 2 * len(spans))
    table = np.empty((len(windows), count), dtype=np.float32)
    for start in range(0, len(windows), CHUNK):
        part = windows.take(np.arange(start, min(start + CHUNK, len(windows))))
        x = representation.inputs(part)
        table[start : start + CHUNK] = np.concatenate(
            [
                part.symbol[:, None],
                sigma(part)[:, None],
                x[:, -days:].reshape(len(part), -1),
                *(x[:, -span:].mean(axis=1) for span in spans),
                *(x[:, -span:].std(axis=1) for span in spans),
            ],
            axis=1,
        )
    return table
