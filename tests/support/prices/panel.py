"""A small market as a panel with every defect the reader knows, and a network without training."""

import numpy as np
import pandas as pd

from common.archive.flags import Flag
from common.archive.layouts import MARKET_INDEX
from common.network.mixture import TAUS
from common.presets import WindowSpec
from common.prices.panel import Panel

SPEC = WindowSpec(size=12, horizons=(1, 3, 7))
DAYS = 150
STALE_DAY, REPAIRED_DAYS, REBUILT_DAY = 60, (40, 118, 141), 75
"""Positions of the sessions whose closes were lost, became known one session later, or were rebuilt."""
SYMBOLS = ("FROZEN", "GAPS", "MOVES", "SHORT", "SPLITS", "THIN")


def made_panel(days: int = DAYS, seed: int = 0) -> Panel:
    """Seven symbols: one that never moves, one with gaps, one too short, one that was split twice.

    MOVES kept its true rows on the copied days, as up to a tenth of the stocks do; the index did not.
    """
    sessions = pd.bdate_range("2021-01-04", periods=days)
    parts = [_rows(symbol, sessions, seed) for symbol in (*SYMBOLS, MARKET_INDEX)]
    return Panel.from_frame(pd.concat(parts), f"synthetic made seed={seed}")


def _rows(symbol: str, sessions: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, *map(ord, symbol)])
    count = len(sessions)
    moved = rng.random(count) < {"FROZEN": 0, "THIN": 0.3}.get(symbol, 0.9)
    close = rng.uniform(5, 60) * np.exp(np.cumsum(moved * rng.normal(0, 0.02, count)))
    if symbol == "SPLITS":
        close[50:] /= 2
        close[100:] *= 4
    close = np.round(close, 2)
    rows = pd.DataFrame(
        {
            "symbol": symbol,
            "date": sessions,
            "close": close,
            "low": np.round(close * 0.99, 2),
            "high": np.round(close * 1.01, 2),
            "volume": np.where(moved, rng.integers(1, 900, count) * 100.0, 0.0),
            "flags": 0,
            "known": sessions,
        }
    )
    if symbol != "MOVES":
        _spoil(rows, sessions)
    kept = {
        "SHORT": rows.index >= count - 9,
        "GAPS": (rows.index > 30) & (rng.random(count) < 0.8),
        "MOVES": rows.index != REBUILT_DAY,
    }
    return rows[kept.get(symbol, rows.index >= 0)]


def _spoil(rows: pd.DataFrame, sessions: pd.DatetimeIndex) -> None:
    nothing = ["low", "high", "volume"]
    rows.loc[STALE_DAY, "close"] = rows.loc[STALE_DAY - 1, "close"]
    rows.loc[STALE_DAY, "flags"] = int(Flag.STALE)
    rows.loc[STALE_DAY, nothing] = np.nan
    for day, flag in [*((day, Flag.REPAIRED) for day in REPAIRED_DAYS), (REBUILT_DAY, Flag.REBUILT)]:
        if day + 1 < len(rows):
            rows.loc[day, "flags"] = int(flag)
            rows.loc[day, "known"] = sessions[day + 1]
            rows.loc[day, nothing] = np.nan


def history(closes, *, start: str = "2022-01-03", **columns) -> pd.DataFrame:
    """One symbol's rows in panel form; what is not given is unknown, and known in time."""
    dates = pd.bdate_range(start, periods=len(closes))
    known = {"low": np.nan, "high": np.nan, "volume": np.nan, "flags": 0, "known": dates}
    frame = pd.DataFrame({"date": dates, "close": np.asarray(closes, dtype=float), **(known | columns)})
    return frame.astype({"low": float, "high": float, "volume": float, "flags": "int32"})


def fake_network(x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
    """Mixture outputs (the level is the first of them) from every number a network sees."""
    weights = np.sin(np.arange(x[0].size, dtype=np.float64)).reshape(x.shape[1:])
    signal = (x * weights).sum(axis=(1, 2)) + 0.1 * stock_id[:, 0]
    outputs = np.empty((len(x), len(SPEC.horizons), 3 + len(TAUS)))
    outputs[..., 0] = np.tanh(signal)[:, None]
    outputs[..., 1] = (1 / (1 + np.exp(-signal)))[:, None]
    outputs[..., 2:-1] = np.tanh(signal)[:, None, None] + 3 * (TAUS - 0.5)
    outputs[..., -1] = 0
    return outputs
