"""Nights of a retraining, one after the other."""

from datetime import date
from types import SimpleNamespace

from support.training.night import LATER_END, retrain_request, trained_ahead, write_archive
from train.nightly.nightly import retrain

WORSE = 1.0
"""A shift of a fresh network's forecasts that is clearly worse than naive."""


def night(place: SimpleNamespace, **changes):
    return retrain(retrain_request(place.archive, **changes), place.home)


def later_nights(place: SimpleNamespace, **changes):
    """The same command without settings: production's are kept."""
    return night(place, **({"overrides": {}, "universe": None} | changes))


def grow(place: SimpleNamespace, until: date = LATER_END, *, shift: float = 0.0):
    """New files, and what they will train is trained."""
    write_archive(place.archive, until)
    request = retrain_request(place.archive, overrides={}, universe=None)
    return trained_ahead(request, place.home, place.registry.production(), shift=shift)


def states(record) -> dict[str, str]:
    return {step: entry["state"] for step, entry in record.values["steps"].items()}
