"""95 % intervals of the ratios to naive, with the days as the sample."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from common.scoring.significance import ratio_noise
from train.evaluation.summary import summarise

RATIOS = ("rel_mae", "rel_rmse")


def with_intervals(table: pd.DataFrame, by: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return `train.evaluation.summary.summarise` with the columns ``rel_mae_low`` and so on.

    A ratio is one of sums of errors; `common.scoring.significance.ratio_noise` gives its standard error. The
    days are the sample, so stocks that move together do not count as independent, and overlapping outcomes
    are allowed for (Newey and West). The interval uses Student's t with one degree of freedom less than
    there are days. The bounds of relRMSE are the roots of those of the ratio of squared errors. NaN where
    there are too few days.
    """
    figures = summarise(table, ["horizon", *by])
    used = table[np.isfinite(table["actual"]) & ~table["frozen"].astype(bool)]
    groups = used.groupby(["horizon", *by], observed=True).indices
    rows = []
    for key in figures[["horizon", *by]].itertuples(index=False, name=None):
        chosen = groups.get(key if by else key[0])
        rows.append({} if chosen is None else _intervals(used.iloc[chosen], int(key[0])))
    names = [f"{ratio}_{end}" for ratio in RATIOS for end in ("low", "high")]
    return pd.concat([figures, pd.DataFrame(rows, columns=names, index=figures.index, dtype=float)], axis=1)


def _intervals(rows: pd.DataFrame, horizon: int) -> dict[str, Any]:
    last = rows["last_price"].to_numpy(float)
    error, naive = (rows["published"] - rows["actual"]) / last, (rows["last_price"] - rows["actual"]) / last
    raw = (rows["raw"] - rows["actual"]) / last
    days = rows["cutoff"].to_numpy()
    quantile = float(stdtrit(max(len(np.unique(days)) - 1, 1), 0.975))
    bounds = {}
    for name, own, rival in (("rel_mae", abs(error), abs(naive)), ("rel_rmse", raw**2, naive**2)):
        half = quantile * ratio_noise(own.to_numpy(), rival.to_numpy(), days, horizon=horizon)
        ratio = own.sum() / rival.sum() if rival.any() else math.nan
        ends = (max(ratio - half, 0.0) if half == half else half, ratio + half)
        for end, value in zip(("low", "high"), ends, strict=True):
            bounds[f"{name}_{end}"] = math.sqrt(value) if name == "rel_rmse" else value
    return bounds
