"""Test whether the errors of served forecasts match the backtest."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import beta, false_discovery_control

from cluster.monitor.settings import MonitorSettings
from common.scoring.significance import by_date, diebold_mariano
from train.evaluation.summary import summarise

NOMINAL = 0.9
KINDS = ("error", "skill", "coverage")
LEVELS = {"all": [], "tier": ["tier"], "stock": ["symbol"]}
"""The columns that forecasts are grouped by, besides the horizon."""
PLAIN = ("n", "n_frozen", "mae", "naive_mae", "rel_mae", "rel_rmse", "cover90", "width90", "dm_abs_p")
"""Figures of the served forecasts, see `train.evaluation.summary`."""
COLUMNS = (
    *("level", "group", "horizon", "dates", *PLAIN),
    *("backtest_mae", "backtest_rel_mae", "backtest_cover90", "error_ratio", "cover90_low", "cover90_high"),
    *(f"q_{kind}" for kind in KINDS),
    "verdict",
)
"""Columns of `judge`."""


class Breakdown(NamedTuple):
    """A one-sided test of whether losses have increased; NaN if it is not defined."""

    statistic: float
    p: float


def breakdown(surprise: np.ndarray, *, horizon: int, reference_dates: int) -> Breakdown:
    """Test whether losses exceed the mean loss of an earlier period (Giacomini and Rossi, "Detecting and
    predicting forecast breakdowns", Review of Economic Studies 2009).

    Surprise losses (loss minus the mean loss of the reference) have mean 0 without a breakdown. Their mean is
    studentised as in `diebold_mariano` and divided by sqrt(1 + n / m), because the mean of the reference is
    itself estimated from m dates (their fixed scheme).

    Parameters
    ----------
    surprise : shape (T,), one value a date, oldest first
    horizon : steps ahead that were forecast
    reference_dates : m
    """
    test = diebold_mariano(surprise, horizon=horizon)
    if math.isnan(test.statistic) or reference_dates < 1:
        return Breakdown(math.nan, math.nan)
    statistic = test.statistic / math.sqrt(1 + test.n / reference_dates)
    return Breakdown(statistic, float(stdtr(test.n - 1, -statistic)))


class Coverage(NamedTuple):
    """Share of outcomes inside their intervals, with its exact binomial interval; NaN without outcomes."""

    share: float
    low: float
    high: float
    p: float
    """Two-sided p-value of the nominal level."""
    effective_n: float


def binomial_coverage(
    inside: np.ndarray, dates: np.ndarray, *, horizon: int, level: float, nominal: float = NOMINAL
) -> Coverage:
    """Return the Clopper-Pearson interval for an effective number of outcomes (Korn and Graubard, Survey
    Methodology 1998), because stocks move together and horizons overlap.

    The effective number is p (1 - p) over the variance of p, estimated from the means of the dates as in
    `diebold_mariano`, and at most n / horizon, the number of outcomes that do not overlap. If it cannot be
    estimated (all inside, or too few dates), it is the number of dates over horizon.

    Parameters
    ----------
    inside : bool, shape (N,)
    dates : shape (N,), cutoffs
    level : of the interval, such as .99
    """
    n = len(inside)
    if not n:
        return Coverage(math.nan, math.nan, math.nan, math.nan, 0.0)
    share, means = float(np.mean(inside)), by_date(inside.astype(float), dates)
    test = diebold_mariano(means, horizon=horizon)
    if 0 < share < 1 and test.statistic > 0:
        spread = test.mean / test.statistic
        effective = min(n / horizon, share * (1 - share) / spread**2)
    else:
        effective = len(means) / horizon
    effective = max(effective, 1.0)
    hits, tail = share * effective, (1 - level) / 2
    misses = effective - hits
    low = float(beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 0 else 1.0
    at_most = float(beta.sf(nominal, hits + 1, misses)) if misses > 0 else 1.0
    at_least = float(beta.cdf(nominal, hits, misses + 1)) if hits > 0 else 1.0
    return Coverage(share, low, high, min(1.0, 2 * min(at_most, at_least)), effective)


def judge(live: pd.DataFrame, reference: pd.DataFrame, settings: MonitorSettings) -> pd.DataFrame:
    """Compare realised errors by horizon, tier and stock with what the backtest expects of the same rows.

    Every served row is compared with the backtest's mean of its own stock and horizon, so the result does not
    depend on which stocks were requested. Three tests: ``error`` (absolute error of the published price in
    percent of the last price) and ``skill`` (the same minus naive's) by `breakdown`, ``coverage`` of the 90 %
    interval by `binomial_coverage`; p-values of one test and level are adjusted together (Benjamini and
    Hochberg).
    Evenings that are also in the backtest make the tests more conservative.

    Parameters
    ----------
    live : see `cluster.monitor.live.Live.table`
    reference : the release's ``test_forecasts.parquet``

    Returns
    -------
    DataFrame
        ``level`` (all, tier or stock), ``group``, ``horizon``, ``dates`` (evenings), `PLAIN`, then
        ``backtest_mae`` (KES), ``backtest_rel_mae``, ``backtest_cover90``, ``error_ratio`` (live over
        expected, percent errors), ``cover90_low``, ``cover90_high``, ``q_error``, ``q_skill``,
        ``q_coverage`` (adjusted p), ``verdict`` (``as expected``, ``too few``, ``no backtest``, or the
        failed tests). Frozen windows are counted, but excluded from all figures.
    """
    expected = _expected(reference, settings.fewest_dates)
    rows = live.merge(expected, on=["symbol", "horizon"], how="left", validate="many_to_one")
    rows = rows.assign(**_losses(rows))
    rows_by_level: list[dict[str, Any]] = []
    for level, keys in LEVELS.items():
        by = ["horizon", *keys]
        plain = summarise(live, by).set_index(by)
        part = [
            _one(level, key, group, plain, settings)
            for key, group in rows[~rows["frozen"].astype(bool)].groupby(by)
        ]
        rows_by_level += _verdicts(part, settings)
    return pd.DataFrame(rows_by_level, columns=COLUMNS)


def _losses(rows: pd.DataFrame) -> dict[str, pd.Series]:
    percent = 100 / rows["last_price"]
    return {
        "kes": (rows["published"] - rows["actual"]).abs(),
        "own": (rows["published"] - rows["actual"]).abs() * percent,
        "naive": (rows["last_price"] - rows["actual"]).abs() * percent,
        "has_interval": rows["lo90"].notna() & rows["hi90"].notna(),
        "inside": (rows["lo90"] <= rows["actual"]) & (rows["actual"] <= rows["hi90"]),
    }


def _expected(reference: pd.DataFrame, fewest: int) -> pd.DataFrame:
    """Return the backtest's means of each stock and horizon with enough moving, scored rows."""
    used = reference[reference["actual"].notna() & ~reference["frozen"].astype(bool)]
    used = used.assign(**_losses(used))
    used["inside"] = used["inside"].astype(float).where(used["has_interval"])
    means = used.groupby(["symbol", "horizon"], as_index=False).agg(
        kes_then=("kes", "mean"),
        own_then=("own", "mean"),
        naive_then=("naive", "mean"),
        inside_then=("inside", "mean"),
        rows_then=("own", "size"),
    )
    return means[means["rows_then"] >= fewest]


def _one(
    level: str, key: tuple[Any, ...], rows: pd.DataFrame, plain: pd.DataFrame, settings: MonitorSettings
) -> dict[str, Any]:
    horizon = int(key[0])
    figures = plain.loc[key if len(key) > 1 else horizon, list(PLAIN)].to_dict()
    figures |= {name: int(figures[name]) for name in ("n", "n_frozen")}
    judged = rows[rows["own_then"].notna()]
    surprise = judged["own"] - judged["own_then"]
    less_skill = surprise - (judged["naive"] - judged["naive_then"])
    dates = judged["cutoff"].to_numpy()
    then = int(judged["rows_then"].median()) if len(judged) else 0
    tests = [
        breakdown(by_date(loss.to_numpy(), dates), horizon=horizon, reference_dates=then)
        for loss in (surprise, less_skill)
    ]
    with_interval = rows[rows["has_interval"]]
    cover = binomial_coverage(
        with_interval["inside"].to_numpy(bool),
        with_interval["cutoff"].to_numpy(),
        horizon=horizon,
        level=1 - settings.alpha,
    )
    own_then, naive_then = judged["own_then"].mean(), judged["naive_then"].mean()
    return {
        "level": level,
        "group": key[1] if len(key) > 1 else "all",
        "horizon": horizon,
        "dates": int(rows["cutoff"].nunique()),
        "judged_dates": int(judged["cutoff"].nunique()),
        **figures,
        "backtest_mae": judged["kes_then"].mean(),
        "backtest_rel_mae": own_then / naive_then if len(judged) and naive_then > 0 else math.nan,
        "judged_rel_mae": _over(judged["own"], judged["naive"]),
        "backtest_cover90": judged["inside_then"].mean(),
        "error_ratio": judged["own"].mean() / own_then if len(judged) and own_then > 0 else math.nan,
        "cover90_low": cover.low,
        "cover90_high": cover.high,
        "p_error": tests[0].p,
        "p_skill": tests[1].p,
        "p_coverage": cover.p,
    }


def _over(error: pd.Series, naive: pd.Series) -> float:
    return error.mean() / naive.mean() if naive.any() else math.nan


def _verdicts(part: list[dict[str, Any]], settings: MonitorSettings) -> list[dict[str, Any]]:
    """Add adjusted p-values and verdicts to the groups of one level."""
    enough = [row["dates"] >= settings.fewest_dates for row in part]
    for kind in KINDS:
        p = np.array([row[f"p_{kind}"] if ok else math.nan for row, ok in zip(part, enough, strict=True)])
        q, tested = np.full(len(p), math.nan), ~np.isnan(p)
        if tested.any():
            q[tested] = false_discovery_control(p[tested])
        for row, value in zip(part, q, strict=True):
            row[f"q_{kind}"] = float(value)
    for row, ok in zip(part, enough, strict=True):
        large = {
            "error": row["error_ratio"] > 1 + settings.error_excess,
            "skill": row["judged_rel_mae"] > row["backtest_rel_mae"] + settings.skill_loss,
            "coverage": abs(float(row["cover90"]) - NOMINAL) > settings.coverage_off,
        }
        failed = [kind for kind in KINDS if row[f"q_{kind}"] < settings.alpha and large[kind]]
        untested = all(math.isnan(row[f"q_{kind}"]) for kind in KINDS)
        few = not ok or (untested and row["judged_dates"] > 0)
        word = "too few" if few else "no backtest" if not row["judged_dates"] else "as expected"
        row["verdict"] = ", ".join(failed) or word
    return part
