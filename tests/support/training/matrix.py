"""Forecasts of a small panel, and their matrix and evidence."""

import numpy as np
import pandas as pd

from common.exchange.universe import Universe
from support.prices.panel import SYMBOLS, made_panel
from train.evaluation.matrix import performance_matrix

PANEL = made_panel()
UNIVERSE = Universe.from_symbols([*SYMBOLS, "ABSENT"], specific=["MOVES", "GAPS", "FROZEN"])
DAYS = PANEL.dates[-60:-8]


def forecasts(
    skill: dict[str, float], seed: int = 0, own: tuple[str, ...] = ("MOVES", "GAPS")
) -> pd.DataFrame:
    """Forecasts that foresee that share of each change; FROZEN stands still, ABSENT and SHORT have none."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in ("FROZEN", "GAPS", "MOVES", "SPLITS", "THIN"):
        for horizon in (1, 5):
            last = np.round(rng.uniform(10, 20, len(DAYS)), 2)
            change = (
                0
                if symbol == "FROZEN"
                else rng.choice([-1, 0, 1], len(DAYS)) * rng.uniform(0.1, 1, len(DAYS))
            )
            actual = np.round(last + change, 2)
            published = last + skill.get(symbol, 0) * (actual - last)
            part = pd.DataFrame({"symbol": symbol, "cutoff": DAYS, "horizon": horizon})
            part = part.assign(
                target_date=DAYS, last_price=last, raw=published, published=published, actual=actual
            )
            for level, wide in ((80, 1), (90, 1.5), (95, 2)):
                part[f"lo{level}"], part[f"hi{level}"] = last - wide, last + wide
            part = part.assign(p_move=rng.random(len(DAYS)), needed=0.5, frozen=symbol == "FROZEN")
            trusted = skill.get(symbol, 0) > 0
            kind = "stock_specific" if symbol in own else "general"
            parts.append(part.assign(source="model" if trusted else "last_price", model_type=kind))
    return pd.concat(parts, ignore_index=True)


SKILL = {"MOVES": 0.5, "GAPS": 0.1, "SPLITS": -0.3, "THIN": 0.2}
TABLE = forecasts(SKILL)
MATRIX = performance_matrix(TABLE, UNIVERSE, PANEL, {"MOVES": "average", "GAPS": "fine-tuned"})
