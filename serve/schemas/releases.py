"""The registry of releases and the history of the production alias."""

import datetime as dt
from typing import Literal

from serve.schemas.forecast import Model


class ReleaseSummary(Model):
    """One release of the registry; null if its manifest cannot be read or lacks the field."""

    id: str
    state: Literal["ok", "incomplete", "damaged"]
    reason: str
    created: dt.datetime | None
    preset: str | None
    source: str | None
    synthetic: bool | None
    quick: bool | None
    models: int | None
    data_end: dt.date | None
    """Last session of its test part."""
    rel_mae: float | None
    """On its test part at its shortest horizon; 1 equals the naive forecast."""
    mape: float | None
    naive_mape: float | None
    failed: list[str]
    """Specific models that could not be trained."""


class AliasMove(Model):
    """One move of the production alias."""

    release: str
    action: str
    """``promote`` or ``rollback``."""
    at: dt.datetime
    forced: bool
    """Whether the gate was overruled."""
    reasons: list[str]
    """Reasons for which the gate had refused the release."""


class ReleasesPage(Model):
    """All releases and the moves of the production alias, newest first."""

    production: str | None
    serving: str
    """The release that this router serves."""
    releases: list[ReleaseSummary]
    moves: list[AliasMove]
