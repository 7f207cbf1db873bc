"""A log of served forecasts, and forecasts to write to it."""

import datetime as dt
from types import SimpleNamespace

from cluster.monitor.live import read_served
from serve.audit.files import day_folders, read_day
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


def read_ledger(home, **since):
    """Frame and unreadable parts as `read_served` returns them, and the number of readable parts."""
    frame, damaged = read_served(home, **since)
    parts = sum(len(read_day(day)[0]) for day in day_folders(home / "served"))
    return SimpleNamespace(frame=frame, damaged=damaged, parts=parts)


def see(ledger, loaded, **body):
    prepared = question(loaded, **body)
    ledger.record(loaded, prepared, prices(loaded, prepared))
