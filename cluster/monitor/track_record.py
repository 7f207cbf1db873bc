"""The accuracy of a stock's served forecasts, as far as the hash chain of the log proves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from cluster.monitor.live import join_actuals, served_frame
from cluster.monitor.served_errors import judge
from cluster.monitor.settings import MonitorSettings
from common import storage
from common.prices.panel import Panel
from common.release.released_models import ReleasedModels
from serve.audit.hash_chain import check
from serve.audit.ledger import SERVED


def track_record(
    symbol: str, models: ReleasedModels, panel: Panel, home: Path, *, kept: Sequence[str] = ()
) -> dict[str, Any]:
    """Score the served forecasts of one stock, by the rules of `cluster.monitor.live`.

    Parameters
    ----------
    models : the release that defines stocks, horizons and preset, and whose backtest is shown
    panel : prices to score with
    home : storage root with the ``served`` folder
    kept : digests of heads that were noted elsewhere

    Returns
    -------
    dict
        JSON values, with None for undefined figures: ``symbol``, ``release``, ``synthetic``; the counts
        ``served`` (distinct forecasts in the chain), ``scored``, ``waiting``, ``left_out`` (see
        `cluster.monitor.live.REASONS`) and ``frozen`` (scored, but of frozen windows and in no figure);
        ``first`` and ``last`` cutoff of the scored forecasts; ``figures`` (rows of
        `cluster.monitor.served_errors.judge`, one per horizon, errors in KES); ``chain``, with ``lacks``: the
        digests in ``kept`` that it no longer contains.

    Raises
    ------
    UnknownSymbol
        If the symbol is unknown.
    """
    stock = models.universe.find(symbol)
    tables: list[pa.Table] = []
    chain = check(Path(home) / SERVED, lambda part: tables.append(part[2]))
    served = served_frame(tables)
    live = join_actuals(
        served[served["symbol"] == stock.symbol],
        panel,
        models.universe,
        models.models.window,
        preset=str(models.release.info["preset"]),
    )
    reference = pd.read_parquet(models.release.file("test_forecasts.parquet"))
    figures = judge(live.table, reference, MonitorSettings()).query("level == 'stock'")
    cutoffs = live.table["cutoff"]
    record: dict[str, Any] = storage.finite(
        {
            "symbol": stock.symbol,
            "release": models.release.id,
            "synthetic": panel.synthetic,
            "served": len(live.table) + live.waiting + sum(live.left_out.values()),
            "scored": len(live.table),
            "waiting": live.waiting,
            "left_out": live.left_out,
            "frozen": int(live.table["frozen"].astype(bool).sum()),
            "first": f"{cutoffs.min():%Y-%m-%d}" if len(cutoffs) else None,
            "last": f"{cutoffs.max():%Y-%m-%d}" if len(cutoffs) else None,
            "figures": figures.to_dict(orient="records"),
            "chain": chain.as_dict() | {"lacks": chain.lacks(kept)},
        }
    )
    return record
