"""``nsecast monitor`` and ``nsecast track-record``: the accuracy of served forecasts."""

import datetime as dt
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from common import storage
from common.config import read_file, read_toml
from common.console import console
from common.errors import ConfigError
from common.options import AcceptMixedDates, AsJson, Home
from common.scoring.forecast_errors import REL_MAE

if TYPE_CHECKING:
    from cluster.monitor.monitor import Report
    from common.prices.panel import Panel
    from common.release.released_models import ReleasedModels

log = logging.getLogger(__name__)
BREACH = BROKEN = 3
NORMAL = ("as expected", "too few", "no backtest")
"""Verdicts that are no breach."""
LEFT_ALIGNED = ("", "verdict", "feature")
Release = Annotated[str, typer.Option(help="Release to compare with: production, latest or a release id.")]
Archive = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Newer files to score with; default: the newest release's prices."),
]


def monitor(
    release: Release = "production",
    archive: Archive = None,
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
    from cluster.monitor.monitor import run_monitor
    from cluster.monitor.prometheus import write_prometheus
    from cluster.monitor.settings import MonitorSettings
    from serve.views.accuracy import LATEST

    settings = MonitorSettings.parse(read_toml(config) if config else {}, where=str(config))
    root = storage.home(home)
    models, panel = _opened(root, release, archive, accept_mixed_dates)
    now = None if as_of is None else models.universe.clock.end_of(as_of.date()) - dt.timedelta(seconds=1)
    report = run_monitor(models, panel, root, settings, now=now)
    if as_of is None:  # shown by the server
        storage.write_json(root / LATEST, report.as_dict())
    if prometheus:
        write_prometheus(report, prometheus)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1, allow_nan=False))
    else:
        _print_report(report, stocks)
    for breach in report.breaches:
        log.warning(
            "breach kind=%s what=%r got=%.4g limit=%.4g", breach.kind, breach.what, breach.got, breach.limit
        )
    if report.breaches:
        raise typer.Exit(BREACH)


def track_record(
    symbol: Annotated[str, typer.Argument(help="A stock, such as SCOM.")],
    kept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIGEST|FILE", help="A head noted earlier, or a file with heads, such as --json."
        ),
    ] = None,
    release: Release = "production",
    archive: Archive = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Score every served forecast of a stock next to the last price, and check the hash chain of the log.

    Rows that are not in the chain are excluded. Keep the printed head somewhere else: with --kept it shows
    later whether the log was rewritten.
    Exit codes: 0 the chain is intact; 3 it is broken, with the place; 1 unknown stock or release.
    """
    from cluster.monitor.track_record import track_record as record_of

    root = storage.home(home)
    digests = [digest for value in kept or [] for digest in _digests(value)]
    models, panel = _opened(root, release, archive, accept_mixed_dates)
    record = record_of(symbol.strip().upper(), models, panel, root, kept=digests)
    if as_json:
        typer.echo(json.dumps(record, indent=1, allow_nan=False))
    else:
        _print_record(record)
    if record["chain"]["problems"] or record["chain"]["lacks"]:
        raise typer.Exit(BROKEN)


def _opened(
    root: Path, release: str, archive: Path | None, accept_mixed_dates: bool
) -> "tuple[ReleasedModels, Panel]":
    """Return the release to compare with, and the prices to score with."""
    from cluster.monitor.monitor import known_prices
    from common.release.registry import Registry
    from common.release.released_models import ReleasedModels

    models = ReleasedModels(Registry(root).open(release))
    return models, known_prices(root, models, archive, accept_mixed_dates=accept_mixed_dates)


def _digests(kept: str) -> list[str]:
    """Return the argument if it is a digest, else the digests in the file of an earlier ``--json``."""
    if re.fullmatch(r"[0-9a-f]{64}", kept.strip().lower()):
        return [kept.strip().lower()]
    if not Path(kept).exists():
        raise ConfigError(f"--kept: {kept}: neither a digest (64 hex digits) nor a file. Check it.")
    try:
        return [str(head) for head in json.loads(read_file(Path(kept)))["chain"]["heads"].values()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{kept}: need the output of `nsecast track-record SYMBOL --json`.") from None


def _print_report(report: "Report", stocks: bool) -> None:
    screen = console(highlight=False)
    screen.print(f"{_label(report.synthetic)}{report.release}, {report.at:%Y-%m-%d %H:%M %Z}")
    _print_counts(screen, f"{report.served:,} distinct", report.scored, report.waiting, report.left_out)
    for part in report.damaged:
        screen.print(f"  not readable: {part}", soft_wrap=True)
    if len(report.errors):
        normal = report.errors["verdict"].isin(NORMAL)
        shown = report.errors[(report.errors["level"] != "stock") | ~normal | stocks]
        screen.print(_errors(shown.to_dict(orient="records")))
    drifts = _table("drift since training (PSI)", "feature", "PSI", "by chance", "n", "verdict")
    for drift in sorted(report.drift, key=lambda drift: -drift.psi):
        verdict = drift.word if drift.word != "large" or drift.breached else "large, but within chance"
        values = (f"{drift.psi:.3f}", f"{drift.chance:.3f}", f"{drift.n:,}")
        drifts.add_row(drift.feature, *values, verdict, style="bold red" if drift.breached else "")
    screen.print(drifts)
    screen.print("\n".join(_fresh(report)))
    if report.breaches:
        screen.print(f"{len(report.breaches)} breaches", style="bold red")
    else:
        screen.print("no breach")


def _print_record(record: dict[str, Any]) -> None:
    screen, chain = console(highlight=False), record["chain"]
    served = f"{_label(record['synthetic'])}{record['symbol']}: {record['served']:,}"
    _print_counts(screen, served, record["scored"], record["waiting"], record["left_out"])
    if record["first"]:
        screen.print(f"  scored: from the evenings of {record['first']} to {record['last']}")
    if record["frozen"]:
        screen.print(f"  in no figure: {record['frozen']:,} of frozen windows")
    if record["figures"]:
        screen.print(_errors(record["figures"]))
    for path in chain["unchained"]:
        screen.print(f"  not in the chain, and not counted: {path}", soft_wrap=True)
    problems = chain["problems"] + [f"head {digest} is no longer in it" for digest in chain["lacks"]]
    for problem in problems:
        screen.print(f"  broken at {problem}", soft_wrap=True, style="bold red")
    since = f" since {chain['oldest']}, {chain['parts']:,} parts" if chain["parts"] else ""
    word = "broken" if problems else chain["verdict"]
    screen.print(f"chain: {word}{since}", style="bold red" if problems else "")
    if chain["head"]:
        screen.print(f"head: {chain['head']}", soft_wrap=True)


def _label(synthetic: bool) -> str:
    return "SYNTHETIC DATA, " if synthetic else ""


def _print_counts(screen: Console, served: str, scored: int, waiting: int, left_out: dict[str, int]) -> None:
    from cluster.monitor.live import REASONS

    screen.print(f"{served} forecasts served, {scored:,} scored, {waiting:,} wait for their close")
    for reason, count in left_out.items():
        if count:
            screen.print(f"  left out: {count:,} {REASONS[reason]}")


def _errors(rows: list[dict[str, Any]]) -> Table:
    """Return rows of `cluster.monitor.served_errors.judge` as a table; those in breach are red."""
    table = _table(
        "served against backtest",
        *("", "days", "evenings", "n", "MAE KES", "backtest", "naive", "relMAE", "backtest"),
        *("inside 90 %", "interval", "Brier", "skill", "backtest", "verdict"),
    )
    table.caption, table.caption_justify = REL_MAE, "left"
    for row in rows:
        table.add_row(
            row["group"] if row["level"] != "tier" else f"{row['group']} tier",
            *(str(row[name]) for name in ("horizon", "dates", "n")),
            *(_number(row[name]) for name in ("mae", "backtest_mae", "naive_mae", "rel_mae")),
            *(_number(row[name]) for name in ("backtest_rel_mae", "cover90")),
            f"{_number(row['cover90_low'], 2)}-{_number(row['cover90_high'], 2)}",
            *(_number(row[name]) for name in ("brier", "brier_skill", "backtest_brier_skill")),
            row["verdict"],
            style="" if row["verdict"] in NORMAL else "bold red",
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in LEFT_ALIGNED else "right", no_wrap=True)
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
