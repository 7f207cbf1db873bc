"""The original way to train, for `retrain`: model after model in one process, Keras ``fit`` at batch 32."""

from collections.abc import Sequence

import keras
import machine  # noqa: F401  (puts the project first on the path)
import numpy as np
import pandas as pd

from common.network.build import build_network
from common.prices.windows import Windows
from common.release.bundle import GENERAL
from train.run.dataset import RunDataset
from train.run.feed import FitData

BATCH = 32


def trained(dataset: RunDataset, jobs: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Train each job's model.

    Returns
    -------
    (DataFrame, int)
        ``symbol``, ``cutoff`` and ``raw``, the price forecast for the day after (KES), of the test part; and
        how many windows were trained on in all.
    """
    results = [_fitted(dataset, job, own=set(jobs)) for job in jobs]
    return pd.concat([table for table, _ in results], ignore_index=True), sum(count for _, count in results)


def _fitted(dataset: RunDataset, job: str, own: set[str]) -> tuple[pd.DataFrame, int]:
    """Train one model; its forecasts of the test part, and how many windows it was trained on in all."""
    config = dataset.fit_config("seed" if job == GENERAL else "scratch")
    train, valid, _ = dataset.parts_of(job, training=True)
    data = FitData(train, valid, dataset.representation, dataset.stock_ids(job)).prepare()

    def arrays(windows: Windows) -> tuple[list[np.ndarray], np.ndarray]:
        inputs = [dataset.representation.inputs(windows), data.ids(windows)]
        return inputs, dataset.representation.targets(windows)[..., None]

    network = build_network(dataset.network_shape, dataset.config.network, seed=0)
    network.compile(keras.optimizers.Adam(config.learning_rate, clipnorm=config.clipnorm), loss="mse")
    stop = keras.callbacks.EarlyStopping(patience=config.patience, restore_best_weights=True)
    x, y = arrays(data.train)
    past = network.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=config.epochs,
        validation_data=arrays(data.valid),
        callbacks=[stop],
        verbose=0,
    )
    *_, test = dataset.parts_of(job, training=False)
    if job == GENERAL:
        others = np.array([symbol not in own for symbol in test.series.symbols])
        test = test.take(others[test.symbol])
    outputs = network.predict(
        [dataset.representation.inputs(test), data.ids(test)], batch_size=1024, verbose=0
    )
    table = pd.DataFrame(
        {
            "symbol": np.array(test.series.symbols, dtype=object)[test.symbol],
            "cutoff": test.cutoff.astype("datetime64[s]"),
            "raw": dataset.representation.prices(test, outputs).raw[:, 0],
        }
    )
    return table, len(y) * len(past.history["loss"])
