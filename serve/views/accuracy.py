"""How good served forecasts turned out to be, as `nsecast monitor` last found it."""

import datetime as dt
from pathlib import Path

from common import storage
from serve.schemas.forecast import Model

LATEST = Path("monitor") / "latest.json"
"""Below the storage root: `cluster.monitor.monitor.Report.as_dict` of the last look."""
NOT_RUN = "`nsecast monitor` has not looked at this service yet. Run it once a day, after the closes are in."


class Realised(Model):
    """Served forecasts of one group and horizon beside what the backtest expects of the same ones."""

    level: str
    """``all``, ``tier`` or ``stock``."""
    group: str
    horizon: int
    dates: int
    """Evenings."""
    n: int
    mae: float | None
    """KES, like the next two."""
    naive_mae: float | None
    backtest_mae: float | None
    rel_mae: float | None
    backtest_rel_mae: float | None
    cover90: float | None
    cover90_low: float | None
    cover90_high: float | None
    verdict: str
    """``as expected``, ``too few``, or what is worse than it should be."""


class Drifted(Model):
    """Whether one input is still distributed as in training: the population stability index."""

    feature: str
    psi: float
    chance: float | None
    """What chance alone stays below."""
    n: int
    word: str


class Fresh(Model):
    """How old the prices are."""

    data_end: dt.date
    due: dt.date
    sessions_old: int
    counters: int
    stale: list[str]
    newly_stale: list[str]
    frozen: list[str]
    frozen_share: float
    frozen_share_then: float


class Breach(Model):
    """One thing beyond its limit."""

    kind: str
    what: str
    got: float | None
    limit: float | None


class Look(Model):
    """What one look found."""

    at: dt.datetime
    release: str
    synthetic: bool
    served: int
    scored: int
    waiting: int
    errors: list[Realised]
    drift: list[Drifted]
    fresh: Fresh
    breaches: list[Breach]


class LivePage(Model):
    """Realised accuracy and drift, as `nsecast monitor` last found them."""

    found: Look | None
    age_s: float | None
    """Seconds since it looked."""
    note: str | None
    """Why nothing was found, and what to do."""


def live_page(home: Path) -> LivePage:
    """Reads a file: call it in a thread. A file that is not there, or makes no sense, is said, not raised."""
    path = home / LATEST
    try:
        found = Look.model_validate_json(storage.current(path).read_bytes())
    except FileNotFoundError:
        return LivePage(found=None, age_s=None, note=NOT_RUN)
    except (OSError, ValueError, storage.StorageError) as error:
        where = storage.shown(path)
        reason = f"{where} cannot be read ({type(error).__name__}). Run `nsecast monitor` again."
        return LivePage(found=None, age_s=None, note=reason)
    age = (dt.datetime.now(dt.UTC) - found.at).total_seconds()
    return LivePage(found=found, age_s=max(0.0, round(age, 1)), note=None)
