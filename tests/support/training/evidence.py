"""Hand-written evidence of a small release, for the tests of the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.exchange.universe import Universe
from common.prices.panel import Panel
from common.release.bundle import GENERAL, BundleFiles
from train.evaluation.evidence import Evidence
from train.evaluation.forecasts import Forecasts
from train.evaluation.matrix import performance_matrix

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "Co"'
SYMBOLS = ("ALFA", "BETA", "GAMA", "HALT", "NEW")
NAMES = ("Alfa Plc", HOSTILE, "Gama Ltd", "Halted Ltd", "Newly Listed")
SECTORS = ("Banking", "Banking", "Energy <b>& Oil", "Insurance", "Insurance")
UNIVERSE = Universe.from_symbols(SYMBOLS, NAMES, SECTORS, specific=["ALFA", "HALT"])
SESSIONS = pd.bdate_range("2023-06-01", periods=260)
TESTED = SESSIONS[-60:]
SKILL = {"ALFA": 0.4, "BETA": -0.3, "GAMA": 0.0, "HALT": 0.0}
LEVELS = {"80": 0.02, "90": 0.03, "95": 0.04}
TRAINING = {
    "general/seed-0": [
        {"epoch": epoch, "loss": 2 - 0.1 * epoch, "val_loss": 1.5 + 0.01 * (epoch - 4) ** 2, "rel_mae": 1.0}
        for epoch in range(1, 8)
    ],
    "general/seed-1": [{"epoch": 1, "loss": float("nan"), "val_loss": 1.2, "rel_mae": 1.0}],
}


def closes() -> pd.DataFrame:
    """Closes by day and symbol; HALT stands still, NEW has none."""
    rng = np.random.default_rng(4)
    prices = {
        symbol: np.round(level * np.exp(np.cumsum(rng.normal(0, size, len(SESSIONS)))), 2)
        for symbol, level, size in (
            ("ALFA", 12, 0.02),
            ("BETA", 240, 0.01),
            ("GAMA", 0.8, 0.03),
            ("HALT", 5, 0),
        )
    }
    return pd.DataFrame(prices, index=SESSIONS)


def panel() -> Panel:
    frame = closes().rename_axis("date").reset_index().melt("date", var_name="symbol", value_name="close")
    unknown = {"low": np.nan, "high": np.nan, "volume": 100.0, "flags": 0}
    frame = frame.assign(**unknown, known=frame["date"]).astype({"flags": "int32"})
    return Panel.from_frame(frame, "archive")


def forecasts(horizons: tuple[int, ...] = (1, 5), *, plain: bool = False) -> pd.DataFrame:
    """Forecasts that foresee ``SKILL`` of each change; ``plain``: no intervals, no chances."""
    prices, parts = closes(), []
    for symbol, skill in SKILL.items():
        for horizon in horizons:
            last = prices[symbol].to_numpy()[-60 - horizon : -horizon]
            actual = prices[symbol].to_numpy()[-60:]
            published = last + skill * (actual - last)
            part = pd.DataFrame({"symbol": symbol, "cutoff": SESSIONS[-60 - horizon : -horizon]})
            part = part.assign(
                horizon=horizon, target_date=TESTED, last_price=last, raw=published, published=published
            )
            for level, wide in LEVELS.items():
                part[f"lo{level}"] = np.nan if plain else published * (1 - wide)
                part[f"hi{level}"] = np.nan if plain else published * (1 + wide)
            chance = np.nan if plain else np.tile([0.15, 0.55, 0.95], 20)
            kind = "stock_specific" if symbol == "ALFA" else "general"
            part = part.assign(actual=actual, p_move=chance, needed=np.nan, frozen=symbol == "HALT")
            up = 0.6 if skill > 0 else 0.4
            part = part.assign(
                **{"probability_up": up * chance, "probability_unchanged": 1 - chance},
                **{"probability_down": (1 - up) * chance, "base_up": 0.3},
                **{"base_unchanged": 0.45, "base_down": 0.25},
            )
            parts.append(part.assign(source="model" if skill > 0 else "last_price", model_type=kind))
    return pd.concat(parts, ignore_index=True)


def bundle(folder: Path) -> Path:
    """The files of the general model that the report reads."""
    place = folder / BundleFiles.of("residual", GENERAL).folder
    place.mkdir(parents=True)
    rng = np.random.default_rng(5)
    vectors = {symbol: rng.normal(0, 1, 3).tolist() for symbol in SYMBOLS[:4]}
    (place / "embedding.json").write_text(json.dumps(vectors))
    (place / "metadata.json").write_text(json.dumps({"training": TRAINING}))
    return folder


def made_evidence(table: pd.DataFrame | None = None, **changes: Any) -> Evidence:
    """A complete release of real prices without rivals; ``info`` is added to, all else replaced."""
    table, prices = forecasts() if table is None else table, panel()
    info = {"preset": "residual", "source": "archive", "quick": False, "failed": {}}
    info |= {"train_end": "2023-10-31", "valid_end": "2024-02-29", "test_end": "2024-05-29"}
    values: dict[str, Any] = {
        "release": "20240529-residual-abc",
        "folder": Path("nowhere"),
        "universe": UNIVERSE,
        "panel": prices,
        "forecasts": Forecasts(table, UNIVERSE),
        "shared": None,
        "matrix": performance_matrix(table, UNIVERSE, prices, {"ALFA": "average"}),
    }
    return Evidence(info=info | changes.pop("info", {}), **(values | changes))


def made_large(count: int, sessions: int = 12) -> Evidence:
    """A release of ``count`` stocks whose figures are random and whose prices were invented."""
    rng, horizons = np.random.default_rng(6), (1, 5)
    symbols = [f"S{number:05d}" for number in range(count)]
    names, sectors = [f"Company {s} Plc" for s in symbols], [f"Sector {n % 9}" for n in range(count)]
    universe = Universe.from_symbols(symbols, names, sectors, specific=symbols[::7])
    days = SESSIONS[: sessions + max(horizons)]
    prices = np.round(np.exp(rng.normal(3, 0.1, (len(days), count)) + rng.normal(0, 1, count)), 2)
    rows = {"date": np.tile(days, count), "symbol": np.repeat(symbols, len(days)), "close": prices.T.ravel()}
    frame = pd.DataFrame(rows).assign(low=np.nan, high=np.nan, volume=100.0, flags=0)
    frame = frame.assign(known=frame["date"]).astype({"flags": "int32"})
    parts = []
    for horizon in horizons:
        last, actual = prices[-sessions - horizon : -horizon], prices[-sessions:]
        part = pd.DataFrame({"symbol": np.repeat(symbols, sessions), "horizon": horizon})
        cutoffs = np.tile(days[-sessions - horizon : -horizon], count)
        part = part.assign(cutoff=cutoffs, target_date=np.tile(days[-sessions:], count))
        part = part.assign(last_price=last.T.ravel(), actual=actual.T.ravel())
        part["raw"] = part["published"] = part["last_price"] * 1.01
        for level, wide in LEVELS.items():
            part[f"lo{level}"], part[f"hi{level}"] = part["raw"] * (1 - wide), part["raw"] * (1 + wide)
        parts.append(part.assign(p_move=0.55, needed=np.nan, frozen=False, source="model"))
    table = pd.concat(parts, ignore_index=True).assign(model_type="general")
    matrix = pd.DataFrame({"symbol": symbols, "name": names, "sector": sectors, "tier": "general"})
    matrix = matrix.assign(rank=range(1, count + 1), confidence="medium", flags="", model="general")
    matrix = matrix.assign(source="last_price", reasons="general model: medium confidence at best")
    figures = ("mae", "naive_mae", "mape", "naive_mape", "rmse", "naive_rmse", "rel_mae", "rel_rmse")
    for horizon in horizons:
        for name in (*figures, "dm_abs_p", "dm_sq_p", "cover90", "width90"):
            matrix[f"{name}_{horizon}d"] = rng.uniform(0.5, 1.5, count)
        matrix[f"n_{horizon}d"] = sessions
    info = {"preset": "residual", "source": "synthetic seed=6", "quick": False}
    info |= {"failed": dict.fromkeys(symbols[::7], "broke")}
    forecasts = Forecasts(table, universe)
    panel = Panel.from_frame(frame, "synthetic seed=6")
    return Evidence("large", info, Path("nowhere"), universe, panel, forecasts, None, matrix)
