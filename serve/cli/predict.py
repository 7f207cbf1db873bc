"""``nsecast predict``: the server's forecasts, without a server."""

import datetime as dt
from typing import Annotated, cast, get_args

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from common.console import console
from common.options import Home, ReleaseName
from serve.forecaster import Forecaster
from serve.schemas.forecast import BatchResponse, Horizon, PredictResponse, as_horizon

ERRORS = "MAPE / naive %"
PROBABILITIES = "up/same/down %"
NARROW = ("symbol", "last", "for", "forecast", "change %", "90 % interval", "confidence")
MIDDLE = (*NARROW, "expected %", PROBABILITIES)
WIDE = (
    *("symbol", "name", "last date", "last", "for", "forecast", "change %", "expected %", PROBABILITIES),
    *("90 % interval", "confidence", "model", ERRORS),
)
NUMBERS = ("last", "forecast", "change %", "expected %", PROBABILITIES, "90 % interval", ERRORS)
HORIZONS = "|".join(get_args(Horizon))


def parse_horizon(text: str) -> Horizon:
    """Return the horizon of an option, such as ``5`` or ``5D``; raises BadParameter for another one."""
    horizon = as_horizon(text)
    if horizon not in get_args(Horizon):
        raise typer.BadParameter(f"got {text[:20]!r}, need one of {HORIZONS.replace('|', ', ')}.")
    return cast(Horizon, horizon)


def predict(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(help="Stocks by symbol or name, such as SCOM KCB; default: all of them."),
    ] = None,
    horizon: Annotated[
        Horizon, typer.Option(parser=parse_horizon, metavar=HORIZONS, help="Trading days ahead.")
    ] = "1d",
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
        _print(response)
    for error in response.summary.errors:
        typer.echo(f"no forecast: {error.detail}", err=True)
    for note in () if as_json else _notes(response):
        typer.echo(f"note: {note}", err=True)
    if response.summary.failed and (symbols or not response.predictions):
        raise typer.Exit(1)


def _print(response: BatchResponse) -> None:
    """Print the table with the most columns that fit the terminal; all of them where it is not one."""
    screen = console()
    tables = [_table(response, headings, wide=headings == WIDE) for headings in (WIDE, MIDDLE, NARROW)]
    widths = [Console(width=1_000).measure(table).maximum for table in tables]
    fits = (at for at, width in enumerate(widths) if width <= screen.width or not screen.is_terminal)
    shown = next(fits, len(tables) - 1)
    screen.width = max(screen.width, widths[shown])
    screen.print(tables[shown])
    if shown:
        typer.echo(f"more: widen the terminal to {widths[0]} columns, or use --json", err=True)


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


def _table(response: BatchResponse, headings: tuple[str, ...], *, wide: bool) -> Table:
    """Build the table of forecasts with the columns ``headings``."""
    first = response.predictions[0]
    label = "SYNTHETIC DATA, " if any(caveat.code == "synthetic" for caveat in first.warnings) else ""
    title = f"{label}{response.release}, {first.horizon} ahead, KES"
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=wide, show_edge=wide)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in NUMBERS else "left", no_wrap=True)
    for forecast in response.predictions:
        cells = _cells(forecast)
        table.add_row(*(cells[heading] for heading in headings))
    return table


def _cells(forecast: PredictResponse) -> dict[str, str]:
    bounds, expected = forecast.confidence_interval, forecast.expected_change_percent
    probabilities = (forecast.probability_up, forecast.probability_unchanged, forecast.probability_down)
    return {
        "symbol": forecast.symbol,
        "name": forecast.name or "-",
        "last date": str(forecast.last_date),
        "last": f"{forecast.last_price:,.2f}",
        "for": str(forecast.target_date),
        "forecast": f"{forecast.prediction:,.2f}",
        "change %": f"{forecast.change_percent:+.2f}",
        "expected %": "-" if expected is None else f"{expected:+.2f}",
        PROBABILITIES: "-"
        if None in probabilities
        else "/".join(f"{100 * (p or 0):.0f}" for p in probabilities),
        "90 % interval": f"{bounds.lower:,.2f} to {bounds.upper:,.2f}" if bounds else "-",
        "confidence": forecast.confidence,
        "model": forecast.model_version if forecast.forecast_source == "model" else "last price",
        ERRORS: f"{_percent(forecast.mape)} / {_percent(forecast.naive_mape)}",
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
