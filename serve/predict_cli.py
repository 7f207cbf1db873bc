"""``nsecast predict``: what the server would answer, without a server."""

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from serve.forecaster import Forecaster
from serve.schemas import BatchResponse, Horizon

WORDS, ERRORS = ("confidence", "model"), "MAPE / naive %"


def predict(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Counters, such as SCOM KCB; default: all of them.")
    ] = None,
    horizon: Annotated[Horizon, typer.Option(help="Trading days ahead.")] = "1d",
    as_of: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As known in the evening of that day.")
    ] = None,
    release: Annotated[str, typer.Option(help="production, latest or a release id.")] = "production",
    home: Annotated[
        Path | None, typer.Option(help="Storage root; default $NSECAST_HOME, else ./nsecast-data.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The body that the server would send.")] = False,
) -> None:
    """Answer as the server would, from a release and its own prices."""
    forecaster = Forecaster.from_release(release, home)
    wanted = symbols or forecaster.desk.universe.symbols
    response = forecaster.answer(wanted, horizon, as_of=as_of.date() if as_of else None)
    if as_json:
        typer.echo(response.model_dump_json(indent=1))
    elif response.predictions:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(response))
    for error in response.summary.errors:
        typer.echo(f"no forecast: {error.detail}", err=True)
    for note in () if as_json else _notes(response):
        typer.echo(f"note: {note}", err=True)
    if response.summary.failed and (symbols or not response.predictions):
        raise typer.Exit(1)


def _notes(response: BatchResponse) -> list[str]:
    """Each caveat once, with the symbols that it is about unless that is all of them."""
    about: dict[str, list[str]] = {}
    for each in response.predictions:
        for caveat in each.warnings:
            about.setdefault(caveat.message, []).append(each.symbol)
    everyone = len(response.predictions)
    return [
        message if len(symbols) == everyone else f"{', '.join(symbols)}: {message}"
        for message, symbols in about.items()
    ]


def _table(response: BatchResponse) -> Table:
    first = response.predictions[0]
    label = "SYNTHETIC DATA, " if any(each.code == "synthetic" for each in first.warnings) else ""
    title = f"{label}{response.release}, {first.horizon} ahead, KES"
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    table.add_column("symbol", no_wrap=True)
    table.add_column("name", no_wrap=True, overflow="ellipsis", min_width=8)
    for heading in ("last date", "last", "for", "forecast", "change %", "90 % interval", *WORDS, ERRORS):
        right = heading not in ("last date", "for", *WORDS)
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for each in response.predictions:
        bounds = each.confidence_interval
        table.add_row(
            each.symbol,
            each.name,
            str(each.last_date),
            f"{each.last_price:,.2f}",
            str(each.target_date),
            f"{each.prediction:,.2f}",
            f"{each.change_percent:+.2f}",
            f"{bounds.lower:,.2f} to {bounds.upper:,.2f}" if bounds else "-",
            each.confidence,
            each.model_version if each.forecast_source == "model" else "last price",
            f"{_percent(each.mape)} / {_percent(each.naive_mape)}",
        )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
