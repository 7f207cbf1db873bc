"""``nsecast predict``: what the server would answer, without a server."""

import datetime as dt
import sys
import time
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import pydantic
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from common import storage
from common.errors import BundleError, NsecastError
from common.model.bundle import GENERAL, load_bundle
from common.model.registry import Registry
from serve.answers import batch_answer
from serve.cache import ModelCache, split_key
from serve.desk import Desk
from serve.schemas import BatchResponse, Horizon, PredictRequest, PredictResponse


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
    desk = Desk(Registry(storage.home(home)).open(release))
    wanted = symbols or list(desk.universe.symbols)
    response = predict_all(desk, wanted, horizon=horizon, as_of=as_of.date() if as_of else None)
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


def predict_all(
    desk: Desk, symbols: list[str], *, horizon: Horizon = "1d", as_of: dt.date | None = None
) -> BatchResponse:
    """The answers for these symbols; what cannot be answered is in ``summary.errors``."""
    started, request_id = time.perf_counter(), uuid4().hex
    models = ModelCache(
        lambda key: load_bundle(desk.release.path, desk.preset, split_key(key)[0]), len(symbols) + 1
    )
    found: list[PredictResponse] = []
    failures: dict[str, Exception] = {}
    for symbol in dict.fromkeys(each.strip().upper() for each in symbols):
        began = time.perf_counter()
        try:
            request = PredictRequest.model_validate({"symbol": symbol, "horizon": horizon, "as_of": as_of})
            found.append(_one(desk, models, request, began, request_id))
        except (pydantic.ValidationError, NsecastError) as error:
            failures[symbol] = error
    return batch_answer(desk, found, failures, started=started, request_id=request_id)


def _one(
    desk: Desk, models: ModelCache, request: PredictRequest, started: float, request_id: str
) -> PredictResponse:
    prepared = desk.prepare(request, models.bad())
    try:
        bundle, cached = models.get(prepared.key)
    except BundleError:
        if prepared.route.job == GENERAL:
            raise
        prepared = desk.general(prepared)
        bundle, cached = models.get(prepared.key)
    prices = bundle.forecaster.forecast(prepared.windows, prepared.asked)
    return desk.answer(prepared, prices, cached=cached, started=started, request_id=request_id)


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
    for heading in ("symbol", "name", "last date", "last", "for", "forecast", "change %", "90 % interval"):
        right = heading in ("last", "forecast", "change %", "90 % interval")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "name")
    for heading in ("confidence", "model", "MAPE", "naive"):
        table.add_column(heading, justify="right" if heading in ("MAPE", "naive") else "left", no_wrap=True)
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
            each.model_version if each.forecast_source == "model" else f"{each.model_version}: last price",
            _percent(each.mape),
            _percent(each.naive_mape),
        )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
