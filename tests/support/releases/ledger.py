"""A log of served forecasts, and forecasts to write to it."""

import datetime as dt

from serve.audit.ledger import Ledger
from serve.schemas.forecast import PredictRequest
from serve.settings import LedgerSettings
from support.releases.loaded_release import TODAY, bundle

NOON = dt.datetime(2022, 4, 1, 9, tzinfo=dt.UTC)
CLOSES = [100.0 + day % 3 for day in range(60)]


def question(loaded, **body):
    return loaded.prepare(PredictRequest.model_validate(body), today=TODAY)


def prices(loaded, prepared):
    return bundle(loaded, prepared.route.job).forecaster.forecast(prepared.windows, prepared.levels)


def ledger_of(home, *, at=NOON, **settings):
    return Ledger(home, LedgerSettings(**settings), clock=at.timestamp)


def see(ledger, loaded, **body):
    prepared = question(loaded, **body)
    ledger.record(loaded, prepared, prices(loaded, prepared))
