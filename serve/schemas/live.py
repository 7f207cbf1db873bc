"""Realised accuracy and drift: the latest report of `nsecast monitor`."""

import datetime as dt

from serve.schemas.forecast import Model


class ServedErrors(Model):
    """Errors of the served forecasts of one group and horizon beside those of the backtest."""

    level: str
    """``all``, ``tier`` or ``stock``."""
    group: str
    horizon: int
    dates: int
    """Number of days on which the forecasts were made."""
    n: int
    mae: float | None
    """KES, like the next two fields."""
    naive_mae: float | None
    backtest_mae: float | None
    rel_mae: float | None
    backtest_rel_mae: float | None
    cover90: float | None
    cover90_low: float | None
    cover90_high: float | None
    brier: float | None = None
    """Brier score of the probabilities of up, unchanged and down: 0 is perfect, 2 the worst. null in reports
    made before it was measured, like the next two fields."""
    brier_skill: float | None = None
    """1 - score / score of climatology, the stock's rates before the test part; above 0 is better."""
    backtest_brier_skill: float | None = None
    verdict: str
    """``as expected``, ``too few``, or what is worse than expected."""


class InputDrift(Model):
    """Population stability index of one input: the drift of its distribution since training."""

    feature: str
    psi: float
    chance: float | None
    """The bound below which drift can be due to chance."""
    n: int
    word: str


class PriceAge(Model):
    """Age of the prices."""

    data_end: dt.date
    due: dt.date
    sessions_old: int
    counters: int
    stale: list[str]
    newly_stale: list[str]
    frozen: list[str]
    frozen_share: float
    frozen_share_then: float


class LimitBreach(Model):
    """One figure beyond its limit."""

    kind: str
    what: str
    got: float | None
    limit: float | None


class MonitorReport(Model):
    """The figures of one run of `nsecast monitor`."""

    at: dt.datetime
    release: str
    synthetic: bool
    served: int
    scored: int
    waiting: int
    errors: list[ServedErrors]
    drift: list[InputDrift]
    fresh: PriceAge
    breaches: list[LimitBreach]


class LivePage(Model):
    """The latest report of `nsecast monitor`."""

    found: MonitorReport | None
    age_s: float | None
    """Seconds since the report was made."""
    note: str | None
    """Why there is no report, and what to do."""
