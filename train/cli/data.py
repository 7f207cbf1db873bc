"""``nsecast data``: get a price archive, look at it, or make a synthetic one."""

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import rich.box
import rich.console
import rich.markup
import rich.table
import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from common import storage
from common.archive.fetch import BASE_URL, fetch_archive
from common.archive.layouts import SYNTHETIC_FILE
from common.archive.reader import Archive, read_archive
from common.options import AsJson, Home
from common.synthetic.market import MarketConfig, write_market

MIXED = 3
"""Exit code of a check that finds dates or files mixed up."""

app = typer.Typer(help="Get a price archive, look at it, or make a synthetic one.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Get a price archive, look at it, or make a synthetic one."""


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
            help="Where to list every repaired and rejected row; default <home>/checks/ledger.csv.",
            show_default=False,
        ),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read every row and say what was accepted, repaired and rejected, and why.

    Exit codes: 0 done; 3 dates or files look mixed up; 1 not an archive.
    """
    found = read_archive(archive)
    ledger = rejects or storage.home(home) / "checks" / "ledger.csv"
    storage.write_with(ledger, lambda path: found.ledger.to_csv(path, index=False))
    if as_json:
        typer.echo(json.dumps(report(found, archive, ledger), indent=1, allow_nan=False))
    else:
        _print(found, archive, ledger)
    if len(found.mixed):
        raise typer.Exit(MIXED)


def _print(found: Archive, archive: Path, ledger: Path) -> None:
    console = rich.console.Console(width=None if sys.stdout.isatty() else 160)
    if _synthetic(archive):
        console.print(
            "SYNTHETIC DATA: an invented market, not the exchange's prices.", style="black on yellow"
        )
    for title, frame in tables(found):
        console.print(_table(title, frame) if len(frame) else f"{title}: none\n")
    console.print(f"Repaired and rejected rows, one by one: {ledger}", highlight=False, soft_wrap=True)
    if len(found.mixed):
        counts = ", ".join(f"{count} {kind}" for kind, count in found.mixed["kind"].value_counts().items())
        console.print(
            f"DATES OR FILES LOOK MIXED UP ({counts}, listed above): are day and month swapped? Training "
            "refuses this archive, unless with --accept-mixed-dates.",
            style="bold red",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def fetch(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the files go.")] = Path(
        "nse-archive"
    ),
    base_url: Annotated[str, typer.Option(help="The publisher's address.", hidden=True)] = BASE_URL,
) -> None:
    """Download the real archive; continues where it broke off and checks every file."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=rich.console.Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(dataset: str, held: int, total: int | None) -> None:
            if dataset not in tasks:
                tasks[dataset] = bar.add_task(dataset)
            bar.update(tasks[dataset], completed=held, total=total)

        found = fetch_archive(to, base_url=base_url, progress=show)
    typer.echo(f"{to}: {len(found.written)} files written, {len(found.present)} already there.")
    if found.unpinned:
        typer.echo(f"without a known checksum: {', '.join(found.unpinned)}")
    if found.missing:
        typer.echo(f"not in the publisher's zip: {', '.join(found.missing)}", err=True)
        raise typer.Exit(1)
    typer.echo(f"Next: nsecast data check --archive {to}")


@app.command()
def market(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the files go.")],
    symbols: Annotated[int, typer.Option(min=1)] = MarketConfig().symbols,
    seed: Annotated[int, typer.Option(min=0)] = MarketConfig().seed,
    first_day: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
    last_day: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
) -> None:
    """Write a synthetic market in the archive's own file format, defects included."""
    days = {
        name: day.date()
        for name, day in (("first_day", first_day), ("last_day", last_day))
        if day is not None
    }
    config = MarketConfig.parse({"symbols": symbols, "seed": seed, **days}, where="market")
    with Progress(console=rich.console.Console(stderr=True), transient=True) as bar:
        task = bar.add_task("trading", total=None)
        made = write_market(to, config, lambda done, of: bar.update(task, completed=done, total=of))
    typer.echo(
        f"SYNTHETIC DATA: {len(made.symbols)} symbols, {made.sessions} sessions, {made.rows} rows in {to}."
    )


def report(found: Archive, folder: Path, ledger: Path) -> dict[str, Any]:
    """The whole check as plain JSON values; a missing date is null."""
    names = (
        *("files", "reasons", "notes", "listed_actions", "detected_actions", "suspected_actions"),
        "mixed_dates",
    )
    parts = {name: _records(frame) for name, (_, frame) in zip(names, tables(found), strict=True)}
    totals = found.counts[["read", "accepted", "repaired", "rejected"]].sum().to_dict()
    symbols = int(found.rows["symbol"].nunique())
    totals = {name: int(total) for name, total in totals.items()} | {
        "rows": len(found.rows),
        "symbols": symbols,
    }
    where = {"archive": str(folder), "synthetic": _synthetic(folder), "ledger": str(ledger)}
    return {**where, "totals": totals, **parts}


def tables(found: Archive) -> list[tuple[str, pd.DataFrame]]:
    """The tables of a check, each with its title."""
    actions = found.actions
    others = actions[~actions["listed"]]
    reasons = found.ledger.assign(reason=found.ledger["reason"].map(_general).astype("str"))
    reasons = reasons.groupby(["outcome", "reason"]).size().rename("rows").reset_index()
    return [
        ("Rows by file", found.counts),
        ("Repairs and rejections by reason", reasons.sort_values("rows", ascending=False, kind="stable")),
        ("Days and files", found.notes),
        ("Corporate actions that are listed", _without(actions[actions["listed"]], "file", "line")),
        ("Corporate actions detected by the price, not listed", _without(others, "terms", "evidence")),
        ("Suspected bonus issues, left as returns: list them or not", found.suspects),
        ("Days on which dates or files look mixed up", found.mixed),
    ]


def _without(actions: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return actions.drop(columns=["listed", *columns]).reset_index(drop=True)


def _synthetic(folder: Path) -> bool:
    return (folder / SYNTHETIC_FILE).exists()


def _general(reason: str) -> str:
    """A reason without its particulars, so that like ones are counted together."""
    for word in ("duplicate", "conflicts"):
        if reason.startswith(word):
            return {"duplicate": "duplicate of an earlier row", "conflicts": "conflicts with an earlier row"}[
                word
            ]
    return reason.split(": '")[0]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    days = {name: frame[name].dt.strftime("%Y-%m-%d") for name in frame.select_dtypes("datetime")}
    records: list[dict[str, Any]] = json.loads(frame.assign(**days).to_json(orient="records"))
    return records


def _table(title: str, frame: pd.DataFrame) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
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
    return rich.markup.escape(f"{value:,}" if isinstance(value, int) else str(value))
