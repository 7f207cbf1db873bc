"""``nsecast monitor``: compare the accuracy of served forecasts with the backtest."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import rich.box
import typer
from rich.table import Table

from common import storage
from common.config import read_toml
from common.console import console
from common.options import AcceptMixedDates, AsJson, Home
from common.scoring.forecast_errors import REL_MAE

if TYPE_CHECKING:
    from cluster.monitor.monitor import Report

BREACH = 3
NORMAL = ("as expected", "too few", "no backtest")
"""Verdicts that are no breach."""


def monitor(
    release: Annotated[
        str, typer.Option(help="Release to compare with: production, latest or a release id.")
    ] = "production",
    archive: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Newer files to score with; default: the newest release's prices."),
    ] = None,
    as_of: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Monitor as on the evening of that day; default: now."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Thresholds, see cluster/monitor/settings.py.")
    ] = None,
    prometheus: Annotated[
        Path | None, typer.Option(metavar="FILE.prom", help="Write gauges for the textfile collector.")
    ] = None,
    stocks: Annotated[bool, typer.Option(help="Show every stock, not only those in breach.")] = False,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Score served forecasts with the closes known since, next to the release's backtest.

    Also: coverage of the 90 % interval, Brier score of the probabilities and its skill against climatology,
    drift of the inputs, age of the prices. Each breach is logged on stderr.
    Exit codes: 0 all is as expected, or too few forecasts to judge; 3 a breach; 1 the monitor failed.
    """
    from cluster.monitor.monitor import known_prices, log_breaches, run_monitor
    from cluster.monitor.prometheus import write_prometheus
    from cluster.monitor.settings import MonitorSettings
    from common.release.forecasts import ReleasedModels
    from common.release.registry import Registry
    from serve.views.accuracy import LATEST

    settings = MonitorSettings.parse(read_toml(config) if config else {}, where=str(config))
    root = storage.home(home)
    models = ReleasedModels(Registry(root).open(release))
    panel = known_prices(root, models, archive, accept_mixed_dates=accept_mixed_dates)
    now = None if as_of is None else models.universe.clock.end_of(as_of.date()) - dt.timedelta(seconds=1)
    report = run_monitor(models, panel, root, settings, now=now)
    if as_of is None:  # shown by the server
        storage.write_json(root / LATEST, report.as_dict())
    if prometheus:
        write_prometheus(report, prometheus)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1, allow_nan=False))
    else:
        _print(report, stocks)
    log_breaches(report.breaches)
    if report.breaches:
        raise typer.Exit(BREACH)


def _print(report: "Report", stocks: bool) -> None:
    from cluster.monitor.live import REASONS

    screen = console(highlight=False)
    label = "SYNTHETIC DATA, " if report.synthetic else ""
    screen.print(f"{label}{report.release}, {report.at:%Y-%m-%d %H:%M %Z}")
    screen.print(
        f"{report.served:,} distinct forecasts served, {report.scored:,} scored, {report.waiting:,} wait for "
        "their close"
    )
    for reason, count in report.left_out.items():
        if count:
            screen.print(f"  left out: {count:,} {REASONS[reason]}")
    for part in report.damaged:
        screen.print(f"  not readable: {part}", soft_wrap=True)
    if len(report.errors):
        screen.print(_errors(report.errors, stocks))
    screen.print(_drift(report))
    screen.print("\n".join(_fresh(report)))
    if report.breaches:
        screen.print(f"{len(report.breaches)} breaches", style="bold red")
    else:
        screen.print("no breach")


def _errors(errors: pd.DataFrame, stocks: bool) -> Table:
    """Return the errors overall and by tier, with all stocks or only those in breach."""
    normal = errors["verdict"].isin(NORMAL)
    shown = errors[(errors["level"] != "stock") | ~normal | stocks]
    table = Table(
        title="served against backtest",
        title_justify="left",
        caption=REL_MAE,
        caption_justify="left",
        box=rich.box.SIMPLE_HEAD,
        show_edge=False,
    )
    for heading in (
        *("", "days", "evenings", "n", "MAE KES", "backtest", "naive", "relMAE", "backtest"),
        *("inside 90 %", "interval", "Brier", "skill", "backtest", "verdict"),
    ):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right", no_wrap=True)
    for row in shown.to_dict(orient="records"):
        table.add_row(
            row["group"] if row["level"] != "tier" else f"{row['group']} tier",
            *(str(row[name]) for name in ("horizon", "dates", "n")),
            *(_number(row[name]) for name in ("mae", "backtest_mae", "naive_mae", "rel_mae")),
            _number(row["backtest_rel_mae"]),
            _number(row["cover90"]),
            f"{_number(row['cover90_low'], 2)}-{_number(row['cover90_high'], 2)}",
            *(_number(row[name]) for name in ("brier", "brier_skill", "backtest_brier_skill")),
            row["verdict"],
            style="" if row["verdict"] in NORMAL else "bold red",
        )
    return table


def _drift(report: "Report") -> Table:
    table = Table(
        title="drift since training (PSI)", title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False
    )
    for heading in ("feature", "PSI", "by chance", "n", ""):
        table.add_column(heading, justify="left" if heading in ("feature", "") else "right")
    for drift in sorted(report.drift, key=lambda drift: -drift.psi):
        verdict = drift.word if drift.word != "large" or drift.breached else "large, but within chance"
        values = (f"{drift.psi:.3f}", f"{drift.chance:.3f}", f"{drift.n:,}")
        table.add_row(drift.feature, *values, verdict, style="bold red" if drift.breached else "")
    return table


def _fresh(report: "Report") -> Iterator[str]:
    fresh = report.fresh
    sessions = "1 session" if fresh.sessions_old == 1 else f"{fresh.sessions_old} sessions"
    yield f"prices end on {fresh.data_end}, {sessions} before {fresh.due}"
    newly = f", newly {', '.join(fresh.newly_stale)}" if fresh.newly_stale else ""
    yield f"stale: {len(fresh.stale)} of {fresh.counters} stocks{newly}"
    yield f"frozen: {fresh.frozen_share:.0%} of stocks, {fresh.frozen_share_then:.0%} at the release"
    if fresh.unknown_closes:
        yield f"closes of the last session that are copies: {fresh.unknown_closes}"


def _number(value: Any, digits: int = 3) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.{digits}f}"
