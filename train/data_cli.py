"""``nsecast data``: look at a price archive before anything is trained on it."""

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

from common import storage
from common.data.archive import Archive, read_archive
from common.data.market_files import SYNTHETIC_FILE

app = typer.Typer(help="Look at a price archive.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Look at a price archive."""


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
            help="Where to list every repaired and rejected row; default checks/ledger.csv in NSECAST_HOME.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Read every row and say what was accepted, repaired and rejected, and why."""
    found = read_archive(archive)
    ledger = rejects or storage.home() / "checks" / "ledger.csv"
    storage.write_with(ledger, lambda path: found.ledger.to_csv(path, index=False))
    if as_json:
        typer.echo(json.dumps(report(found, archive, ledger), indent=1, allow_nan=False))
        return
    console = rich.console.Console(width=None if sys.stdout.isatty() else 160)
    if _synthetic(archive):
        console.print(
            "SYNTHETIC DATA: an invented market, not the exchange's prices.", style="black on yellow"
        )
    for title, frame in tables(found):
        console.print(_table(title, frame))
    console.print(f"Repaired and rejected rows, one by one: {ledger}", highlight=False, soft_wrap=True)


def report(found: Archive, folder: Path, ledger: Path) -> dict[str, Any]:
    """The whole check as plain JSON values; a missing date is null."""
    names = ("files", "reasons", "notes", "actions")
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
    """The four tables of a check, each with its title."""
    reasons = found.ledger.assign(reason=found.ledger["reason"].map(_general).astype("str"))
    reasons = reasons.groupby(["outcome", "reason"]).size().rename("rows").reset_index()
    return [
        ("Rows by file", found.counts),
        ("Repairs and rejections by reason", reasons.sort_values("rows", ascending=False, kind="stable")),
        ("Days and files", found.notes),
        ("Splits, bonus issues, consolidations", found.actions),
    ]


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
    return json.loads(frame.assign(**days).to_json(orient="records"))


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
