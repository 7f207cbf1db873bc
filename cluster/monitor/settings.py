"""Thresholds of the monitor."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from common.config import Config
from common.scoring.significance import FEWEST


class MonitorSettings(Config):
    """Thresholds of `nsecast monitor`; a breach is both significant and large."""

    window_days: PositiveInt = 180
    """Calendar days; forecasts first served within them are scored."""
    fewest_dates: Annotated[int, Ge(FEWEST)] = 20
    """Evenings with a scored forecast that a verdict needs, and rows that a stock's backtest needs."""
    alpha: Annotated[float, Gt(0), Lt(0.5)] = 0.01
    """False discovery rate of the tests of one kind and level; coverage has a 1 - alpha interval."""
    error_excess: NonNegativeFloat = 0.10
    """Share by which the absolute error (percent of the price) may exceed the backtest's."""
    skill_loss: NonNegativeFloat = 0.05
    """How much relMAE may exceed the backtest's."""
    coverage_off: NonNegativeFloat = 0.05
    """How far the coverage of the 90 % interval may lie from .9."""
    drift_sessions: Annotated[int, Ge(FEWEST)] = 60
    """Newest sessions whose inputs are compared with the training part's."""
    psi_moderate: PositiveFloat = 0.10
    """Population stability index from which a drift is moderate (Siddiqi, Credit Risk Scorecards, 2006)."""
    psi_large: PositiveFloat = 0.25
    """Index from which a drift is large, and a breach if it is beyond chance (same source)."""
    sessions_old_most: NonNegativeInt = 2
    """Sessions whose closes should be known and are not."""
    newly_stale_most: NonNegativeInt = 3
    """Stocks that had prices at the release and have none any more."""
    frozen_excess: NonNegativeFloat = 0.10
    """How much the share of frozen stocks may exceed that at the release."""
