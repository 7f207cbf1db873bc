"""Forecast tables, and their figures worked out by hand."""

import math

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from train.evaluation.summary import TESTS

SECTOR = {"SCOM": "Telecom", "EQTY": "Banking", "KCB": "Banking"}
QUANTILE = {
    "lo95": 0.025,
    "lo90": 0.05,
    "lo80": 0.1,
    "published": 0.5,
    "hi80": 0.9,
    "hi90": 0.95,
    "hi95": 0.975,
}
BOUNDS = [name for name in QUANTILE if name != "published"]
seeds = st.integers(0, 2**32 - 1)


def forecasts(seed: int, *, complete: bool = False) -> pd.DataFrame:
    """Forecasts for three stocks on a grid of ticks, bounds between them, shuffled.

    ``complete``: no frozen, missing or unscored rows.
    """
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2024-01-01", periods=25)
    rows = [(symbol, day, h) for symbol in SECTOR for day in days for h in (1, 5)]
    table = pd.DataFrame(rows, columns=["symbol", "cutoff", "horizon"])
    n = len(table)
    table["target_date"] = table["cutoff"] + pd.to_timedelta(table["horizon"], unit="D")
    table["last_price"] = rng.integers(200, 400, n) / 20
    table["frozen"] = rng.random(n) < 0.15
    table["raw"] = table["last_price"] + rng.normal(0, 0.1, n)
    table["published"] = table["last_price"] + rng.integers(-2, 3, n) / 20
    table["p_move"] = rng.random(n)
    for ticks, level in enumerate((80, 90, 95), start=1):
        table[f"lo{level}"] = table["published"] - (ticks + 0.5) / 20
        table[f"hi{level}"] = table["published"] + (ticks + 0.5) / 20
    table.loc[rng.random(n) < 0.1, BOUNDS] = np.nan
    chances = np.random.default_rng(seed + 1)
    for kind in ("probability", "base"):
        names = [f"{kind}_{direction}" for direction in ("up", "unchanged", "down")]
        table[names] = chances.dirichlet((1, 1, 1), n)
        table.loc[chances.random(n) < 0.1, names] = np.nan
    table["actual"] = table["last_price"] + rng.integers(-4, 5, n) / 20
    table["sector"] = table["symbol"].map(SECTOR)
    if complete:
        table["frozen"] = False
    else:
        table.loc[rng.random(n) < 0.1, "actual"] = np.nan
        table = table[rng.random(n) < 0.85]
    return table.sample(frac=1, random_state=int(rng.integers(2**31))).reset_index(drop=True)


def rival_of(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Another model's forecasts of some of the same events, with frozen windows of its own."""
    row = ["symbol", "cutoff", "horizon"]
    events = table.set_index(row)[["last_price", "actual"]]
    return forecasts(seed).drop(columns=["last_price", "actual"]).join(events, on=row, how="inner")


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def hac_test(differentials: list[tuple], horizon: int) -> tuple[float, float]:
    """Statistic and p of (date, differential) pairs averaged by date, by statsmodels."""
    import scipy.stats
    from statsmodels.api import OLS

    dates = sorted({date for date, _ in differentials})
    means = np.array([mean(value for day, value in differentials if day == date) for date in dates])
    n = len(means)
    if n < 8 or np.ptp(means) < 1e-12:
        return math.nan, math.nan
    lags = min(max(horizon - 1, int(4 * (n / 100) ** (2 / 9))), n - 1)
    fitted = OLS(means, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    statistic = float(fitted.tvalues[0]) * math.sqrt((n - lags - 1) * (n - lags)) / n
    return statistic, float(2 * scipy.stats.t.sf(abs(statistic), df=n - 1))


def percent(row: dict, name: str) -> float:
    return 100 * (row[name] - row["actual"]) / row["last_price"]


def brier_by_hand(used: list[dict]) -> dict[str, float]:
    """Brier scores of the rows with chances, and skills over those that have base rates too."""

    def score(rows: list[dict], kind: str, directions: tuple[str, ...]) -> float:
        return mean(
            sum(
                (row[f"{kind}_{direction}"] - (np.sign(row["actual"] - row["last_price"]) == sign)) ** 2
                for direction, sign in {"up": 1, "unchanged": 0, "down": -1}.items()
                if direction in directions
            )
            for row in rows
        )

    known = [row for row in used if not math.isnan(row["probability_up"])]
    both = [row for row in known if not math.isnan(row["base_up"])]
    figures = {}
    for name, directions in (("brier", ("up", "unchanged", "down")), ("brier_up", ("up",))):
        figures[name] = score(known, "probability", directions)
        ratio = score(both, "probability", directions) / score(both, "base", directions)
        figures[f"{name}_skill"] = 1 - ratio
    return figures


def by_hand(rows: list[dict]) -> dict[str, float]:
    """Every figure of one group and horizon, one row at a time."""
    scored = [row for row in rows if not math.isnan(row["actual"])]
    used = [row for row in scored if not row["frozen"]]
    moved = [row for row in used if row["actual"] != row["last_price"]]
    called = [row for row in moved if row["published"] != row["last_price"]]
    bounded = [row for row in used if not math.isnan(row["lo95"])]
    naive_mae = mean(abs(percent(row, "last_price")) for row in used)
    naive_mse = mean(percent(row, "last_price") ** 2 for row in used)
    figures = {
        "n": len(used),
        "n_frozen": len(scored) - len(used),
        "n_unscored": len(rows) - len(scored),
        "symbols": len({row["symbol"] for row in used}),
        "moved_share": len(moved) / len(used) if used else math.nan,
        "mae": mean(abs(row["published"] - row["actual"]) for row in used),
        "naive_mae": mean(abs(row["last_price"] - row["actual"]) for row in used),
        "rmse": math.sqrt(mean((row["raw"] - row["actual"]) ** 2 for row in used)),
        "naive_rmse": math.sqrt(mean((row["last_price"] - row["actual"]) ** 2 for row in used)),
        "mape": mean(100 * abs(row["published"] - row["actual"]) / row["actual"] for row in used),
        "naive_mape": mean(100 * abs(row["last_price"] - row["actual"]) / row["actual"] for row in used),
        "rel_mae": mean(abs(percent(row, "published")) for row in used) / (naive_mae or math.nan),
        "rel_rmse": math.sqrt(mean(percent(row, "raw") ** 2 for row in used) / (naive_mse or math.nan)),
        "bias": mean(percent(row, "raw") for row in used),
        "direction": mean(
            (row["published"] > row["last_price"]) == (row["actual"] > row["last_price"]) for row in called
        ),
        "direction_n": len(called),
        "called_share": mean(row["published"] != row["last_price"] for row in used),
    }
    for level in (80, 90, 95):
        low, high = f"lo{level}", f"hi{level}"
        figures[f"cover{level}"] = mean(row[low] <= row["actual"] <= row[high] for row in bounded)
        figures[f"width{level}"] = mean(100 * (row[high] - row[low]) / row["last_price"] for row in bounded)
    figures["winkler90"] = mean(
        100 * (row["hi90"] - row["lo90"]) / row["last_price"]
        + 20 * max(percent(row, "lo90"), -percent(row, "hi90"), 0)
        for row in bounded
    )
    for name, column in (("pinball", None), ("naive_pinball", "last_price")):
        figures[name] = mean(
            max(-tau * percent(row, column or quantile), (1 - tau) * percent(row, column or quantile))
            for row in bounded
            for quantile, tau in QUANTILE.items()
        )
    figures |= brier_by_hand(used)
    pairs = [
        [(row["cutoff"], abs(percent(row, "published")) - abs(percent(row, "last_price"))) for row in used],
        [(row["cutoff"], percent(row, "raw") ** 2 - percent(row, "last_price") ** 2) for row in used],
    ]
    tests = [value for pair in pairs for value in hac_test(pair, rows[0]["horizon"])]
    return figures | dict(zip(TESTS, tests, strict=True))
