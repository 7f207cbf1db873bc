"""Forecasts in the long form of Nixtla's libraries, so that `utilsforecast` can evaluate and plot them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from common.errors import ConfigError
from serve.schemas.forecast import BatchResponse, Outlook, PredictResponse

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("unique_id", "ds", "cutoff", "y", "nsecast", "nsecast-lo-90", "nsecast-hi-90")
"""Columns of the long form, in the order of StatsForecast's ``cross_validation``."""
PREDICTED = ("symbol", "target_date", "last_date", "actual", "prediction", "lower90", "upper90")
"""Columns of `Forecaster.predict` in the same order; ``actual`` is missing there."""
BACKTESTED = ("symbol", "target_date", "cutoff", "actual", "published", "lo90", "hi90")
"""Columns of `Forecaster.backtest_table` in the same order."""


def to_nixtla(
    forecasts: PredictResponse | BatchResponse | Outlook | Iterable[PredictResponse] | pd.DataFrame,
) -> pd.DataFrame:
    """Convert forecasts to the frame that StatsForecast's ``cross_validation`` returns.

    Parameters
    ----------
    forecasts : responses of `Client` or `Forecaster`, or the frame of `Forecaster.predict` or
        `Forecaster.backtest_table` (``test_forecasts.parquet`` of a release)

    Returns
    -------
    DataFrame
        ``COLUMNS``, one row per forecast, sorted by ``unique_id`` (the symbol), ``cutoff`` (day of the last
        price) and ``ds`` (the session that is forecast, by the exchange's calendar). In KES: ``y`` (the
        actual price, NaN except in a backtest), ``nsecast`` (the published price) and the bounds of its 90 %
        interval (NaN where the model has none). Backtested forecasts from windows in which the price never
        moved are left out, as in all our figures.

    Raises
    ------
    ConfigError
        If pandas is not installed.
    KeyError
        If a frame lacks one of the columns.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise ConfigError("to_nixtla needs pandas: pip install 'nsecast[frames]'.") from None
    if isinstance(forecasts, pd.DataFrame):
        table = forecasts
    else:
        responses = forecasts if not isinstance(forecasts, PredictResponse) else [forecasts]
        if isinstance(responses, BatchResponse | Outlook):
            responses = responses.predictions
        table = pd.DataFrame([_row(response) for response in responses], columns=list(PREDICTED))
    names = BACKTESTED if "published" in table else PREDICTED
    if names is PREDICTED:
        table = table.assign(actual=float("nan"))
    elif "frozen" in table:
        table = table[~table["frozen"].astype(bool)]
    frame = table[list(names)].set_axis(list(COLUMNS), axis=1)
    days = dict.fromkeys(("ds", "cutoff"), "datetime64[ns]")
    frame = frame.astype(days | dict.fromkeys(COLUMNS[3:], float))
    return frame.sort_values(["unique_id", "cutoff", "ds"], ignore_index=True)


def _row(response: PredictResponse) -> tuple[object, ...]:
    """Return the values of ``PREDICTED``."""
    interval = response.intervals.get("90")
    bounds = (interval.lower, interval.upper) if interval else (float("nan"), float("nan"))
    days = (response.target_date, response.last_date)
    return (response.symbol, *days, float("nan"), response.prediction, *bounds)
