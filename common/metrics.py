"""Errors next to the naive forecast (the last price). Formulas: Hyndman and Koehler, IJF 2006."""

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Errors:
    """Errors of N forecasts in KES and relative to naive on the same days.

    ``rel_mae`` and ``rel_rmse`` compare errors in percent of the last price, so that a share of 400 KES
    weighs like one of 4; NaN becomes None where naive makes no error (a frozen stock).
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
    """Errors over the rows whose ``actual`` is known; all arrays shape (N,), KES.

    ``published`` answers for absolute errors and ``raw`` for squared ones: each is the best number for
    its own loss.
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
