"""Inputs of the commands that train: settings, prices and universe."""

import datetime as dt
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from common.archive.reader import Archive, read_archive
from common.config import read_toml
from common.errors import ConfigError, UniverseError
from common.exchange.universe import Universe
from common.prices.panel import Panel
from train.run.price_source import load_panel


def merge_overrides(
    config: Path | None,
    train_end: dt.datetime | None,
    valid_end: dt.datetime | None,
    seeds: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Merge a settings file, without a search's provenance, and options; raises ConfigError."""
    overrides = read_toml(config) if config else {}
    overrides.pop("provenance", None)
    if train_end or valid_end:
        if not (train_end and valid_end):
            raise ConfigError("give --train-end and --valid-end together, or neither.")
        overrides["split"] = {"train_end": train_end.date(), "valid_end": valid_end.date()}
    return overrides | {k: v for k, v in (("seeds", seeds), ("seed", seed)) if v is not None}


def load_panel_with_progress(
    archive: Path | None,
    root: Path,
    *,
    show: bool,
    accept_mixed_dates: bool = False,
    reader: Callable[[Path], Archive] = read_archive,
) -> Panel:
    """Load the archive's prices, or the synthetic market's, and say so on stderr in the meantime."""
    console = Console(stderr=True, quiet=not (show and sys.stderr.isatty()))
    with console.status("reading the archive" if archive else "making the synthetic market"):
        return load_panel(archive, root, accept_mixed_dates=accept_mixed_dates, reader=reader)


def check_universe(universe: Universe, panel: Panel, only: tuple[str, ...], *, strict: bool) -> None:
    """Raise UniverseError for unknown stocks, and if ``strict`` without data; else name these on stderr."""
    specific = [stock.symbol for stock in universe.specific]
    if unknown := sorted(set(only) - set(specific)):
        known = ", ".join(specific) or "none"
        raise UniverseError(
            f"--only: not specific stocks: {', '.join(unknown)}. Specific are: {known}.", symbols=unknown
        )
    absent = universe.check_against(panel.symbols)
    if len(absent) == len(universe.stocks):
        stocks, symbols = _some(absent), _some(name for name in panel.symbols if name[0] != "^")
        raise UniverseError(
            f"none of the universe's stocks ({stocks}) is in the data ({symbols}). Name your stocks with "
            "--universe FILE.toml, see docs/tutorial.md, or check --archive."
        )
    if absent and strict:
        raise UniverseError(
            f"--universe: not in the data: {', '.join(absent)}. Correct or drop them.", symbols=list(absent)
        )
    if absent:
        typer.echo(f"not in the data, so neither trained nor forecast: {', '.join(absent)}", err=True)


def _some(symbols: Iterable[str]) -> str:
    names = sorted(symbols)
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)
