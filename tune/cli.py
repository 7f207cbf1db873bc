"""``nsecast tune``: the search from the command line."""

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

from cluster.connect.address import Address, placed
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
    Quickly,
    SettingsFile,
    TrainEnd,
    UniverseFile,
    Workers,
)
from common.presets import quick, train_config
from train.progress.snapshot import duration
from train.run.inputs import overrides_of, require_known, shown_panel
from tune import labels
from tune.console import best_table
from tune.results import Tuning
from tune.space import SearchSpace

SECONDS_PER_WINDOW = 1 / 4000
"""One core's pace with the default network, for the plan's estimate only."""


def tune(
    archive: ArchiveFolder = None,
    preset: Preset = None,
    config: SettingsFile = None,
    universe: UniverseFile = None,
    model: Annotated[str, typer.Option(help="general, specific:SYM or specific:all.")] = "general",
    space: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Ranges that differ from the usual ones.")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Proposals, besides the trials for comparison; default 40, quick 8."),
    ] = None,
    limit: Annotated[
        str | None, typer.Option("--time", metavar="30m", help="End the trials then; 90s, 30m or 2h.")
    ] = None,
    folds: Annotated[int | None, typer.Option(min=1, help="Cutoffs to score at; default 3.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each fit; default 6.")] = None,
    windows_per_epoch: Annotated[int | None, typer.Option(min=1, help="Default 24,000.")] = None,
    sweep_seeds: Annotated[
        int | None, typer.Option(min=0, help="Starts for comparing embedding sizes; 0: none; default 2.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    train_end: TrainEnd = None,
    valid_end: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last validation day; no trial sees a later one."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the proposals and the fits.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default <home>/tuning/<search>.")] = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    quickly: Quickly = False,
    asha: Annotated[bool, typer.Option("--asha/--no-asha", help="Stop bad trials early.")] = True,
    random: Annotated[bool, typer.Option("--random", help="Propose at random instead of by TPE.")] = False,
    contest: Annotated[
        bool, typer.Option("--contest/--no-contest", help="Compare the winner with the default on the test.")
    ] = True,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Search embedding and LSTM sizes, dropout, learning rate, window size and L2 on validation folds.

    The winner is compared with the default settings on the test part once. The same command continues a
    search that was stopped, and does nothing if all is done; a larger --trials goes on.
    """
    from tune.run import execute
    from tune.search_plan import QUICK, SearchBudget, plan_search
    from tune.study import sweep

    seconds = parse_time(limit) if limit else None
    root = storage.home(home)
    where = None if dry_run else placed(address, root)
    overrides = overrides_of(config, train_end, valid_end, None, seed)
    named = overrides.pop("preset", "residual")
    full = train_config(preset or named, overrides, where=str(config or "settings"))
    ranges = SearchSpace.parse(read_toml(space), where=str(space)) if space else SearchSpace()
    given: dict[str, Any] = {
        "trials": trials,
        "folds": folds,
        "epochs": epochs,
        "windows_per_epoch": windows_per_epoch,
        "sweep_seeds": sweep_seeds,
    }
    effort = dataclasses.replace(
        QUICK if quickly else SearchBudget(),
        **{name: value for name, value in given.items() if value is not None},
    )
    counters = load_universe(universe)
    panel = shown_panel(archive, root, show=not as_json, accept_mixed_dates=accept_mixed_dates)
    require_known(counters, panel, (), strict=universe is not None)
    planned = plan_search(
        quick(full) if quickly else full,
        counters,
        panel,
        model=_model(model),
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
    tuning, before = execute(
        planned,
        effort,
        time_s=seconds,
        workers=workers,
        with_contest=contest,
        mode="plain" if as_json else None,
        address=where,
    )
    _print_outcome(tuning, planned.folder, before, as_json)


def parse_time(text: str) -> float:
    """Seconds in ``90s``, ``30m`` or ``2h``; raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found or not float(found[1]):
        raise ConfigError(f"--time: got {text!r}; need a number and a unit, such as 90s, 30m or 2h.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _model(text: str) -> str:
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
        "parameters": {name: found.as_dict() for name, found in spec.space.searched(spec.scope).items()},
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
    for name, found in spec.space.searched(spec.scope).items():
        low, high = found.ends
        ranged = f"{low:g} to {high:g}" + (", even in the logarithm" if found.log else "")
        searched = ", ".join(f"{value:g}" for value in found.choices) if found.choices else ranged
        table.add_row(name, searched, f"{spec.default[name]:g}")
    console.print(table)
    for number, fold in enumerate(spec.folds, start=1):
        console.print(f"fold {number}: trained up to {fold.train_end}, judged up to {fold.valid_end}")
    console.print(
        f"{labels.counted(effort.trials, compared)}, {document['epochs_total']} epochs each; "
        f"at most about {duration(estimate)} on {count} CPUs without early stopping; nothing was written.",
        highlight=False,
        soft_wrap=True,
    )


def _print_outcome(tuning: Tuning, folder: Path, before: bool, as_json: bool) -> None:
    if as_json:
        typer.echo((folder / "result.json").read_text())
        return
    info, console = tuning.info, _console()
    console.print(best_table(tuning))
    if before:
        console.print("All of it was done before: nothing to do (a larger --trials goes on).")
    states = tuning.trials["state"].value_counts()
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    compared = int((tuning.trials["origin"] == "sweep").sum())
    kinds = labels.counted(len(tuning.trials) - compared, compared)
    console.print(
        f"{len(tuning.trials)} trials ({kinds}): {counted}; score on validation, naive is 1", highlight=False
    )
    for found, key in ((info["embedding"], "because"), (info["contest"], "sentence")):
        if found:
            console.print(found[key], highlight=False, soft_wrap=True)
    if info["contest"] is None:
        console.print(
            "Not compared with the default on the test part: that comes when all trials have ended."
        )
    if later := _later(tuning):
        console.print(later, highlight=False, soft_wrap=True)
    for name in ("best.toml", "report.html", "trials.csv"):
        console.print(f"{folder / name}", highlight=False, soft_wrap=True)


def _later(tuning: Tuning) -> str | None:
    """A word on a trial that came after the contest and would have been in it."""
    trials = tuning.trials[(tuning.trials["state"] == "done") & (tuning.trials["origin"] == "search")]
    best = trials.nsmallest(1, "score")
    winner = tuning.trials[tuning.trials["trial"] == tuning.info["winner_trial"]]
    if not len(best) or best["score"].iloc[0] >= winner["score"].iloc[0]:
        return None
    return (
        f"Trial {best['trial'].iloc[0]} scored better since, but a search uses the test part once. "
        "To compare it, search again with another --seed."
    )


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
