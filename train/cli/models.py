"""``nsecast models``: list and verify the releases, and choose the one in production."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import rich.box
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common import storage
from common.console import console
from common.errors import BundleError, GateClosed, NsecastError, ReleaseNotFound
from common.options import AsJson, Home
from common.release.refreshed import prices_end
from common.release.registry import Registry, ReleaseInfo
from common.release.released_models import read_model_card
from train.gate.promotion import promote_through_gate
from train.progress.snapshot import is_synthetic

app = typer.Typer(help="List and verify the releases, and choose the one in production.")

_STATE_STYLE = {"ok": "green", "incomplete": "yellow", "damaged": "bold red"}


@app.callback(invoke_without_command=True)
def models(ctx: typer.Context, home: Home = None, as_json: AsJson = False) -> None:
    """List the releases, newest first; the sub-commands choose and check them."""
    ctx.obj = home
    if ctx.invoked_subcommand is not None:
        return
    with _errors_on_stderr():
        registry = Registry(storage.home(home))
        releases, production = registry.releases(), registry.production()
        if as_json:
            typer.echo(json.dumps([release_row(release, production) for release in releases], indent=1))
        elif releases:
            console().print(releases_table(releases, production))
            for reason in filter(None, (release.reason for release in releases)):
                typer.echo(reason, err=True)
        else:
            where = storage.display_path(registry.folder)
            typer.echo(f"No releases in {where} yet. Train one with `nsecast train`.", err=True)


@app.command()
def promote(
    ctx: typer.Context,
    release_id: Annotated[str, typer.Argument(metavar="ID", help="A release id, or 'latest'.")],
    force: Annotated[
        bool, typer.Option("--force", help="Promote it even if the gate refuses it; that is recorded.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Put a release in production if it passes the checklist and is not worse than production.

    A warning says if its prices end before those of the release that was in production.
    """
    with _errors_on_stderr():
        registry = Registry(storage.home(home or ctx.obj))
        before = registry.production()
        prices_before = _prices_end(registry, before)
        stderr = console(stderr=True)
        try:
            with stderr.status("running the checklist and the comparison with production"):
                release, verdict = promote_through_gate(registry, release_id, force=force)
        except GateClosed as closed:
            if "comparison" in closed.context:  # else others moved production meanwhile
                _print_comparison(closed.context["release"], closed.context["comparison"], stderr)
            raise
        prices = _prices_end(registry, release.id)
        older = prices is not None and prices_before is not None and prices < prices_before
        if as_json:
            moved = {"production": release.id, "was": before, "forced": list(verdict.reasons)}
            days = {"prices_to": prices, "was_prices_to": prices_before, "older_prices": older}
            typer.echo(json.dumps(moved | days, indent=1))
        else:
            _print_comparison(release.id, verdict.comparison, console())
            for reason in verdict.reasons:
                typer.echo(f"forced: {reason}", err=True)
            typer.echo(f"production: {release.id} (was {before or 'none'})")
        if older:
            typer.echo(
                f"warning: the prices of {release.id} end on {prices}, those of {before} on {prices_before}: "
                "forecasts will be of older prices. `nsecast refresh` adds the newer sessions.",
                err=True,
            )


@app.command()
def card(
    ctx: typer.Context,
    release_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="A release id, 'production' or 'latest'.")
    ] = "production",
    home: Home = None,
) -> None:
    """Print a release's model card: data, recipe, figures, limits, intended use."""
    with _errors_on_stderr():
        release = Registry(storage.home(home or ctx.obj)).open(release_id)
        typer.echo(read_model_card(release), nl=False)


@app.command()
def rollback(ctx: typer.Context, home: Home = None) -> None:
    """Put the previous release back in production."""
    with _errors_on_stderr():
        registry = Registry(storage.home(home or ctx.obj))
        before, started = registry.production(), time.perf_counter()
        release = registry.rollback()
        typer.echo(f"production: {release.id} (was {before}), {time.perf_counter() - started:.2f} s")


@app.command()
def verify(
    ctx: typer.Context,
    release_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="A release id, 'production' or 'latest'; default all."),
    ] = None,
    home: Home = None,
) -> None:
    """Verify the hash of every file; exit 1 if a file is missing, extra or altered."""
    with _errors_on_stderr():
        registry = Registry(storage.home(home or ctx.obj))
        references = [release_id] if release_id else [release.id for release in registry.releases()]
        damaged = False
        for reference in references or ["production"]:
            try:
                release = registry.verify(reference)
                typer.echo(f"{release.id}: ok, {len(release.files)} files")
            except BundleError as error:
                damaged = True
                typer.echo(error.message, err=True)
        if damaged:
            raise typer.Exit(1)


def _prices_end(registry: Registry, release_id: str | None) -> str | None:
    """Return the last session of a release's prices; None if there is none, or it cannot be read."""
    try:
        return prices_end(registry.resolve(release_id)) if release_id else None
    except (BundleError, ReleaseNotFound, OSError, ValueError):
        return None


def release_row(release: ReleaseInfo, production: str | None) -> dict[str, Any]:
    """Return a release's entry in the list as JSON values."""
    return {
        "id": release.id,
        "created": release.created.isoformat() if release.created else None,
        "preset": release.info.get("preset"),
        "quick": bool(release.info.get("quick")),
        "source": release.info.get("source"),
        "models": release.info.get("models"),
        "test_relMAE": release.info.get("test_relMAE"),
        "production": release.id == production,
        "state": release.state,
        "reason": release.reason or None,
        "info": release.info,
    }


def releases_table(releases: list[ReleaseInfo], production: str | None) -> Table:
    """Build the table of releases; synthetic data and damaged releases are highlighted."""
    layout: dict[str, Any] = {"box": rich.box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "show_edge": False}
    table = Table(title="Releases", title_justify="left", **layout)
    table.add_column("")
    table.add_column("release", min_width=12, overflow="fold")
    table.add_column("created\n(UTC)", min_width=10)
    table.add_column("preset", no_wrap=True)
    table.add_column("source", min_width=9, overflow="fold")
    table.add_column("models", justify="right", no_wrap=True)
    table.add_column("test\nrelMAE", justify="right", no_wrap=True)
    table.add_column("state", min_width=10, no_wrap=True)
    for release in releases:
        row = release_row(release, production)
        source, models, error = row["source"], row["models"], row["test_relMAE"]
        table.add_row(
            Text("*" if row["production"] else "", style="bold green"),
            Text(release.id, style="bold" if row["production"] else ""),
            f"{release.created:%Y-%m-%d %H:%M}" if release.created else "-",
            _text(f"{row['preset']} (quick)" if row["quick"] else row["preset"]),
            Text("SYNTHETIC", style="bold black on yellow") if is_synthetic(source) else _text(source),
            _text(len(models) if isinstance(models, list | dict) else models),
            f"{error:.3f}" if isinstance(error, int | float) else "-",
            Text(release.state, style=_STATE_STYLE[release.state]),
        )
    return table


def comparison_table(release_id: str, comparison: dict[str, Any]) -> Table:
    """Build the table of a release, production and naive by horizon; see `Comparison.figures`."""
    title = f"The same forecasts of cutoffs {comparison['first']} to {comparison['last']}"
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    table.add_column("days ahead")
    table.add_column("")
    for heading in ("forecasts", "relMAE", "relRMSE", "relPinball", "MAE KES", "MAPE %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for horizon, entry in comparison["horizons"].items():
        rows = {
            f"this release ({release_id})": entry["release"],
            f"production ({comparison['against']})": entry["production"],
            "naive (the last price)": entry["naive"],
        }
        for name, figures in rows.items():
            values = [figures[key] for key in ("rel_mae", "rel_rmse", "rel_pinball", "mae", "mape")]
            cells = ("-" if value is None else f"{value:.4f}" for value in values)
            table.add_row(horizon, name, f"{entry['n']:,}", *cells)
    return table


def _print_comparison(release_id: str, comparison: dict[str, Any] | None, terminal: Console) -> None:
    if comparison and comparison["comparable"]:
        terminal.print(comparison_table(release_id, comparison))
    elif comparison:
        text = f"not compared with {comparison['against']}: {comparison['reason']}"
        terminal.print(text, soft_wrap=True)


def _text(value: Any) -> Text:
    return Text("-" if value is None else str(value))


@contextmanager
def _errors_on_stderr() -> Iterator[None]:
    try:
        yield
    except NsecastError as error:
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(1) from None
