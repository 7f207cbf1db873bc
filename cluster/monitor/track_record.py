"""How good the forecasts were that a counter was served, of those that the log's chain vouches for."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from cluster.monitor.errors import judge
from cluster.monitor.live import Live, join_actuals
from cluster.monitor.served import frame_of
from cluster.monitor.settings import MonitorSettings
from common import storage
from common.prices.panel import Panel
from common.release.forecasts import ReleasedModels
from serve.audit.hash_chain import Chain, check
from serve.audit.ledger import SERVED

FIGURES = (
    *("horizon", "n", "dates", "mae", "naive_mae", "rel_mae"),
    *("cover90", "cover90_low", "cover90_high", "backtest_rel_mae", "verdict"),
)
"""Columns of `cluster.monitor.errors.judge` that are shown."""


@dataclass(frozen=True, eq=False)
class TrackRecord:
    """A counter's track record."""

    symbol: str
    release: str
    """Whose backtest stands beside it."""
    synthetic: bool
    served: int
    """Distinct forecasts in the chain."""
    scored: int
    waiting: int
    left_out: dict[str, int]
    """See `cluster.monitor.live.REASONS`."""
    frozen: int
    """Scored ones of a price that stood still: they are in no figure."""
    first: dt.date | None
    """First and last evening that a scored forecast was made from."""
    last: dt.date | None
    figures: pd.DataFrame
    """``FIGURES``, a row for each horizon (trading days), errors in KES."""
    chain: Chain
    lacks: list[str]
    """Digests that were kept elsewhere and that the chain has no more."""

    @property
    def broken(self) -> bool:
        return bool(self.chain.problems or self.lacks)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None for what cannot be told."""
        plain = ("symbol", "release", "synthetic", "served", "scored", "waiting", "left_out", "frozen")
        found: dict[str, Any] = storage.finite(
            {name: getattr(self, name) for name in plain}
            | {name: day and day.isoformat() for name, day in (("first", self.first), ("last", self.last))}
            | {"figures": self.figures.to_dict(orient="records")}
            | {"chain": self.chain.as_dict() | {"lacks": self.lacks}}
        )
        return found


def track_record(
    symbol: str, models: ReleasedModels, panel: Panel, home: Path, *, kept: list[str] | None = None
) -> TrackRecord:
    """Score what was served of one counter, by the rules of `cluster.monitor.live`.

    Parameters
    ----------
    models : the release that says which counters, horizons and preset there are
    panel : prices to score with
    home : storage root, whose ``served`` folder is read
    kept : digests of heads that were kept elsewhere

    Raises
    ------
    UnknownSymbol
        If it is no counter.
    """
    stock, settings = models.universe.find(symbol), MonitorSettings()
    tables: list[pa.Table] = []
    chain = check(Path(home) / SERVED, lambda part: tables.append(part[2]))
    served = frame_of(tables)
    live = join_actuals(
        served[served["symbol"] == stock.symbol],
        panel,
        models.universe,
        models.models.window,
        preset=str(models.release.info["preset"]),
    )
    return _record(stock.symbol, models, panel, live, chain, chain.lacks(kept or []), settings)


def _record(
    symbol: str,
    models: ReleasedModels,
    panel: Panel,
    live: Live,
    chain: Chain,
    lacks: list[str],
    settings: MonitorSettings,
) -> TrackRecord:
    reference = pd.read_parquet(models.release.file("test_forecasts.parquet"))
    figures = judge(live.table, reference, settings).query("level == 'stock'")[list(FIGURES)]
    cutoffs = live.table["cutoff"]
    return TrackRecord(
        symbol=symbol,
        release=models.release.id,
        synthetic=panel.synthetic,
        served=len(live.table) + live.waiting + sum(live.left_out.values()),
        scored=len(live.table),
        waiting=live.waiting,
        left_out=live.left_out,
        frozen=int(live.table["frozen"].astype(bool).sum()),
        first=cutoffs.min().date() if len(cutoffs) else None,
        last=cutoffs.max().date() if len(cutoffs) else None,
        figures=figures.reset_index(drop=True),
        chain=chain,
        lacks=lacks,
    )
