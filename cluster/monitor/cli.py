"""``nsecast monitor``: are served forecasts as good as the backtest promised?"""

import datetime as dt
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from common import storage
from common.config import read_toml
from common.options import AcceptMixedDates, AsJson, Home
from common.scoring.metrics import REL_MAE

if TYPE_CHECKING:
    from cluster.monitor.monitor import Report

BREACH = 3


def monitor(
    release: Annotated[
        str, typer.Option(help="Whose backtest is the measure: production, latest or a release id.")
    ] = "production",
    archive: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Newer files to score with; default: the newest release's prices."),
    ] = None,
    as_of: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Look as on the evening of that day; default: now."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Thresholds, see cluster/monitor/settings.py.")
    ] = None,
    prometheus: Annotated[
        Path | None, typer.Option(metavar="FILE.prom", help="Gauges for the textfile collector.")
    ] = None,
    stocks: Annotated[bool, typer.Option(help="A line for every stock, not only those in breach.")] = False,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Score served forecasts with the closes known since, next to the release's backtest.

    Also: coverage of the 90 % interval, drift of the inputs, age of the prices. Each breach is a line on
    stderr.
    Exit codes: 0 all is as expected, or too few forecasts to tell; 3 a breach; 1 the monitor failed.
    """
    from cluster.monitor.monitor import known_prices, look, say
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
    found = look(models, panel, root, settings, now=now)
    if as_of is None:  # the page that is served shows it
        storage.write_json(root / LATEST, found.as_dict())
    if prometheus:
        write_prometheus(found, prometheus)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1, allow_nan=False))
    else:
        _print(found, stocks)
    say(found.breaches)
    if found.breaches:
        raise typer.Exit(BREACH)


def _print(found: "Report", stocks: bool) -> None:
    from cluster.monitor.live import REASONS

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    label = "SYNTHETIC DATA, " if found.synthetic else ""
    console.print(f"{label}{found.release}, {found.at:%Y-%m-%d %H:%M %Z}")
    console.print(
        f"{found.served:,} distinct forecasts served, {found.scored:,} scored, {found.waiting:,} wait for "
        "their close"
    )
    for reason, count in found.left_out.items():
        if count:
            console.print(f"  left out: {count:,} {REASONS[reason]}")
    for part in found.damaged:
        console.print(f"  not readable: {part}", soft_wrap=True)
    if len(found.errors):
        console.print(_errors(found.errors, stocks))
    console.print(_drift(found))
    console.print("\n".join(_fresh(found)))
    if found.breaches:
        console.print(f"{len(found.breaches)} breaches", style="bold red")
    else:
        console.print("no breach")


def _errors(errors: pd.DataFrame, stocks: bool) -> Table:
    """Overall and by tier; of the stocks all, or those in breach."""
    usual = errors["verdict"].isin(["as expected", "too few", "no backtest"])
    shown = errors[(errors["level"] != "stock") | ~usual | stocks]
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
        *("inside 90 %", "interval", "verdict"),
    ):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right", no_wrap=True)
    for row in shown.to_dict(orient="records"):
        good = row["verdict"] in ("as expected", "too few", "no backtest")
        table.add_row(
            row["group"] if row["level"] != "tier" else f"{row['group']} tier",
            *(str(row[name]) for name in ("horizon", "dates", "n")),
            *(_number(row[name]) for name in ("mae", "backtest_mae", "naive_mae", "rel_mae")),
            _number(row["backtest_rel_mae"]),
            _number(row["cover90"]),
            f"{_number(row['cover90_low'], 2)}-{_number(row['cover90_high'], 2)}",
            row["verdict"],
            style="" if good else "bold red",
        )
    return table


def _drift(found: "Report") -> Table:
    table = Table(
        title="drift since training (PSI)", title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False
    )
    for heading in ("feature", "PSI", "by chance", "n", ""):
        table.add_column(heading, justify="left" if heading in ("feature", "") else "right")
    for each in sorted(found.drift, key=lambda each: -each.psi):
        word = each.word if each.word != "large" or each.breached else "large, but so may chance be"
        values = (f"{each.psi:.3f}", f"{each.chance:.3f}", f"{each.n:,}")
        table.add_row(each.feature, *values, word, style="bold red" if each.breached else "")
    return table


def _fresh(found: "Report") -> Iterator[str]:
    fresh = found.fresh
    sessions = "1 session" if fresh.sessions_old == 1 else f"{fresh.sessions_old} sessions"
    yield f"prices end on {fresh.data_end}, {sessions} before {fresh.due}"
    newly = f", newly {', '.join(fresh.newly_stale)}" if fresh.newly_stale else ""
    yield f"stale: {len(fresh.stale)} of {fresh.counters} stocks{newly}"
    yield f"frozen: {fresh.frozen_share:.0%} of stocks, {fresh.frozen_share_then:.0%} at the release"
    if fresh.unknown_closes:
        yield f"closes of the last session that are copies: {fresh.unknown_closes}"


def _number(value: Any, digits: int = 3) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.{digits}f}"
