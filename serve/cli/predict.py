"""``nsecast predict``: the server's forecasts, without a server."""

import datetime as dt
import sys
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from common.options import Home, ReleaseName
from serve.forecaster import Forecaster
from serve.schemas.forecast import BatchResponse, Horizon, PredictResponse

ERRORS = "MAPE / naive %"
NARROW = ("symbol", "last", "for", "forecast", "change %", "90 % interval", "confidence")
WIDE = (
    *("symbol", "name", "last date", "last", "for", "forecast", "change %", "90 % interval", "confidence"),
    *("model", ERRORS),
)
NUMBERS = ("last", "forecast", "change %", "90 % interval", ERRORS)
FITS_WIDE = 150
"""Width of the full table with long names."""


def predict(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Stocks, such as SCOM KCB; default: all of them.")
    ] = None,
    horizon: Annotated[Horizon, typer.Option(help="Trading days ahead.")] = "1d",
    as_of: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As known on the evening of that day.")
    ] = None,
    release: ReleaseName = "production",
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="The body of the server's response.")] = False,
) -> None:
    """Forecast as the server does, from a release and its own prices."""
    forecaster = Forecaster.from_release(release, home)
    response = forecaster.answer(
        symbols or forecaster.loaded.universe.symbols, horizon, as_of=as_of.date() if as_of else None
    )
    if as_json:
        typer.echo(response.model_dump_json(indent=1))
    elif response.predictions:
        console = Console(width=None if sys.stdout.isatty() else 160)
        wide = console.width >= FITS_WIDE
        console.print(_table(response, wide=wide))
        if not wide:
            typer.echo(f"names, models and errors: from {FITS_WIDE} columns on, or with --json", err=True)
    for error in response.summary.errors:
        typer.echo(f"no forecast: {error.detail}", err=True)
    for note in () if as_json else _notes(response):
        typer.echo(f"note: {note}", err=True)
    if response.summary.failed and (symbols or not response.predictions):
        raise typer.Exit(1)


def _notes(response: BatchResponse) -> list[str]:
    """Return each caveat once, with its symbols unless it is about all of them."""
    about: dict[str, list[str]] = {}
    for forecast in response.predictions:
        for caveat in forecast.warnings:
            about.setdefault(caveat.message, []).append(forecast.symbol)
    return [
        message if len(symbols) == len(response.predictions) else f"{', '.join(symbols)}: {message}"
        for message, symbols in about.items()
    ]


def _table(response: BatchResponse, *, wide: bool) -> Table:
    """Build the table of forecasts; the narrow one has only the essential columns."""
    first = response.predictions[0]
    label = "SYNTHETIC DATA, " if any(caveat.code == "synthetic" for caveat in first.warnings) else ""
    title = f"{label}{response.release}, {first.horizon} ahead, KES"
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=wide, show_edge=wide)
    headings = WIDE if wide else NARROW
    for heading in headings:
        table.add_column(heading, justify="right" if heading in NUMBERS else "left", no_wrap=True)
    for forecast in response.predictions:
        cells = _cells(forecast)
        table.add_row(*(cells[heading] for heading in headings))
    return table


def _cells(forecast: PredictResponse) -> dict[str, str]:
    bounds = forecast.confidence_interval
    return {
        "symbol": forecast.symbol,
        "name": forecast.name or "-",
        "last date": str(forecast.last_date),
        "last": f"{forecast.last_price:,.2f}",
        "for": str(forecast.target_date),
        "forecast": f"{forecast.prediction:,.2f}",
        "change %": f"{forecast.change_percent:+.2f}",
        "90 % interval": f"{bounds.lower:,.2f} to {bounds.upper:,.2f}" if bounds else "-",
        "confidence": forecast.confidence,
        "model": forecast.model_version if forecast.forecast_source == "model" else "last price",
        ERRORS: f"{_percent(forecast.mape)} / {_percent(forecast.naive_mape)}",
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
