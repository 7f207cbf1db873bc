"""New sessions after a release's prices, and releases that are refreshed with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.prices.panel import Panel
from common.release.lock import hold_lock, lock_of
from common.release.refresh import refresh_release
from common.release.refreshed import Refreshed
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from support.releases.release import refitted_release


def in_production(home: Path) -> ReleasedModels:
    """A refitted release in production, so that served and evaluated networks differ."""
    Registry(home).promote(refitted_release(home).id)
    return current(home)


def current(home: Path) -> ReleasedModels:
    return ReleasedModels(Registry(home).open("production"))


def longer(panel: Panel, sessions: int, *, factor: float = 1.0, seed: int = 0) -> Panel:
    """The panel and more sessions, in which every stock but FROZEN moves; ``factor`` applies to the last."""
    days = pd.bdate_range(panel.dates[-1], periods=sessions + 1)[1:]
    parts = [panel.frame]
    for symbol in panel.symbols:
        rng = np.random.default_rng([seed, *map(ord, symbol)])
        last = panel.history(symbol)["close"].iloc[-1]
        moves = rng.normal(0, 0.01, sessions) * (symbol != "FROZEN")
        close = np.round(last * np.exp(np.cumsum(moves)), 2)
        close[-1] = round(close[-1] * factor, 2)
        rows = {"symbol": symbol, "date": days, "close": close, "low": close, "high": close, "volume": 100.0}
        parts.append(pd.DataFrame(rows | {"flags": 0, "known": days}))
    return Panel.from_frame(pd.concat(parts, ignore_index=True), panel.source)


def refreshed(home: Path, panel: Panel, **options: Any) -> Refreshed:
    """Refresh production with a panel, as the command does."""
    with hold_lock(lock_of(home)):
        return refresh_release(Registry(home), current(home), panel, **options)
