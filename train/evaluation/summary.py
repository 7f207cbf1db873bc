"""Summarise forecast tables: each model next to naive, and one model against another.

Rows with a frozen window (the price never moved in it) are counted but enter no figure, because their
published forecast is the last price itself. All ratios compare errors in percent of the last price.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from common.errors import BadPrices
from common.forecast.probabilities import DIRECTIONS
from common.scoring.direction_scores import SCORES, direction_scores
from common.scoring.forecast_errors import coverage, direction, errors, pinball, width, winkler
from common.scoring.significance import by_date, diebold_mariano

Figures = dict[str, float | int | None]
ROW = ("symbol", "cutoff", "horizon")
"""The key of a forecast table."""
LEVELS = (80, 90, 95)
"""Nominal levels of the intervals, percent."""
QUANTILES = ("lo95", "lo90", "lo80", "published", "hi80", "hi90", "hi95")
TAUS = np.array([0.025, 0.05, 0.1, 0.5, 0.9, 0.95, 0.975])
"""Levels of ``QUANTILES``."""
PRICES = ("last_price", "raw", "published", "actual")
PROBABILITY_COLUMNS = tuple(f"{kind}_{name}" for kind in ("probability", "base") for name in DIRECTIONS)
"""Columns that a table may lack: probabilities, and base rates (`train.evaluation.base_rates`)."""
BOUNDS = tuple(f"{side}{level}" for level in LEVELS for side in ("lo", "hi"))
TESTS = ("dm_abs_stat", "dm_abs_p", "dm_sq_stat", "dm_sq_p")
COUNTS = ("n", "n_frozen", "n_unscored", "symbols", "direction_n")
FIGURES = (
    *("n", "n_frozen", "n_unscored", "symbols", "moved_share"),
    *("mae", "naive_mae", "rmse", "naive_rmse", "mape", "naive_mape", "rel_mae", "rel_rmse", "bias"),
    *("direction", "direction_n", "called_share"),
    *TESTS,
    *(f"{name}{level}" for name in ("cover", "width") for level in LEVELS),
    *("winkler90", "pinball", "naive_pinball"),
    *SCORES,
)
"""Columns of `summarise` after those of the group."""
COMPARED = ("n", "rel_mae", "rel_rmse", *TESTS)
"""Columns of `compare` after those of the group."""


def summarise(forecasts: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Compute ``FIGURES`` for each group of forecasts.

    ``dm_abs_*`` tests the published price and ``dm_sq_*`` the raw price against the last price with
    `diebold_mariano`; a negative statistic is better than naive. Because stocks move together, the loss
    differentials are first averaged over each cutoff date: T is the number of dates, and every date has the
    same weight, whereas in ``rel_mae`` every row has the same weight. The two can disagree where the number
    of stocks varies between dates.

    Parameters
    ----------
    forecasts : DataFrame
        One row per symbol, cutoff and horizon, as returned by `backtest.forecast_table`, and the columns
        of ``by``. An ``actual`` of NaN cannot be scored. Bounds are NaN where a model has none; the figures
        of intervals, and naive's pinball loss, then cover only the rows that have bounds. The Brier scores
        (`common.scoring.direction_scores`) need ``PROBABILITY_COLUMNS``.
    by : names of columns
        Rows must be unique within a group: to summarise several models at once, include "model".

    Returns
    -------
    DataFrame
        One row per group, sorted by ``by`` (with ``horizon`` first unless it is named), then ``FIGURES``:
        errors in KES; mape in percent of the actual price; bias, width, winkler and pinball in percent
        of the last price. n + n_frozen + n_unscored is the number of rows; only the n rows (scored, moving)
        enter a figure. NaN where a figure is undefined.

    Raises
    ------
    ValueError
        If a column is missing or a group contains a row twice.
    BadPrices
        If one of the n rows has no forecast, or no positive last or actual price.
    """
    keys = _keys(by)
    _check(forecasts, [*keys, *ROW, "frozen", *PRICES, *BOUNDS], unique=[*keys, *ROW])
    data = {name: forecasts[name].to_numpy(float) for name in (*PRICES, *BOUNDS)}
    data |= {name: _optional(forecasts, name) for name in PROBABILITY_COLUMNS}
    data |= {name: pd.factorize(forecasts[name], sort=True)[0] for name in ("symbol", "cutoff")}
    is_scored, is_frozen = np.isfinite(data["actual"]), forecasts["frozen"].to_numpy(bool)

    def figures(rows: np.ndarray, horizon: int) -> Figures:
        scored, frozen = is_scored[rows], is_frozen[rows]
        used = rows[scored & ~frozen]
        counts: Figures = {"n_frozen": int((scored & frozen).sum()), "n_unscored": int((~scored).sum())}
        return counts | _figures({name: values[used] for name, values in data.items()}, horizon)

    return _by_group(forecasts, keys, FIGURES, figures)


def compare(forecasts_a: pd.DataFrame, forecasts_b: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Compare model a with model b on the rows that are scored and moving in both.

    Parameters
    ----------
    forecasts_a, forecasts_b : DataFrame
        One model each, as for `summarise`, but bounds are not needed. The columns of ``by`` come from a.

    Returns
    -------
    DataFrame
        One row per group with shared rows: n, rel_mae and rel_rmse (a's error over b's, both in percent
        of the last price; NaN where b has no error) and the tests as in `summarise`. A ratio below 1 and a
        negative statistic mean that a is better.

    Raises
    ------
    ValueError, BadPrices
        As `summarise`; ValueError also if the tables disagree about an actual price.
    """
    keys = _keys(by)
    _check(forecasts_a, [*keys, *ROW, "frozen", *PRICES], unique=[*ROW])
    _check(forecasts_b, [*ROW, "frozen", *PRICES], unique=[*ROW])
    shared = _with_losses(forecasts_a, [*dict.fromkeys([*ROW, *keys])]).merge(
        _with_losses(forecasts_b, [*ROW]), on=[*ROW], suffixes=("_a", "_b")
    )
    differ = (shared["outcome_a"] - shared["outcome_b"]).abs().to_numpy() > 1e-6
    if differ.any():
        row = shared[differ].iloc[0]
        raise ValueError(
            f"forecasts: {_name(shared, differ)}: actual / last price is {row['outcome_a']:.6f} in a and "
            f"{row['outcome_b']:.6f} in b ({differ.sum()} of {len(shared)} rows). Use one panel for both."
        )
    a, b = ([shared[f"{loss}_{side}"].to_numpy(float) for loss in ("absolute", "square")] for side in "ab")
    cutoff = pd.factorize(shared["cutoff"], sort=True)[0]

    def figures(rows: np.ndarray, horizon: int) -> Figures:
        own, rival = ([losses[rows] for losses in side] for side in (a, b))
        rel_mae, rel_mse = (
            float(error.mean() / other.mean()) if other.any() else math.nan
            for error, other in zip(own, rival, strict=True)
        )
        ratios: Figures = {"n": len(rows), "rel_mae": rel_mae, "rel_rmse": math.sqrt(rel_mse)}
        return ratios | _tests(own, rival, cutoff[rows], horizon)

    return _by_group(shared, keys, COMPARED, figures)


def _figures(data: dict[str, np.ndarray], horizon: int) -> Figures:
    last, raw, published, actual = (data[name] for name in PRICES)
    n = len(actual)
    moves = direction(last, published, actual)
    quantiles = np.stack([data[name] for name in QUANTILES], axis=1)
    own_pinball = pinball(quantiles, TAUS, last, actual)
    quantiles = np.where(np.isnan(quantiles), np.nan, last[:, None])  # naive's
    figures: Figures = errors(last=last, raw=raw, published=published, actual=actual).as_dict()
    figures |= {
        "symbols": len(np.unique(data["symbol"])),
        "moved_share": moves.moved / n if n else None,
        "bias": float((100 * (raw - actual) / last).mean()) if n else None,
        "direction": moves.right,
        "direction_n": moves.n,
        "called_share": float((published != last).mean()) if n else None,
        "winkler90": winkler(data["lo90"], data["hi90"], actual, last, 0.9),
        "pinball": own_pinball,
        "naive_pinball": pinball(quantiles, TAUS, last, actual),
    }
    for level in LEVELS:
        low, high = data[f"lo{level}"], data[f"hi{level}"]
        figures[f"cover{level}"] = coverage(low, high, actual)
        figures[f"width{level}"] = width(low, high, last)
    probabilities, base = (
        np.stack([data[name] for name in names], axis=1)
        for names in (PROBABILITY_COLUMNS[:3], PROBABILITY_COLUMNS[3:])
    )
    figures |= direction_scores(probabilities, base, last, actual)
    losses, naive_losses = _losses(last, raw, published, actual), _losses(last, last, last, actual)
    return figures | _tests(losses, naive_losses, data["cutoff"], horizon)


def _optional(forecasts: pd.DataFrame, name: str) -> np.ndarray:
    return forecasts[name].to_numpy(float) if name in forecasts else np.full(len(forecasts), np.nan)


def _losses(last: np.ndarray, raw: np.ndarray, published: np.ndarray, actual: np.ndarray) -> list[np.ndarray]:
    """Absolute error of the published price and squared error of the raw price, in percent of the last."""
    return [100 * np.abs(published - actual) / last, (100 * (raw - actual) / last) ** 2]


def _tests(losses: list[np.ndarray], rival: list[np.ndarray], cutoff: np.ndarray, horizon: int) -> Figures:
    """Run both tests; losses that differ by rounding alone (a relative 1e-9) count as equal."""
    tests: Figures = {}
    for name, own, other in zip(("abs", "sq"), losses, rival, strict=True):
        differential = np.where(np.isclose(own, other, rtol=1e-9, atol=1e-12), 0, own - other)
        test = diebold_mariano(by_date(differential, cutoff), horizon=horizon)
        tests |= {f"dm_{name}_stat": test.statistic, f"dm_{name}_p": test.p_value}
    return tests


def _with_losses(forecasts: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the scored and moving rows: ``columns``, both losses, and actual / last price."""
    used = forecasts[_used(forecasts)]
    last, raw, published, actual = (used[name].to_numpy(float) for name in PRICES)
    absolute, square = _losses(last, raw, published, actual)
    return used[columns].assign(absolute=absolute, square=square, outcome=actual / last)


def _used(forecasts: pd.DataFrame) -> np.ndarray:
    used: np.ndarray = np.isfinite(forecasts["actual"].to_numpy(float)) & ~forecasts["frozen"].to_numpy(bool)
    return used


def _keys(by: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(by if "horizon" in by else ("horizon", *by)))


def _by_group(
    table: pd.DataFrame, keys: list[str], columns: tuple[str, ...], figures: Callable[..., Figures]
) -> pd.DataFrame:
    """Return a row per group: its keys, then ``figures(row numbers, horizon)``."""
    codes = table.groupby(keys, sort=True, dropna=False, observed=True).ngroup().to_numpy()
    order = np.argsort(codes, kind="stable")
    first = np.flatnonzero(np.diff(codes[order], prepend=-1))
    horizon = table["horizon"].to_numpy()
    groups = np.split(order, first[1:]) if len(first) else []
    values = pd.DataFrame([figures(rows, int(horizon[rows[0]])) for rows in groups], columns=list(columns))
    types = {name: "int64" if name in COUNTS else "float64" for name in columns}
    names = table[keys].iloc[order[first]].reset_index(drop=True)
    return pd.concat([names, values.astype(types)], axis=1)


def _check(forecasts: pd.DataFrame, needed: list[str], *, unique: list[str]) -> None:
    missing = [name for name in dict.fromkeys(needed) if name not in forecasts]
    if missing:
        raise ValueError(
            f"forecasts: no column {', '.join(missing)}; the columns are {', '.join(map(str, forecasts))}."
        )
    repeated = forecasts.duplicated(list(dict.fromkeys(unique))).to_numpy()
    if repeated.any():
        raise ValueError(
            f"forecasts: {_name(forecasts, repeated)} comes more than once ({repeated.sum()} rows too many). "
            'Summarise several models by "model", and compare them one at a time.'
        )
    if forecasts["frozen"].isna().any():
        raise ValueError("forecasts: frozen must be true or false in every row.")
    used = _used(forecasts)
    last, raw, published, actual = (forecasts[name].to_numpy(float) for name in PRICES)
    valid = np.isfinite(raw) & np.isfinite(published) & np.isfinite(last) & (last > 0) & (actual > 0)
    if (invalid := used & ~valid).any():
        raise BadPrices(
            f"forecasts: {_name(forecasts, invalid)} has no forecast or no positive price "
            f"({invalid.sum()} of {used.sum()} rows to score). Forecast it again or leave it out.",
            rows=int(invalid.sum()),
        )


def _name(table: pd.DataFrame, chosen: np.ndarray) -> str:
    row = table[chosen].iloc[0]
    return f"{row['symbol']} {str(row['cutoff'])[:10]}, horizon {row['horizon']}"
