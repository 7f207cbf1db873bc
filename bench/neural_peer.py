"""Train global networks of neuralforecast and forecast at rolling cutoffs, for `rivals`.

    python neural_peer.py IN.npz OUT.npz

Run by the interpreter of the peers. IN holds ``path`` (R,), log prices of all symbols, one after the other;
``day`` (R,), the session of each row; ``offsets`` (S + 1,); ``cutoffs``, the sessions to forecast from,
ascending; ``valid``, the number of sessions before the first cutoff that are kept for stopping; ``horizons``;
``size`` of a window; and ``steps``, the maximum. OUT holds ``rows`` (N,), the rows of the cutoffs, and each
model's forecasts (N, H) of the log price. Prints each model's seconds.
"""

import json
import logging
import sys
import time
import warnings

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MAE
from neuralforecast.models import LSTM, NHITS

CHECK_EVERY, PATIENCE = 50, 4
"""Steps between two looks at validation, and looks without a better one before stopping."""
MODELS = {"NHITS": (NHITS, {}), "LSTM": (LSTM, {"encoder_hidden_size": 50, "decoder_hidden_size": 50})}


def main() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with np.load(sys.argv[1], allow_pickle=False) as stored:
        given = {name: stored[name] for name in stored.files}
    forecasts, seconds = {}, {}
    for name in MODELS:
        started = time.perf_counter()
        forecasts["rows"], forecasts[name] = forecast(name, given)
        seconds[name] = round(time.perf_counter() - started, 1)
    np.savez(sys.argv[2], **forecasts)
    print(json.dumps(seconds))


def forecast(name: str, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Train on all series together, then forecast from each cutoff with the weights as they are."""
    kind, widths = MODELS[name]
    horizons, size, valid = given["horizons"], int(given["size"]), int(given["valid"])
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(given["offsets"]) - 1), np.diff(given["offsets"])),
            "ds": np.arange(len(given["path"])),
            "y": given["path"],
            "day": given["day"],
        }
    )
    past = frame[frame["day"] <= given["cutoffs"][0]]
    long = past.groupby("unique_id")["ds"].transform("size") >= valid + size + horizons[-1]
    model = kind(
        h=int(horizons[-1]),
        input_size=size,
        loss=MAE(),
        scaler_type="standard",
        max_steps=int(given["steps"]),
        val_check_steps=CHECK_EVERY,
        early_stop_patience_steps=PATIENCE,
        random_seed=0,
        enable_progress_bar=False,
        enable_checkpointing=False,
        logger=False,
        accelerator="cpu",
        **widths,
    )
    network = NeuralForecast([model], freq=1)
    columns = ["unique_id", "ds", "y"]
    network.fit(past.loc[long, columns], val_size=valid)
    rows, tables = [], []
    for cutoff in given["cutoffs"]:
        known = frame[frame["day"] <= cutoff].groupby("unique_id").tail(size)
        ends = known.groupby("unique_id")["day"].agg(["last", "size"])
        able = ends.index[(ends["last"] == cutoff) & (ends["size"] == size)]
        known = known[known["unique_id"].isin(able)]
        ahead = network.predict(df=known[columns]).sort_values(["unique_id", "ds"])
        tables.append(ahead[name].to_numpy().reshape(len(able), -1)[:, horizons - 1])
        rows.append(known.groupby("unique_id")["ds"].last().to_numpy())
    return np.concatenate(rows), np.concatenate(tables)


if __name__ == "__main__":
    main()
