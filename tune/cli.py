"""``nsecast tune``: search hyperparameters from the command line."""

import dataclasses
import datetime as dt
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import rich.box
import typer
from rich.console import Console
from rich.table import Table

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
from train.progress.snapshot import format_duration
from train.run.inputs import check_universe, load_panel_with_progress, merge_overrides
from tune import labels
from tune.console import best_table
from tune.results import Tuning
from tune.space import SearchSpace

SECONDS_PER_WINDOW = 1 / 4000
"""Pace of one core with the default network, for the estimate of ``--dry-run`` only."""


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
        _print_plan(planned, effort, compared, workers, as_json)
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
    _print_result(tuning, planned.folder, was_done, as_json)


def parse_time(text: str) -> float:
    """Return the seconds in ``90s``, ``30m`` or ``2h``; raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not match or not float(match[1]):
        raise ConfigError(f"--time: got {text!r}; need a number and a unit, such as 90s, 30m or 2h.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _normalized(text: str) -> str:
    kind, colon, name = text.partition(":")
    return kind if not colon else f"{kind}:{name if name == 'all' else name.upper()}"


def _print_plan(planned: Any, effort: Any, compared: int, workers: int | None, as_json: bool) -> None:
    from cluster.connect.session import usable_cpus

    spec = planned.spec
    count = workers or usable_cpus()
    total = effort.trials + compared
    work = total * spec.fold_epochs * len(spec.folds) * spec.windows_per_epoch
    estimate = work * SECONDS_PER_WINDOW / count
    document = {
        "search": spec.id,
        "folder": str(planned.folder),
        "source": spec.source,
        "model": spec.model,
        "jobs": list(spec.jobs),
        "left_out": planned.left_out,
        "trials": effort.trials,
        "compared": compared,
        "epochs_total": spec.fold_epochs * len(spec.folds),
        "folds": [fold.as_dict() for fold in spec.folds],
        "parameters": spec.parameters(),
        "default": spec.default,
        "estimate_s": round(estimate),
    }
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    console = _console()
    table = Table(box=rich.box.SIMPLE_HEAD, title=f"{spec.id}  data: {spec.source}", title_justify="left")
    for heading in ("parameter", "searched", "default"):
        table.add_column(heading)
    for name, dimension in spec.space.searched(spec.scope).items():
        low, high = dimension.ends
        interval = f"{low:g} to {high:g}" + (", log scale" if dimension.log else "")
        choices = dimension.choices and ", ".join(f"{value:g}" for value in dimension.choices)
        table.add_row(name, choices or interval, f"{spec.default[name]:g}")
    console.print(table)
    for number, fold in enumerate(spec.folds, start=1):
        console.print(f"fold {number}: trained up to {fold.train_end}, validated up to {fold.valid_end}")
    console.print(
        f"{labels.counted(effort.trials, compared)}, {document['epochs_total']} epochs each; "
        f"at most about {format_duration(estimate)} on {count} CPUs without early stopping; "
        "nothing was written.",
        highlight=False,
        soft_wrap=True,
    )


def _print_result(tuning: Tuning, folder: Path, was_done: bool, as_json: bool) -> None:
    if as_json:
        typer.echo((folder / "result.json").read_text())
        return
    info, console = tuning.info, _console()
    console.print(best_table(tuning))
    if was_done:
        console.print("The search was complete: nothing to do (a larger --trials extends it).")
    states = tuning.trials["state"].value_counts()
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    compared = int((tuning.trials["origin"] == "sweep").sum())
    kinds = labels.counted(len(tuning.trials) - compared, compared)
    console.print(
        f"{len(tuning.trials)} trials ({kinds}): {counted}; score on validation, naive is 1", highlight=False
    )
    for comparison, key in ((info["embedding"], "because"), (info["contest"], "sentence")):
        if comparison:
            console.print(comparison[key], highlight=False, soft_wrap=True)
    if info["contest"] is None:
        console.print(
            "Not yet compared with the default on the test part: this follows when all trials have ended."
        )
    if later := _better_since(tuning):
        console.print(later, highlight=False, soft_wrap=True)
    for name in ("best.toml", "report.html", "trials.csv"):
        console.print(f"{folder / name}", highlight=False, soft_wrap=True)


def _better_since(tuning: Tuning) -> str | None:
    """Return a note if a trial after the comparison scored better than its winner."""
    trials = tuning.trials[(tuning.trials["state"] == "done") & (tuning.trials["origin"] == "search")]
    best = trials.nsmallest(1, "score")
    winner = tuning.trials[tuning.trials["trial"] == tuning.info["winner_trial"]]
    if not len(best) or best["score"].iloc[0] >= winner["score"].iloc[0]:
        return None
    return (
        f"Trial {best['trial'].iloc[0]} scored better since then, but a search uses the test part only once. "
        "To compare it, search again with another --seed."
    )


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
