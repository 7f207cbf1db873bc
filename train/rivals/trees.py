"""LightGBM on what the networks see: gradient-boosted trees, one model per horizon and loss.

Source: Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
"""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.forecast.representation import Residual
from common.network.channels import CLIP, frozen, sigma
from common.prices.windows import Windows
from train.rivals.baselines import BaselineForecast, forecast_from

DAYS = 5
"""Last days that are features one by one; with 8 or 10 validation is no better."""
SPANS = (5, 20, 60)
"""Last days whose mean and standard deviation are features."""
CHUNK = 8192
"""Windows whose inputs are in memory at once."""
ROUNDS, PATIENCE = 1500, 100
SETTINGS = {
    "learning_rate": 0.03,
    "num_leaves": 31,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "max_bin": 127,
    "boost_from_average": False,
}
"""Chosen on the validation year 2023, as the weights and settings of `LOSSES`; starting at 0, the last
price, as the networks do, matters 30 days ahead."""


@dataclass(frozen=True)
class Loss:
    """What a model minimises; windows weigh sigma to a power, for errors are judged in percent."""

    objective: str
    weight: float
    """Power in training."""
    judged: float
    """Power in early stopping: that of the errors themselves."""
    leaf: int
    """Windows a leaf must hold, or a fiftieth of them if there are few."""
    settings: dict[str, Any]


LOSSES = {
    "published": Loss("l1", 1, 1, 1000, {"num_leaves": 63, "learning_rate": 0.06}),
    "raw": Loss("l2", 1.5, 2, 200, {}),
}
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


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
    threads : int
        Models fitted at a time, each on one core: on a busy machine LightGBM's own threads wait for one
        another, which took twice the processor time (measured).
    progress : callable
        Called here with the models fitted and their number.
    """
    train, valid = train.take(~frozen(train)), valid.take(~frozen(valid))
    moving = ~frozen(windows)
    x, x_valid = features(train, representation), features(valid, representation)
    x_asked = features(windows.take(moving), representation)
    y, y_valid = representation.targets(train), representation.targets(valid)
    spread, spread_valid = sigma(train), sigma(valid)
    horizons = np.array(windows.spec.horizons)
    scale = sigma(windows)[:, None] * np.sqrt(horizons)
    change = {loss: np.zeros(scale.shape) for loss in LOSSES}
    stopped = threading.Event()

    def scaled(loss: str, place: int) -> np.ndarray | float:
        known, judged = np.isfinite(y[:, place]), np.isfinite(y_valid[:, place])
        if not (known.any() and judged.any() and moving.any()):
            return 0.0
        model = _fitted(
            LOSSES[loss],
            (x[known], y[known, place], spread[known]),
            (x_valid[judged], y_valid[judged, place], spread_valid[judged]),
            seed=seed,
            stopped=stopped,
        )
        said: np.ndarray = np.clip(model.predict(x_asked, num_threads=1), -CLIP, CLIP)
        return said

    with ThreadPoolExecutor(threads) as pool:
        models = itertools.product(LOSSES, range(len(horizons)))
        running = {pool.submit(scaled, loss, place): (loss, place) for loss, place in models}
        try:
            for done, future in enumerate(as_completed(running), start=1):
                loss, place = running[future]
                change[loss][moving, place] = scale[moving, place] * future.result()
                progress(done, len(running))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return forecast_from(windows, change["raw"], change["published"])


def _fitted(loss: Loss, train: Data, valid: Data, *, seed: int, stopped: threading.Event) -> Any:
    """A booster of the rounds that were best on ``valid``; each part (features, targets, sigma)."""
    import lightgbm

    def obey(_: Any) -> None:
        if stopped.is_set():
            raise InterruptedError("stopped")

    settings = {
        **SETTINGS,
        **loss.settings,
        "min_data_in_leaf": min(loss.leaf, max(len(train[0]) // 50, 20)),
        "objective": loss.objective,
        "metric": loss.objective,
        "num_threads": 1,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    x, y, spread = train
    data = lightgbm.Dataset(x, y, weight=spread**loss.weight, categorical_feature=[0], params=settings)
    x, y, spread = valid
    judge = lightgbm.Dataset(x, y, weight=spread**loss.judged, reference=data, params=settings)
    callbacks: list[Callable[..., Any]] = [lightgbm.early_stopping(PATIENCE, verbose=False), obey]
    return lightgbm.train(settings, data, ROUNDS, valid_sets=[judge], callbacks=callbacks)


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
