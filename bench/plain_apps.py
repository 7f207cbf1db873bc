"""Plain FastAPI applications on uvicorn that serve a release without our server, for `serve_load`.

    python bench/plain_apps.py keras|onnx --home DIR --port N [--workers N]

``keras`` does what the original system did: Keras in the process, ``model.predict`` for every request.
``onnx`` runs the release's ONNX files in ONNX Runtime, one thread per request. Our serving code prepares
the windows and converts outputs to prices.
"""

import argparse
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import machine  # noqa: F401  (puts the project first on the path)
import numpy as np
import uvicorn
from fastapi import Body, FastAPI

from common.release.bundle import BundleFiles
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import PredictRequest

HOME, KIND = "BENCH_HOME", "BENCH_KIND"
Network = Callable[[np.ndarray, np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=("keras", "onnx"))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    os.environ |= {HOME: str(args.home.absolute()), KIND: args.kind}
    uvicorn.run(
        "plain_apps:app",
        factory=True,
        app_dir=str(Path(__file__).parent),
        host="127.0.0.1",
        port=args.port,
        workers=args.workers,
        log_level="warning",
    )


def app() -> FastAPI:
    release = Registry(Path(os.environ[HOME])).open("production")
    loaded, models = LoadedRelease(release), ReleasedModels(release)
    app = FastAPI()

    @cache
    def network(job: str) -> Network:
        if os.environ[KIND] == "onnx":
            return models.bundle(job).forecaster.network
        import keras

        files = BundleFiles.of(loaded.preset, job)
        network = keras.models.load_model(release.path / files.folder / files.weights, compile=False)
        return lambda x, ids: network.predict([x, ids], verbose=0)

    @app.post("/predict")
    def predict(body: dict[str, str] = Body()) -> dict[str, Any]:  # noqa: B008
        prepared = loaded.prepare(PredictRequest(symbol=body["symbol"]))
        job = prepared.route.job
        forecaster = models.bundle(job).forecaster
        inputs = forecaster.representation.inputs(prepared.windows)
        ids = np.array([[forecaster.stock_ids.get(body["symbol"], 0)]], dtype=np.int32)
        prices = forecaster.prices(prepared.windows, network(job)(inputs, ids), prepared.levels)
        return {"symbol": body["symbol"], "prediction": float(prices.published[0, prepared.position])}

    @app.get("/readyz")
    def readyz() -> dict[str, int]:
        return {"pid": os.getpid()}

    return app


if __name__ == "__main__":
    main()
