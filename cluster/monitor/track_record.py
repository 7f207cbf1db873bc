"""The accuracy of a stock's served forecasts, as far as the hash chain of the log proves them."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from cluster.monitor.live import join_actuals
from cluster.monitor.served import frame_of
from cluster.monitor.served_errors import judge
from cluster.monitor.settings import MonitorSettings
from common import storage
from common.prices.panel import Panel
from common.release.forecasts import ReleasedModels
from serve.audit.hash_chain import Chain, check
from serve.audit.ledger import SERVED

FIGURES = (
    *("horizon", "n", "dates", "mae", "naive_mae", "rel_mae"),
    *("cover90", "cover90_low", "cover90_high", "backtest_rel_mae", "verdict"),
    *("brier", "brier_skill", "backtest_brier_skill"),
)
"""Columns of `cluster.monitor.served_errors.judge` in the track record."""


@dataclass(frozen=True, eq=False)
class TrackRecord:
    """The track record of one stock."""

    symbol: str
    release: str
    """The release whose backtest is shown for comparison."""
    synthetic: bool
    served: int
    """Distinct forecasts in the chain."""
    scored: int
    waiting: int
    left_out: dict[str, int]
    """See `cluster.monitor.live.REASONS`."""
    frozen: int
    """Scored forecasts of frozen windows, which are excluded from all figures."""
    first: dt.date | None
    """First and last cutoff of the scored forecasts."""
    last: dt.date | None
    figures: pd.DataFrame
    """``FIGURES``, one row per horizon (trading days), errors in KES."""
    chain: Chain
    lacks: list[str]
    """Digests kept elsewhere that the chain no longer contains."""

    @property
    def broken(self) -> bool:
        return bool(self.chain.problems or self.lacks)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with None for undefined figures."""
        plain = ("symbol", "release", "synthetic", "served", "scored", "waiting", "left_out", "frozen")
        values: dict[str, Any] = storage.finite(
            {name: getattr(self, name) for name in plain}
            | {name: day and day.isoformat() for name, day in (("first", self.first), ("last", self.last))}
            | {"figures": self.figures.to_dict(orient="records")}
            | {"chain": self.chain.as_dict() | {"lacks": self.lacks}}
        )
        return values


def track_record(
    symbol: str, models: ReleasedModels, panel: Panel, home: Path, *, kept: list[str] | None = None
) -> TrackRecord:
    """Score the served forecasts of one stock, by the rules of `cluster.monitor.live`.

    Parameters
    ----------
    models : the release that defines stocks, horizons and preset
    panel : prices to score with
    home : storage root with the ``served`` folder
    kept : digests of heads that were noted elsewhere

    Raises
    ------
    UnknownSymbol
        If the symbol is unknown.
    """
    stock = models.universe.find(symbol)
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
    reference = pd.read_parquet(models.release.file("test_forecasts.parquet"))
    figures = judge(live.table, reference, MonitorSettings()).query("level == 'stock'")[list(FIGURES)]
    cutoffs = live.table["cutoff"]
    return TrackRecord(
        symbol=stock.symbol,
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
        lacks=chain.lacks(kept or []),
    )
