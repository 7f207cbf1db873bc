"""A desk over a small real release, and answers from it as a server gives them."""

import datetime as dt
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

from made_release import made_release

from common.release.bundle import Bundle, load_bundle
from serve.inference.loaded_release import Desk, Prepared
from serve.inference.response import answer
from serve.schemas.forecast import PredictRequest, PredictResponse

TODAY = dt.date(2022, 4, 1)
"""A few days after the made market ends."""
SETTINGS: dict[str, Any] = {"shift": 0.5, "window": {"size": 12, "horizons": [1, 5, 10, 30]}}


@functools.cache
def made_desk(preset: str = "residual") -> Desk:
    """Its networks say that every price rises by half a spread."""
    settings = SETTINGS if preset == "residual" else {"preset": preset}
    home = Path(tempfile.mkdtemp(prefix="made-desk-"))
    return Desk(made_release(home, **settings))


@functools.cache
def bundle(desk: Desk, job: str) -> Bundle:
    return load_bundle(desk.release.path, desk.preset, job)


def ask(desk: Desk, prepared: Prepared) -> PredictResponse:
    """What the model says of a prepared question."""
    prices = bundle(desk, prepared.route.job).forecaster.forecast(prepared.windows, prepared.asked)
    return answer(desk, prepared, prices, cached=True, started=time.perf_counter(), request_id="made")


def predict(desk: Desk, **body: Any) -> PredictResponse:
    """The answer to a request's body."""
    return ask(desk, desk.prepare(PredictRequest.model_validate(body), today=TODAY))
