"""``nsecast forecast``: what a release says about tomorrow, without a server."""

import datetime as dt
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from common import storage
from common.errors import NsecastError
from common.model.registry import Registry
from common.model.released import Forecast, ReleasedModels


def forecast(
    symbols: Annotated[list[str] | None, typer.Argument(help="Counters; default: all of them.")] = None,
    release: Annotated[str, typer.Option(help="production, latest or a release id.")] = "production",
    horizon: Annotated[int | None, typer.Option(help="Trading days ahead; default: the nearest.")] = None,
    as_of: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As known in the evening of that day.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Storage root; default $NSECAST_HOME, else ./nsecast-data.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """Forecast from a published release and its own prices."""
    models = ReleasedModels(Registry(storage.home(home)).open(release))
    wanted = [symbol.upper() for symbol in symbols] if symbols else list(models.universe.symbols)
    found: list[Forecast] = []
    refused: dict[str, str] = {}
    for symbol in wanted:
        try:
            found += models.forecast(symbol, as_of=as_of.date() if as_of else None)
        except NsecastError as error:
            refused[symbol] = error.message
    horizons = sorted({answer.horizon for answer in found})
    if found and horizon is not None and horizon not in horizons:
        raise typer.BadParameter(f"horizon: got {horizon}, this release has {', '.join(map(str, horizons))}.")
    chosen = horizons if as_json and horizon is None else [horizon or next(iter(horizons), 0)]
    found = [answer for answer in found if answer.horizon in chosen]
    if as_json:
        document = {
            "release": models.release.id,
            "source": models.panel.source,
            "forecasts": [asdict(answer) for answer in found],
            "refused": refused,
        }
        typer.echo(json.dumps(document, default=str, indent=1))
    else:
        if found:
            Console(width=None if sys.stdout.isatty() else 160).print(_table(found, models))
        for message in refused.values():
            typer.echo(f"no forecast: {message}", err=True)
        if any(answer.in_sample for answer in found):
            typer.echo("in sample: the models were fitted or chosen on what came after that day.", err=True)
    if refused and (symbols or not found):
        raise typer.Exit(1)


def _table(found: list[Forecast], models: ReleasedModels) -> Table:
    label = "SYNTHETIC DATA, " if models.panel.synthetic else ""
    title = f"{label}{models.release.id}, {found[0].horizon} day(s) ahead, KES"
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("symbol", "name", "last date", "last", "forecast", "change %", "90 % interval", "model"):
        right = heading in ("last", "forecast", "change %", "90 % interval")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "name")
    for answer in found:
        low, high = answer.intervals.get("90", (None, None))
        table.add_row(
            answer.symbol,
            answer.name,
            str(answer.last_date),
            f"{answer.last_price:,.2f}",
            f"{answer.published:,.2f}",
            f"{answer.change_percent:+.2f}",
            "-" if low is None else f"{low:,.2f} to {high:,.2f}",
            _model(answer),
        )
    return table


def _model(answer: Forecast) -> str:
    """Which model answered, and whether its price or the last one is published."""
    if answer.frozen:
        return "frozen: last price"
    kind = answer.model_type.replace("_", " ")
    return kind if answer.source == "model" else f"{kind}: last price"
