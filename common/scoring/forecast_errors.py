"""Errors of forecasts compared with naive (the last price), after Hyndman and Koehler, IJF 2006.

Other sources are named where they apply. All functions leave out the rows whose ``actual`` is NaN and return
None if no row is left.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

REL_MAE = "relMAE: errors in percent of the last price; in KES, errors at high prices count more"
"""Note below tables with errors of both kinds, which can disagree."""


@dataclass(frozen=True)
class Errors:
    """Errors of N forecasts, in KES and relative to naive on the same days.

    ``rel_mae`` and ``rel_rmse`` compare errors in percent of the last price, so a stock at 400 KES weighs as
    much as one at 4. They are None where naive makes no error (a frozen stock).
    """

    n: int
    mae: float | None
    """Mean absolute error of the published price, KES."""
    naive_mae: float | None
    rmse: float | None
    """Root mean squared error of the raw price, KES."""
    naive_rmse: float | None
    mape: float | None
    """Mean absolute error of the published price, percent of the actual one."""
    naive_mape: float | None
    rel_mae: float | None
    rel_rmse: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def errors(*, last: np.ndarray, raw: np.ndarray, published: np.ndarray, actual: np.ndarray) -> Errors:
    """Compute the errors over the rows whose ``actual`` is known; all arrays shape (N,), KES.

    Absolute errors use ``published`` and squared ones ``raw``, each the best forecast for its loss.
    """
    known = np.isfinite(actual)
    last, raw, published, actual = last[known], raw[known], published[known], actual[known]
    if not known.any():
        return Errors(0, *[None] * 8)
    relative_mae = _ratio(np.abs(published - actual) / last, np.abs(last - actual) / last)
    relative_mse = _ratio(((raw - actual) / last) ** 2, ((last - actual) / last) ** 2)
    return Errors(
        n=len(actual),
        mae=float(np.abs(published - actual).mean()),
        naive_mae=float(np.abs(last - actual).mean()),
        rmse=float(np.sqrt(((raw - actual) ** 2).mean())),
        naive_rmse=float(np.sqrt(((last - actual) ** 2).mean())),
        mape=float(100 * (np.abs(published - actual) / actual).mean()),
        naive_mape=float(100 * (np.abs(last - actual) / actual).mean()),
        rel_mae=relative_mae,
        rel_rmse=None if relative_mse is None else float(np.sqrt(relative_mse)),
    )


def _ratio(error: np.ndarray, naive: np.ndarray) -> float | None:
    return float(error.mean() / naive.mean()) if naive.any() else None


class Direction(NamedTuple):
    """How often the sign of a move was right."""

    right: float | None
    """Share of the ``n`` rows in which forecast and price moved the same way; None without rows."""
    n: int
    """Rows in which the price moved and the forecast predicted a move."""
    moved: int
    """Rows in which the price moved, whatever was forecast."""


def direction(last: np.ndarray, forecast: np.ndarray, actual: np.ndarray) -> Direction:
    """Compute the share of predicted moves with the right sign, without ties.

    All arrays shape (N,), KES. A move is any difference from the last price; a NaN forecast predicts none.
    """
    moved = np.isfinite(actual) & (actual != last)
    predicted = moved & (forecast != last) & ~np.isnan(forecast)
    right = (forecast > last) == (actual > last)
    return Direction(_mean(right[predicted]), int(predicted.sum()), int(moved.sum()))


def coverage(low: np.ndarray, high: np.ndarray, actual: np.ndarray) -> float | None:
    """Compute the share of actual prices inside their interval, bounds included.

    All arrays shape (N,), KES; rows with a NaN bound are left out.
    """
    valid = np.isfinite(actual) & ~np.isnan(low) & ~np.isnan(high)
    return _mean(((low <= actual) & (actual <= high))[valid])


def width(low: np.ndarray, high: np.ndarray, last: np.ndarray) -> float | None:
    """Compute the mean width of intervals in percent of the last price.

    All arrays shape (N,), KES; rows with a NaN bound are left out.
    """
    valid = ~np.isnan(low) & ~np.isnan(high)
    return _mean(100 * (high - low)[valid] / last[valid])


def winkler(
    low: np.ndarray, high: np.ndarray, actual: np.ndarray, last: np.ndarray, level: float
) -> float | None:
    """Compute the mean interval score in percent of the last price; lower is better.

    A row scores (high - low) + 2 / (1 - level) * (how far ``actual`` lies outside): Winkler, JASA 1972;
    Gneiting and Raftery, JASA 2007, section 6.2.

    Parameters
    ----------
    low, high, actual, last : shape (N,), KES
        Rows with a NaN bound are left out.
    level : float
        Nominal coverage of the interval, such as .9.

    Raises
    ------
    ValueError
        If ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"winkler: got level {level}; need one between 0 and 1.")
    valid = np.isfinite(actual) & ~np.isnan(low) & ~np.isnan(high)
    low, high, actual, last = low[valid], high[valid], actual[valid], last[valid]
    outside = np.maximum(low - actual, 0) + np.maximum(actual - high, 0)
    return _mean(100 * (high - low + 2 / (1 - level) * outside) / last)


def pinball(quantiles: np.ndarray, taus: np.ndarray, last: np.ndarray, actual: np.ndarray) -> float | None:
    """Compute the mean pinball loss in percent of the last price, over rows and quantiles; lower is better.

    With u = actual - quantile the loss is tau * u for u >= 0 and (tau - 1) * u below (Koenker and
    Bassett, Econometrica 1978); at .5 it is half the absolute error.

    Parameters
    ----------
    quantiles : shape (N, Q), KES
        Rows with a NaN in any quantile are left out.
    taus : shape (Q,), probabilities between 0 and 1
    last, actual : shape (N,), KES

    Raises
    ------
    ValueError
        If the shapes do not fit or a tau is not between 0 and 1.
    """
    losses = pinball_losses(quantiles, taus, last, actual)
    missing = np.isnan(losses).any(axis=1)
    return _mean(losses[~missing] if missing.any() else losses)


def pinball_losses(
    quantiles: np.ndarray, taus: np.ndarray, last: np.ndarray, actual: np.ndarray
) -> np.ndarray:
    """Compute the losses averaged by `pinball`, shape (N, Q); NaN in the rows that it leaves out."""
    taus = np.asarray(taus, dtype=np.float64)
    if quantiles.shape != (len(actual), len(taus)) or not ((taus > 0) & (taus < 1)).all():
        raise ValueError(
            f"pinball: got quantiles {quantiles.shape} and taus {taus.tolist()} for {len(actual)} rows; "
            "need (N, Q) and Q taus between 0 and 1."
        )
    losses: np.ndarray = actual[:, None] - quantiles
    losses *= np.where(losses >= 0, taus, taus - 1)  # in place: a table of all stocks is large
    losses *= 100
    losses /= last[:, None]
    losses[~np.isfinite(actual) | np.isnan(quantiles).any(axis=1)] = np.nan
    return losses


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None
