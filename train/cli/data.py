"""``nsecast data``: download or check a price archive, or write a synthetic one."""

import datetime as dt
import functools
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import rich.box
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from common import storage
from common.archive.columns import read_columns
from common.archive.fetch import BASE_URL, fetch_archive
from common.archive.layouts import SYNTHETIC_FILE
from common.archive.reader import Archive, read_archive
from common.console import console
from common.exchange.symbols import delisted_symbols, no_share
from common.options import AsJson, Home
from common.synthetic.market import MarketConfig, write_market
from train.cli.describe_command import describe

MIXED = 3
"""Exit code of a check that finds mixed-up dates or files."""

app = typer.Typer(no_args_is_help=True)
app.command()(describe)


@app.callback()
def data() -> None:
    """Download or check a price archive, or write a synthetic one."""


@app.command()
def check(
    archive: Annotated[
        Path, typer.Option("--archive", metavar="DIR", help="Folder with the exchange's daily CSV files.")
    ],
    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects",
            metavar="FILE.csv",
            help="List of every repaired and rejected row; default <home>/checks/ledger.csv.",
            show_default=False,
        ),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read every row, and report what was accepted, repaired and rejected, and why.

    Exit codes: 0 done; 3 dates or files look mixed up; 1 not an archive, or no row was accepted.
    """
    content = read_archive(archive)
    ledger = rejects or storage.home(home) / "checks" / "ledger.csv"
    storage.write_with(ledger, lambda path: content.ledger.to_csv(path, index=False))
    if as_json:
        typer.echo(json.dumps(report(content, archive, ledger), indent=1, allow_nan=False))
    else:
        _print(content, archive, ledger)
    if len(content.mixed):
        raise typer.Exit(MIXED)
    if content.rows.empty:
        raise typer.Exit(1)


def _print(content: Archive, archive: Path, ledger: Path) -> None:
    write = functools.partial(console().print, highlight=False, soft_wrap=True)
    if _synthetic(archive):
        write("SYNTHETIC DATA: an invented market, not the exchange's prices.", style="black on yellow")
    for title, frame in [*tables(content), ("Symbols without a listed share", no_shares(content, archive))]:
        console().print(_table(title, frame) if len(frame) else f"{title}: none\n")
    write(f"Every repaired and rejected row: {ledger}")
    if len(content.mixed):
        kinds = content.mixed["kind"].value_counts()
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        write(
            f"DATES OR FILES LOOK MIXED UP ({counts}, listed above): are day and month swapped? Training "
            "refuses this archive without --accept-mixed-dates.",
            style="bold red",
        )
    elif content.rows.empty:
        write(
            "NO ROW WAS ACCEPTED, for the reasons above. Correct date_format, decimal or the columns in "
            "columns.toml, or have it written by `nsecast data describe FILE... --replace`.",
            style="bold red",
        )
    else:
        write(f"Next: nsecast train --archive {shlex.quote(str(archive))}")


@app.command()
def fetch(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Target folder.")] = Path("nse-archive"),
    base_url: Annotated[str, typer.Option(help="The publisher's address.", hidden=True)] = BASE_URL,
) -> None:
    """Download the real archive and check every file; continues an interrupted download."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(dataset: str, done: int, total: int | None) -> None:
            if dataset not in tasks:
                tasks[dataset] = bar.add_task(dataset)
            bar.update(tasks[dataset], completed=done, total=total)

        result = fetch_archive(to, base_url=base_url, progress=show)
    typer.echo(f"{to}: {len(result.written)} files written, {len(result.present)} already there.")
    if result.unpinned:
        typer.echo(f"without a known checksum: {', '.join(result.unpinned)}")
    if result.missing:
        typer.echo(f"not in the publisher's zip: {', '.join(result.missing)}", err=True)
        raise typer.Exit(1)
    typer.echo(f"Next: nsecast data check --archive {shlex.quote(str(to))}")


@app.command()
def market(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Target folder.")],
    symbols: Annotated[int, typer.Option(min=1)] = MarketConfig().symbols,
    seed: Annotated[int, typer.Option(min=0)] = MarketConfig().seed,
    first_day: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
    last_day: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
) -> None:
    """Write a synthetic market in the archive's file format, with typical defects."""
    options = {"symbols": symbols, "seed": seed, "first_day": first_day, "last_day": last_day}
    settings = {
        name: value.date() if isinstance(value, dt.datetime) else value
        for name, value in options.items()
        if value is not None
    }
    config = MarketConfig.parse(settings, where="market")
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("trading", total=None)
        written = write_market(to, config, lambda done, of: bar.update(task, completed=done, total=of))
    counts = f"{len(written.symbols)} symbols, {written.sessions} sessions, {written.rows} rows"
    typer.echo(f"SYNTHETIC DATA: {counts} in {to}.")


def report(content: Archive, folder: Path, ledger: Path) -> dict[str, Any]:
    """Return the result of a check as JSON values; a missing date is null."""
    names = ("files", "reasons", "notes", "listed_actions", "detected_actions", "suspected_actions")
    pairs = zip((*names, "mixed_dates"), tables(content), strict=True)
    parts = {name: _records(frame) for name, (_, frame) in pairs}
    totals = content.counts[["read", "accepted", "repaired", "rejected"]].sum().astype(int).to_dict()
    totals |= {"rows": len(content.rows), "symbols": int(content.rows["symbol"].nunique())}
    where = {"archive": str(folder), "synthetic": _synthetic(folder), "ledger": str(ledger)}
    return {**where, "totals": totals, **parts, "no_share": _records(no_shares(content, folder))}


def no_shares(content: Archive, folder: Path) -> pd.DataFrame:
    """List Nairobi's delisted shares and rights in an archive: ``symbol, is, name, rows, first, last``."""
    rows = content.rows.groupby("symbol")["date"].agg(rows="size", first="min", last="max").reset_index()
    rows.insert(1, "is", rows["symbol"].map(no_share))
    rows.insert(2, "name", rows["symbol"].map(lambda symbol: delisted_symbols().get(symbol, "")))
    nairobi = read_columns(folder) is None and not _synthetic(folder)
    return rows[rows["is"].notna() & nairobi].reset_index(drop=True)


def tables(content: Archive) -> list[tuple[str, pd.DataFrame]]:
    """Return the tables of a check, each with its title."""
    actions, listed = content.actions, content.actions["listed"]
    reasons = content.ledger.assign(reason=content.ledger["reason"].map(_general).astype("str"))
    reasons = reasons.groupby(["outcome", "reason"]).size().rename("rows").reset_index()
    return [
        ("Rows by file", content.counts),
        ("Repairs and rejections by reason", reasons.sort_values("rows", ascending=False, kind="stable")),
        ("Days and files", content.notes),
        ("Corporate actions that are listed", _without(actions[listed], "file", "line")),
        ("Corporate actions detected, not listed", _without(actions[~listed], "terms", "evidence")),
        ("Suspected bonus issues, treated as returns unless listed", content.suspects),
        ("Days on which dates or files look mixed up", content.mixed),
    ]


def _without(actions: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return actions.drop(columns=["listed", *columns]).reset_index(drop=True)


def _synthetic(folder: Path) -> bool:
    return (folder / SYNTHETIC_FILE).exists()


def _general(reason: str) -> str:
    """Return a reason without its details, so that similar ones are counted together."""
    general = {"duplicate": "duplicate of an earlier row", "conflicts": "conflicts with an earlier row"}
    start = next((word for word in general if reason.startswith(word)), None)
    return general[start] if start else reason.split(": '")[0]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    days = {name: frame[name].dt.strftime("%Y-%m-%d") for name in frame.select_dtypes("datetime")}
    records: list[dict[str, Any]] = json.loads(frame.assign(**days).to_json(orient="records"))
    return records


def _table(title: str, frame: pd.DataFrame) -> Table:
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for name in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[name])
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*map(_cell, row))
    return table


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "-"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return escape(f"{value:,}" if isinstance(value, int) else str(value))
