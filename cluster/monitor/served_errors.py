"""Test whether the errors of served forecasts match the backtest."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from cluster.monitor.settings import MonitorSettings
from cluster.monitor.significance import NOMINAL, binomial_coverage, breakdown
from common.scoring.direction_scores import outcomes
from common.scoring.significance import by_date
from train.evaluation.base_rates import BASE_RATES, with_base_rates
from train.evaluation.summary import PROBABILITY_COLUMNS, summarise

KINDS = ("error", "skill", "coverage")
LEVELS = {"all": [], "tier": ["tier"], "stock": ["symbol"]}
"""The columns that forecasts are grouped by, besides the horizon."""
PLAIN = (
    *("n", "n_frozen", "mae", "naive_mae", "rel_mae", "rel_rmse", "cover90", "width90", "dm_abs_p"),
    *("brier", "brier_skill"),
)
"""Figures of the served forecasts, see `train.evaluation.summary`."""
COLUMNS = (
    *("level", "group", "horizon", "dates", *PLAIN),
    *("backtest_mae", "backtest_rel_mae", "backtest_cover90", "error_ratio", "cover90_low", "cover90_high"),
    "backtest_brier_skill",
    *(f"q_{kind}" for kind in KINDS),
    "verdict",
)
"""Columns of `judge`."""


def judge(live: pd.DataFrame, reference: pd.DataFrame, settings: MonitorSettings) -> pd.DataFrame:
    """Compare realised errors by horizon, tier and stock with what the backtest expects of the same rows.

    Brier scores are shown without a test (`common.scoring.direction_scores`); climatology is that of the
    reference. Rows served before the log had probabilities do not enter them.

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
        expected, percent errors), ``cover90_low``, ``cover90_high``, ``backtest_brier_skill``, ``q_error``,
        ``q_skill``, ``q_coverage`` (adjusted p), ``verdict`` (``as expected``, ``too few``, ``no backtest``,
        or the failed tests). Frozen windows are counted, but excluded from all figures.
    """
    rates = reference.reindex(columns=["symbol", "horizon", *BASE_RATES])
    live = live.drop(columns=BASE_RATES, errors="ignore")
    live = with_base_rates(live, rates.drop_duplicates(["symbol", "horizon"]))
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
    happened = outcomes(rows["last_price"].to_numpy(), rows["actual"].to_numpy())
    forecast, climate = (
        pd.Series(((rows.reindex(columns=names).to_numpy(float) - happened) ** 2).sum(axis=1), rows.index)
        for names in (PROBABILITY_COLUMNS[:3], PROBABILITY_COLUMNS[3:])
    )
    return {
        "brier_own": forecast,
        "brier_climate": climate,
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
        brier_then=("brier_own", "mean"),
        climate_then=("brier_climate", "mean"),
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
    probable = judged[judged["brier_own"].notna() & judged["brier_climate"].notna()]
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
        "backtest_brier_skill": 1 - _over(probable["brier_then"], probable["climate_then"]),
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
