"""Forecast tables summed up: next to naive, and model against model.

Rows whose window was frozen (the price never moved in it) are counted and used in no figure: there the
published forecast is the last price itself. Everything relative compares errors in percent of the last
price.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from common.engine import IN_PROCESS, Engine, even_blocks
from common.errors import BadPrices
from common.scoring.metrics import coverage, direction, errors, pinball, width, winkler
from common.scoring.significance import by_date, diebold_mariano

BLOCK_SYMBOLS = 256
Figures = dict[str, float | int | None]
Losses = tuple[np.ndarray, np.ndarray]
ROW = ("symbol", "cutoff", "horizon")
"""What names a row of a forecast table."""
LEVELS = (80, 90, 95)
"""Nominal levels of the intervals, percent."""
QUANTILES = ("lo95", "lo90", "lo80", "published", "hi80", "hi90", "hi95")
TAUS = np.array([0.025, 0.05, 0.1, 0.5, 0.9, 0.95, 0.975])
"""Levels of ``QUANTILES``."""
PRICES = ("last_price", "raw", "published", "actual")
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
)
"""Columns of `summarise` after those of the group."""
COMPARED = ("n", "rel_mae", "rel_rmse", *TESTS)
"""Columns of `compare` after those of the group."""
SAME_OUTCOME = 1e-6
"""Largest difference of actual / last price between two tables that speak of the same event."""


def summarise(forecasts: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Figures of each group of forecasts.

    ``dm_abs_*`` tests the published price and ``dm_sq_*`` the raw one against the last price, by
    `diebold_mariano`; a negative statistic is better than naive. The differentials of several stocks are
    averaged over each cutoff date first, because stocks move together: T is the number of dates, and each
    date weighs the same, whereas ``rel_mae`` weighs each row the same. The two may therefore point in
    different directions where the number of stocks changes from date to date.

    Parameters
    ----------
    forecasts : DataFrame
        One row per symbol, cutoff and horizon, as `backtest.forecast_table` gives it, and the columns
        of ``by``. An ``actual`` of NaN cannot be scored; bounds are NaN where a model has none, and the
        figures of intervals then cover the rows that have them, naive's pinball loss too.
    by : names of columns
        A row may come up once in a group: name a column such as "model" to sum up several at once.

    Returns
    -------
    DataFrame
        One row per group, in order of ``by`` (``horizon`` first where it is not named); then ``FIGURES``:
        errors in KES; mape in percent of the actual price; bias, width, winkler and pinball in percent
        of the last one. n + n_frozen + n_unscored is the number of rows, and only the n (scored, moving)
        enter a figure. NaN where there is nothing to tell.

    Raises
    ------
    ValueError
        If a column is missing or a row comes up twice in a group.
    BadPrices
        If one of the n rows has no forecast, or no positive last or actual price.
    """
    keys = _keys(by)
    _check(forecasts, [*keys, *ROW, "frozen", *PRICES, *BOUNDS], unique=[*keys, *ROW])
    data = {name: forecasts[name].to_numpy(float) for name in (*PRICES, *BOUNDS)}
    data |= {name: pd.factorize(forecasts[name], sort=True)[0] for name in ("symbol", "cutoff")}
    is_scored, is_frozen = np.isfinite(data["actual"]), forecasts["frozen"].to_numpy(bool)

    def figures(rows: np.ndarray, horizon: int) -> Figures:
        scored, frozen = is_scored[rows], is_frozen[rows]
        used = rows[scored & ~frozen]
        counts: Figures = {"n_frozen": int((scored & frozen).sum()), "n_unscored": int((~scored).sum())}
        return counts | _figures({name: values[used] for name, values in data.items()}, horizon)

    return _by_group(forecasts, keys, FIGURES, figures)


def summarise_by_symbol(forecasts: pd.DataFrame, engine: Engine = IN_PROCESS) -> pd.DataFrame:
    """`summarise` by horizon and symbol, in blocks of symbols on ``engine``; rows sorted by symbol."""
    codes, symbols = pd.factorize(forecasts["symbol"])
    blocks = even_blocks(len(symbols), BLOCK_SYMBOLS)
    edges = [np.searchsorted(codes, [block.start, block.stop]) for block in blocks]
    needed = forecasts[[*ROW, "frozen", *PRICES, *BOUNDS]]
    parts = [engine.submit(summarise, needed.iloc[first:last], ("symbol",)) for first, last in edges]
    found = pd.concat(engine.values(parts))
    return found.sort_values(["horizon", "symbol"], ignore_index=True)


def compare(forecasts_a: pd.DataFrame, forecasts_b: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Model a against model b on the rows they share: scored and moving in both.

    Parameters
    ----------
    forecasts_a, forecasts_b : DataFrame
        One model each, as for `summarise`; the columns of ``by`` are a's, and bounds are not needed.
    by : names of columns

    Returns
    -------
    DataFrame
        One row per group with a shared row: n, rel_mae and rel_rmse (a's error over b's, both in percent
        of the last price; NaN where b makes none) and the tests as in `summarise`. A ratio below 1 and a
        negative statistic say that a is better.

    Raises
    ------
    ValueError, BadPrices
        As `summarise`; ValueError also if the two disagree on what happened to a stock.
    """
    keys = _keys(by)
    _check(forecasts_a, [*keys, *ROW, "frozen", *PRICES], unique=[*ROW])
    _check(forecasts_b, [*ROW, "frozen", *PRICES], unique=[*ROW])
    shared = _with_losses(forecasts_a, [*dict.fromkeys([*ROW, *keys])]).merge(
        _with_losses(forecasts_b, [*ROW]), on=[*ROW], suffixes=("_a", "_b")
    )
    _check_outcomes(shared)
    a, b = ([shared[f"{loss}_{side}"].to_numpy(float) for loss in ("absolute", "square")] for side in "ab")
    cutoff = pd.factorize(shared["cutoff"], sort=True)[0]

    def figures(rows: np.ndarray, horizon: int) -> Figures:
        own, rival = ((absolute[rows], square[rows]) for absolute, square in (a, b))
        rel_mae, rel_mse = (_ratio(*pair) for pair in zip(own, rival, strict=True))
        ratios: Figures = {"n": len(rows), "rel_mae": rel_mae, "rel_rmse": math.sqrt(rel_mse)}
        return ratios | _tests(own, rival, cutoff[rows], horizon)

    return _by_group(shared, keys, COMPARED, figures)


def _figures(data: dict[str, np.ndarray], horizon: int) -> Figures:
    """Figures of the n rows of one group, which ``data`` holds."""
    last, raw, published, actual = (data[name] for name in PRICES)
    n = len(actual)
    moves = direction(last, published, actual)
    quantiles = np.stack([data[name] for name in QUANTILES], axis=1)
    naive = np.where(np.isnan(quantiles), np.nan, last[:, None])
    figures: Figures = errors(last=last, raw=raw, published=published, actual=actual).as_dict()
    figures |= {
        "symbols": len(np.unique(data["symbol"])),
        "moved_share": moves.moved / n if n else None,
        "bias": float((100 * (raw - actual) / last).mean()) if n else None,
        "direction": moves.right,
        "direction_n": moves.n,
        "called_share": float((published != last).mean()) if n else None,
        "winkler90": winkler(data["lo90"], data["hi90"], actual, last, 0.9),
        "pinball": pinball(quantiles, TAUS, last, actual),
        "naive_pinball": pinball(naive, TAUS, last, actual),
    }
    for level in LEVELS:
        low, high = data[f"lo{level}"], data[f"hi{level}"]
        figures[f"cover{level}"] = coverage(low, high, actual)
        figures[f"width{level}"] = width(low, high, last)
    losses, naive_losses = _losses(last, raw, published, actual), _losses(last, last, last, actual)
    return figures | _tests(losses, naive_losses, data["cutoff"], horizon)


def _losses(last: np.ndarray, raw: np.ndarray, published: np.ndarray, actual: np.ndarray) -> Losses:
    """Absolute error of the published price and squared error of the raw one, percent of the last."""
    return 100 * np.abs(published - actual) / last, (100 * (raw - actual) / last) ** 2


def _tests(losses: Losses, rival: Losses, cutoff: np.ndarray, horizon: int) -> Figures:
    """Both tests; losses that differ by no more than rounding (1e-9 of themselves) are equal."""
    found: Figures = {}
    for name, own, other in zip(("abs", "sq"), losses, rival, strict=True):
        differential = np.where(np.isclose(own, other, rtol=1e-9, atol=1e-12), 0, own - other)
        test = diebold_mariano(by_date(differential, cutoff), horizon=horizon)
        found |= {f"dm_{name}_stat": test.statistic, f"dm_{name}_p": test.p_value}
    return found


def _ratio(error: np.ndarray, rival: np.ndarray) -> float:
    return float(error.mean() / rival.mean()) if rival.any() else math.nan


def _with_losses(forecasts: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The rows that are scored and moving: ``columns``, both losses, and actual / last price."""
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
    """``figures(row numbers, horizon)`` of each group, next to what names the group."""
    codes = table.groupby(keys, sort=True, dropna=False, observed=True).ngroup().to_numpy()
    order = np.argsort(codes, kind="stable")
    first = np.flatnonzero(np.diff(codes[order], prepend=-1))
    horizon = table["horizon"].to_numpy()
    groups = np.split(order, first[1:]) if len(first) else []
    found = pd.DataFrame([figures(rows, int(horizon[rows[0]])) for rows in groups], columns=list(columns))
    types = {name: "int64" if name in COUNTS else "float64" for name in columns}
    named = table[keys].iloc[order[first]].reset_index(drop=True)
    return pd.concat([named, found.astype(types)], axis=1)


def _check(forecasts: pd.DataFrame, needed: list[str], *, unique: list[str]) -> None:
    missing = [name for name in dict.fromkeys(needed) if name not in forecasts]
    if missing:
        raise ValueError(
            f"forecasts: no column {', '.join(missing)}; there are {', '.join(map(str, forecasts))}."
        )
    twice = forecasts.duplicated(list(dict.fromkeys(unique))).to_numpy()
    if twice.any():
        raise ValueError(
            f"forecasts: {_name(forecasts, twice)} comes up more than once ({twice.sum()} rows too many). "
            'Sum up several models by "model", compare them one at a time.'
        )
    if forecasts["frozen"].isna().any():
        raise ValueError("forecasts: frozen must be true or false in every row.")
    used = _used(forecasts)
    last, raw, published, actual = (forecasts[name].to_numpy(float) for name in PRICES)
    bad = used & ~(np.isfinite(raw) & np.isfinite(published) & np.isfinite(last) & (last > 0) & (actual > 0))
    if bad.any():
        raise BadPrices(
            f"forecasts: {_name(forecasts, bad)} has no forecast or no positive price "
            f"({bad.sum()} of {used.sum()} rows to score). Forecast it again or leave it out.",
            rows=int(bad.sum()),
        )


def _check_outcomes(shared: pd.DataFrame) -> None:
    """Each stock must have gone the same way in both tables, whatever unit its prices are in."""
    differ = (shared["outcome_a"] - shared["outcome_b"]).abs().to_numpy() > SAME_OUTCOME
    if differ.any():
        row = shared[differ].iloc[0]
        raise ValueError(
            f"forecasts: {_name(shared, differ)}: actual / last price is {row['outcome_a']:.6f} in a and "
            f"{row['outcome_b']:.6f} in b ({differ.sum()} of {len(shared)} rows). Use one panel for both."
        )


def _name(table: pd.DataFrame, chosen: np.ndarray) -> str:
    row = table[chosen].iloc[0]
    return f"{row['symbol']} {str(row['cutoff'])[:10]}, horizon {row['horizon']}"
