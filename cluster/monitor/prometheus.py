"""The monitor's report as Prometheus gauges for the node exporter's textfile collector."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from cluster.monitor.monitor import Report
from common.errors import ConfigError

GROUP = ("level", "group", "horizon")
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "last_run_timestamp_seconds": ("When the monitor last ran.", ()),
    "release_info": ("1 for the release whose backtest is the reference.", ("release",)),
    "forecasts": (
        "Served forecasts in the window by state: scored, waiting, or why they are left out.",
        ("state",),
    ),
    "dates": ("Evenings with a scored forecast.", GROUP),
    "mae_kes": ("Mean absolute error, KES; source live, naive or backtest.", (*GROUP, "source")),
    "rel_mae": (
        "Absolute error over naive's, in percent; source live or backtest.",
        (*GROUP, "source"),
    ),
    "error_ratio": ("Live absolute error over the backtest's on the same stocks.", GROUP),
    "coverage90": (
        "Share inside the 90 % interval: live, backtest, and low and high of live's binomial interval.",
        (*GROUP, "source"),
    ),
    "brier": ("Brier score of the probabilities of up, unchanged and down, 0 to 2.", GROUP),
    "brier_skill": (
        "1 - Brier score / climatology's; source live or backtest.",
        (*GROUP, "source"),
    ),
    "q_value": ("Adjusted p-value of the test error, skill or coverage.", (*GROUP, "test")),
    "psi": ("Population stability index of a feature.", ("feature",)),
    "psi_chance": ("Index that chance alone exceeds in a share alpha of cases.", ("feature",)),
    "sessions_old": ("Sessions whose closes should be known and are not.", ()),
    "stale_stocks": ("Stocks without a price for five sessions; newly: since the release.", ("since",)),
    "frozen_share": ("Share of stocks whose price did not move in their last window.", ("when",)),
    "unknown_closes": ("Stocks whose close of the last session is a copy of the day before.", ()),
    "damaged_parts": ("Parts of the log of served forecasts that could not be read.", ()),
    "breaches": ("Figures beyond their threshold, by kind.", ("kind",)),
}
"""Help and labels of each gauge; names begin with ``nsecast_monitor_``; undefined figures are omitted."""
COLUMNS = {
    ("mae_kes", "live"): "mae",
    ("mae_kes", "naive"): "naive_mae",
    ("mae_kes", "backtest"): "backtest_mae",
    ("rel_mae", "live"): "rel_mae",
    ("rel_mae", "backtest"): "backtest_rel_mae",
    ("coverage90", "live"): "cover90",
    ("coverage90", "backtest"): "backtest_cover90",
    ("coverage90", "low"): "cover90_low",
    ("coverage90", "high"): "cover90_high",
    ("brier_skill", "live"): "brier_skill",
    ("brier_skill", "backtest"): "backtest_brier_skill",
    ("q_value", "error"): "q_error",
    ("q_value", "skill"): "q_skill",
    ("q_value", "coverage"): "q_coverage",
}
"""Columns of `cluster.monitor.served_errors.judge` by gauge and value of its last label."""
KINDS = ("error", "skill", "coverage", "drift", "freshness")


def write_prometheus(report: Report, path: Path) -> None:
    """Write the gauges atomically; raises ConfigError unless the name ends in ``.prom``."""
    import prometheus_client

    if path.suffix != ".prom":
        raise ConfigError(f"{path}: the collector reads names that end in .prom only. Rename it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    registry = prometheus_client.CollectorRegistry()
    gauges = {
        name: prometheus_client.Gauge(f"nsecast_monitor_{name}", text, labels, registry=registry)
        for name, (text, labels) in GAUGES.items()
    }
    for name, labels, value in _samples(report):
        if not pd.isna(value):
            gauge = gauges[name].labels(*labels) if labels else gauges[name]
            gauge.set(float(value))
    prometheus_client.write_to_textfile(str(path), registry)


def _samples(report: Report) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Yield the name of a gauge, the values of its labels, and its value."""
    yield "last_run_timestamp_seconds", (), report.at.timestamp()
    yield "release_info", (report.release,), 1
    for state, count in ({"scored": report.scored, "waiting": report.waiting} | report.left_out).items():
        yield "forecasts", (state,), count
    for row in report.errors.to_dict(orient="records"):
        group = (row["level"], row["group"], f"{row['horizon']}d")
        for name in ("dates", "error_ratio", "brier"):
            yield name, group, row[name]
        for (name, source), column in COLUMNS.items():
            yield name, (*group, source), row[column]
    for drift in report.drift:
        yield "psi", (drift.feature,), drift.psi
        yield "psi_chance", (drift.feature,), drift.chance
    fresh = report.fresh
    yield "sessions_old", (), fresh.sessions_old
    yield "stale_stocks", ("ever",), len(fresh.stale)
    yield "stale_stocks", ("newly",), len(fresh.newly_stale)
    yield "frozen_share", ("now",), fresh.frozen_share
    yield "frozen_share", ("release",), fresh.frozen_share_then
    yield "unknown_closes", (), fresh.unknown_closes
    yield "damaged_parts", (), len(report.damaged)
    for kind in KINDS:
        yield "breaches", (kind,), sum(breach.kind == kind for breach in report.breaches)
