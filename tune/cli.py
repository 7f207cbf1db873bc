"""``nsecast tune``: search hyperparameters from the command line."""

import dataclasses
import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.connect.address import Address, resolve_address
from common import storage
from common.config import read_toml
from common.errors import ConfigError
from common.exchange.universe import load_universe
from common.options import (
    AcceptMixedDates,
    ArchiveFolder,
    AsJson,
    DryRun,
    Home,
    Preset,
    Quick,
    SettingsFile,
    TrainEnd,
    UniverseFile,
    Workers,
)
from common.presets import quick, train_config
from train.run.inputs import check_universe, load_panel_with_progress, merge_overrides
from tune import labels
from tune.print_result import print_plan, print_result
from tune.space import SearchSpace


def tune(
    archive: ArchiveFolder = None,
    preset: Preset = None,
    config: SettingsFile = None,
    universe: UniverseFile = None,
    model: Annotated[str, typer.Option(help="general, specific:SYM or specific:all.")] = "general",
    space: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Ranges that differ from the default ones.")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Proposals, besides the comparison trials; default 40, quick 8."),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option("--time", metavar="30m", help="Stop the trials after this time: 90s, 30m or 2h."),
    ] = None,
    folds: Annotated[int | None, typer.Option(min=1, help="Validation folds; default 3.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each fit; default 6.")] = None,
    windows_per_epoch: Annotated[int | None, typer.Option(min=1, help="Default 24,000.")] = None,
    sweep_seeds: Annotated[
        int | None,
        typer.Option(min=0, help="Seeds for comparing embedding sizes; 0: no comparison; default 2."),
    ] = None,
    workers: Workers = None,
    address: Address = None,
    train_end: TrainEnd = None,
    valid_end: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last validation day; trials see no later one."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the proposals and the fits.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default <home>/tuning/<search>.")] = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    quickly: Quick = False,
    asha: Annotated[bool, typer.Option("--asha/--no-asha", help="Stop bad trials early.")] = True,
    random: Annotated[bool, typer.Option("--random", help="Random proposals instead of TPE.")] = False,
    contest: Annotated[
        bool,
        typer.Option("--contest/--no-contest", help="Compare the winner with the default on the test part."),
    ] = True,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Search embedding and LSTM sizes, dropout, learning rate, window size and L2 on validation folds.

    The winner is compared with the default settings on the test part once. The same command continues an
    interrupted search and does nothing if the search is complete; a larger --trials extends it.
    """
    from tune.run import execute
    from tune.search_plan import QUICK, SearchBudget, plan_search
    from tune.study import sweep

    seconds = parse_time(limit) if limit else None
    root = storage.home(home)
    ray_address = None if dry_run else resolve_address(address, root)
    overrides = merge_overrides(config, train_end, valid_end, None, seed)
    config_preset = overrides.pop("preset", "residual")
    full = train_config(preset or config_preset, overrides, where=str(config or "settings"))
    ranges = SearchSpace.parse(read_toml(space), where=str(space)) if space else SearchSpace()
    options: dict[str, Any] = {
        "trials": trials,
        "folds": folds,
        "epochs": epochs,
        "windows_per_epoch": windows_per_epoch,
        "sweep_seeds": sweep_seeds,
    }
    effort = dataclasses.replace(
        QUICK if quickly else SearchBudget(),
        **{name: value for name, value in options.items() if value is not None},
    )
    stocks = load_universe(universe)
    panel = load_panel_with_progress(archive, root, show=not as_json, accept_mixed_dates=accept_mixed_dates)
    check_universe(stocks, panel, (), strict=universe is not None)
    planned = plan_search(
        quick(full) if quickly else full,
        stocks,
        panel,
        model=_normalized(model),
        space=ranges,
        effort=effort,
        full=full,
        asha=asha,
        sampler="random" if random else "tpe",
        home=root,
        out=out.absolute() if out else None,
    )
    compared = len(sweep(planned.spec, seeds=effort.sweep_seeds, sizes=effort.sizes))
    if dry_run:
        print_plan(planned, effort, compared, workers, as_json)
        return
    for stock, reason in planned.left_out.items():
        typer.echo(f"left out: {stock}: {reason}", err=True)
    typer.echo(
        f"{effort.trials + compared} trials: {labels.counted(effort.trials, compared)} "
        "(the default settings, and these with other embedding sizes; see --sweep-seeds)",
        err=True,
    )
    tuning, was_done = execute(
        planned,
        effort,
        time_s=seconds,
        workers=workers,
        with_contest=contest,
        mode="plain" if as_json else None,
        address=ray_address,
    )
    print_result(tuning, planned.folder, was_done, as_json)


def parse_time(text: str) -> float:
    """Return the seconds in ``90s``, ``30m`` or ``2h``; raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not match or not float(match[1]):
        raise ConfigError(f"--time: got {text!r}; need a number and a unit, such as 90s, 30m or 2h.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _normalized(text: str) -> str:
    kind, colon, name = text.partition(":")
    return kind if not colon else f"{kind}:{name if name == 'all' else name.upper()}"
