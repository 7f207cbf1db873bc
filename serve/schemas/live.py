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
    """``input:<channel>`` on the cutoff day, or ``p_move:<horizon>d``."""
    psi: float
    chance: float | None
    """The bound below which drift can be due to chance."""
    n: int
    """Number of recent values."""
    word: str
    """``stable``, ``moderate``, ``large`` or ``too few``."""


class PriceAge(Model):
    """Age of the prices."""

    data_end: dt.date
    """Last session with prices."""
    due: dt.date
    """Last day whose closes should be known."""
    sessions_old: int
    """Sessions after ``data_end`` up to ``due``; beyond the data, weekdays that are no public holiday."""
    counters: int
    """Number of stocks."""
    stale: list[str]
    """Stocks whose last price is at least five sessions old."""
    newly_stale: list[str]
    """Stale stocks that were not stale at the release."""
    frozen: list[str]
    """Stocks whose price did not move in their last window."""
    frozen_share: float
    """Share of the stocks that have a window."""
    frozen_share_then: float
    """The same at the release."""


class LimitBreach(Model):
    """One figure beyond its limit."""

    kind: str
    """``error``, ``skill``, ``coverage``, ``drift`` or ``freshness``."""
    what: str
    """For example ``stock SCOM 5d``."""
    got: float | None
    limit: float | None


class MonitorReport(Model):
    """The figures of one run of `nsecast monitor`."""

    at: dt.datetime
    release: str
    synthetic: bool
    served: int
    """Distinct forecasts first served in the last ``window_days``."""
    scored: int
    waiting: int
    """Forecasts whose target has not been reached."""
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
