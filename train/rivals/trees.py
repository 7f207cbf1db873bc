"""LightGBM on the networks' inputs: gradient-boosted trees, one model per horizon and loss.

Source: Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
"""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.forecast.representation import Residual
from common.network.channels import CLIP, frozen, sigma
from common.prices.windows import Windows
from train.rivals.baselines import BaselineForecast, forecast_from

DAYS = 5
"""Number of last days used as single features; 8 or 10 do not improve validation."""
SPANS = (5, 20, 60)
"""Numbers of last days whose mean and standard deviation are features."""
CHUNK = 8192
"""Number of windows whose inputs are in memory at a time."""
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
"""Chosen on the validation year 2023, like the weights and settings of `LOSSES`. Starting at 0, the last
price, like the networks, makes a difference 30 days ahead."""


@dataclass(frozen=True)
class Loss:
    """A model's loss; windows are weighted by a power of sigma, because errors are measured in percent."""

    objective: str
    weight: float
    """Power in training."""
    valid_weight: float
    """Power in early stopping: the power of the errors themselves."""
    leaf: int
    """Minimum number of windows in a leaf, or a fiftieth of all windows if that is less."""
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
    """Fit on ``train``, stop early on ``valid``, and forecast ``windows``; all three with the same symbols.

    Targets are those of the networks: log(P[t+h] / P[t]) / (sigma * sqrt(h)). Frozen windows are not used
    in training, and their forecast is the last price; so are all forecasts if a part has no moving window.

    Parameters
    ----------
    threads : int
        Models fitted at a time, each on one core: LightGBM's own threads wait for one another on a busy
        machine, which doubled the measured processor time.
    progress : callable
        Called in this process with the number of models fitted and their total.
    """
    train, valid = train.take(~frozen(train)), valid.take(~frozen(valid))
    moving = ~frozen(windows)
    x, x_valid = features(train, representation), features(valid, representation)
    x_new = features(windows.take(moving), representation)
    y, y_valid = representation.targets(train), representation.targets(valid)
    spread, spread_valid = sigma(train), sigma(valid)
    horizons = np.array(windows.spec.horizons)
    scale = sigma(windows)[:, None] * np.sqrt(horizons)
    change = {loss: np.zeros(scale.shape) for loss in LOSSES}
    stopped = threading.Event()

    def scaled(loss: str, h: int) -> np.ndarray | float:
        known, known_valid = np.isfinite(y[:, h]), np.isfinite(y_valid[:, h])
        if not (known.any() and known_valid.any() and moving.any()):
            return 0.0
        model = _fit(
            LOSSES[loss],
            (x[known], y[known, h], spread[known]),
            (x_valid[known_valid], y_valid[known_valid, h], spread_valid[known_valid]),
            seed=seed,
            stopped=stopped,
        )
        forecast: np.ndarray = np.clip(model.predict(x_new, num_threads=1), -CLIP, CLIP)
        return forecast

    with ThreadPoolExecutor(threads) as pool:
        models = itertools.product(LOSSES, range(len(horizons)))
        running = {pool.submit(scaled, loss, h): (loss, h) for loss, h in models}
        try:
            for done, future in enumerate(as_completed(running), start=1):
                loss, h = running[future]
                change[loss][moving, h] = scale[moving, h] * future.result()
                progress(done, len(running))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return forecast_from(windows, change["raw"], change["published"])


def _fit(loss: Loss, train: Data, valid: Data, *, seed: int, stopped: threading.Event) -> Any:
    """Return a booster with the best rounds on ``valid``; both parts are (features, targets, sigma)."""
    import lightgbm

    def stop_if_requested(_: Any) -> None:
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
    valid_data = lightgbm.Dataset(x, y, weight=spread**loss.valid_weight, reference=data, params=settings)
    stopping: list[Callable[..., Any]] = [lightgbm.early_stopping(PATIENCE, verbose=False), stop_if_requested]
    return lightgbm.train(settings, data, ROUNDS, valid_sets=[valid_data], callbacks=stopping)


def features(windows: Windows, representation: Residual) -> np.ndarray:
    """Return the features, float32, shape (N, F).

    They are the stock (its position among the series' symbols, a category), sigma, the last days of every
    channel, and means and standard deviations over longer spans, of the whole window.
    """
    windows = replace(windows, spec=windows.spec.model_copy(update={"network_days": None}))
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
