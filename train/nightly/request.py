"""The options of a retraining."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.exchange.universe import Universe
from train.progress.console import Mode


@dataclass(frozen=True)
class Request:
    """The options of a retraining."""

    archive: Path | None = None
    """The exchange's daily files; None: the synthetic market."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Settings that change production's."""
    universe: Universe | None = None
    """None: production's, or the exchange's own if nothing is in production."""
    retrain_every: dt.timedelta | None = None
    """Refresh production every time, and train only if the data of its networks, and of the last training
    that the gate judged, are at least this old. None: train whenever there are new data."""
    if_stale: bool = False
    """Train only for a new session or changed settings; by default any difference in the data, such as a
    corrected row, starts a training."""
    accept_mixed_dates: bool = False
    """Accept files whose dates look mixed up, see `common.archive.mixed_dates`."""
    fetch: Callable[[], dict[str, Any]] | None = None
    """Downloads new files into the archive folder; the record contains its result."""
    workers: int | None = None
    mode: Mode | None = None
    """How training shows its progress, see `train.progress.console.LiveTable`."""
    refit: bool | None = None
    """See `train.pipeline.training.execute`."""
    address: str | None = None
    """The Ray cluster to train on, see `cluster.connect.session.ray_session`; None: start one."""
