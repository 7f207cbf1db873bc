"""Releases of known quality, and their figures."""

import numpy as np
import pandas as pd

from common.release.manifest import Release
from common.release.registry import Registry
from support.releases.release import made_release

SLIGHTLY, WORSE, ABSURD = 0.06, 1.0, 50.0
"""Shifts of a made release's forecasts: a little worse than naive (relRMSE 1.004 three days ahead), clearly
worse, and beyond anything that ever happened."""


def new_release(registry: Registry, release_id: str, **choices) -> Release:
    return made_release(registry.folder.parent, release_id, **choices)


def in_production(registry: Registry, release_id: str, **choices) -> Release:
    return registry.promote(new_release(registry, release_id, **choices).id)


def scored(release: Release, horizon: int) -> pd.DataFrame:
    table = pd.read_parquet(release.file("test_forecasts.parquet"))
    return table[(table["horizon"] == horizon) & ~table["frozen"]]


def near(release: Release) -> pd.DataFrame:
    return scored(release, 1)


def ratios(rows: pd.DataFrame) -> dict[str, float]:
    """Errors over naive's, in percent of the last price."""
    last = rows["last_price"]
    absolute = [((rows[name] - rows["actual"]).abs() / last).mean() for name in ("published", "last_price")]
    square = [(((rows[name] - rows["actual"]) / last) ** 2).mean() for name in ("raw", "last_price")]
    return {"rel_mae": absolute[0] / absolute[1], "rel_rmse": np.sqrt(square[0] / square[1])}
