"""A loaded release over a small real release, and answers from it as a server gives them."""

import datetime as dt
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

from common.release.bundle import Bundle, load_bundle
from serve.inference.loaded_release import LoadedRelease, PreparedRequest
from serve.inference.response import predict_response
from serve.schemas.forecast import PredictRequest, PredictResponse
from support.releases.release import made_release

TODAY = dt.date(2022, 4, 1)
"""A few days after the synthetic market ends."""
SETTINGS: dict[str, Any] = {"shift": 0.5, "window": {"size": 12, "horizons": [1, 5, 10, 30]}}


@functools.cache
def loaded_release(preset: str = "residual") -> LoadedRelease:
    """Its networks say that every price rises by half a spread."""
    settings = SETTINGS if preset == "residual" else {"preset": preset}
    home = Path(tempfile.mkdtemp(prefix="loaded-release-"))
    return LoadedRelease(made_release(home, **settings))


@functools.cache
def bundle(loaded: LoadedRelease, job: str) -> Bundle:
    return load_bundle(loaded.release.path, loaded.preset, job)


def ask(loaded: LoadedRelease, prepared: PreparedRequest) -> PredictResponse:
    """What the model says of a prepared question."""
    prices = bundle(loaded, prepared.route.job).forecaster.forecast(prepared.windows, prepared.levels)
    return predict_response(
        loaded, prepared, prices, cached=True, started=time.perf_counter(), request_id="made"
    )


def predict(loaded: LoadedRelease, **body: Any) -> PredictResponse:
    """The answer to a request's body."""
    return ask(loaded, loaded.prepare(PredictRequest.model_validate(body), today=TODAY))
