"""``nsecast train``: train the models and publish them as a release."""

import functools
import json
import shlex
from typing import Annotated

import rich.box
import typer
from rich.table import Table

from cluster.connect.address import Address, resolve_address
from common import storage
from common.console import console
from common.exchange.universe import load_universe
from common.options import (
    AcceptMixedDates,
    ArchiveFolder,
    AsJson,
    DryRun,
    Home,
    Preset,
    Quick,
    Refit,
    SettingsFile,
    TrainEnd,
    UniverseFile,
    ValidEnd,
    Workers,
    root_option,
)
from common.presets import quick, train_config
from common.release.registry import Registry
from common.release.released_models import networks_line
from train.pipeline.training import Run, execute, plan_run
from train.progress.console import Mode, result_table
from train.progress.snapshot import SYNTHETIC, format_duration
from train.publish.results import TrainingResult
from train.run.blocks import read_on
from train.run.inputs import check_universe, load_panel_with_progress, merge_overrides
from train.run.versions import describe_changes

SECONDS_PER_WINDOW = 1 / 4000
"""One core's speed with the default network; only the plan's estimate uses it."""
START_UP_S = 25.0


def train(
    archive: ArchiveFolder = None,
    preset: Preset = None,
    config: SettingsFile = None,
    universe: UniverseFile = None,
    only: Annotated[str | None, typer.Option(metavar="SYM,SYM", help="Only these specific models.")] = None,
    train_end: TrainEnd = None,
    valid_end: ValidEnd = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Networks averaged into each model.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="First seed.")] = None,
    workers: Workers = None,
    address: Address = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    quickly: Quick = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start this run again from the beginning.")] = False,
    refit: Refit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train the general and the specific models in parallel, and publish them as one release.

    The same command continues a stopped run, and does nothing if the release is already published.
    """
    root = storage.home(home)
    where = None if dry_run else resolve_address(address, root)
    overrides = merge_overrides(config, train_end, valid_end, seeds, seed)
    default = overrides.pop("preset", "residual")
    settings = train_config(preset or default, overrides, where=str(config or "settings"))
    if quickly:
        settings = quick(settings)
    stocks = load_universe(universe)
    panel = load_panel_with_progress(
        archive,
        root,
        show=not as_json,
        accept_mixed_dates=accept_mixed_dates,
        reader=functools.partial(read_on, cpus=workers, address=where),
    )
    chosen = tuple(dict.fromkeys(name.strip().upper() for name in only.split(","))) if only else ()
    check_universe(stocks, panel, chosen, strict=universe is not None)
    run = plan_run(settings, stocks, panel, root, only=chosen)
    if dry_run:
        _print_plan(run, workers, as_json)
        return
    mode: Mode | None = "plain" if as_json else None
    outcome, before = execute(run, workers=workers, mode=mode, fresh=fresh, refit=refit, address=where)
    _print_outcome(run, outcome, before, as_json, root_option(home))
    if outcome.failed:
        raise typer.Exit(1)


def _print_plan(run: Run, workers: int | None, as_json: bool) -> None:
    from cluster.connect.session import usable_cpus

    count = workers or usable_cpus()
    work = sum(task.cost for task in run.plan.tasks) * SECONDS_PER_WINDOW
    longest = max(run.plan.priorities.values()) * SECONDS_PER_WINDOW
    estimate = START_UP_S + max(work / count, longest)
    if as_json:
        document = {
            "run": run.id,
            "release": run.release_id,
            "source": run.spec.source,
            "workers": count,
            "estimate_s": round(estimate),
            "tasks": [
                {"id": t.id, "needs": list(t.needs), "cost": round(t.cost), "epochs": t.epochs}
                for t in run.plan.tasks
            ],
            "skipped": run.plan.skipped,
            "config": run.spec.config.model_dump(mode="json"),
        }
        typer.echo(json.dumps(document, indent=1))
        return
    table = Table(box=rich.box.SIMPLE_HEAD, title=f"{run.id}  {_label(run)}", title_justify="left")
    for heading in ("job", "tasks", "epochs", "windows trained on"):
        table.add_column(heading, justify="left" if heading in ("job", "tasks") else "right")
    for job in run.plan.jobs:
        tasks = [task for task in run.plan.tasks if task.job == job]
        if reason := run.plan.skipped.get(job):
            table.add_row(job, f"[yellow]skipped: {reason}", "", "")
            continue
        windows = sum(task.cost for task in tasks if task.epochs)
        names = ", ".join(task.id.split("/")[1] for task in tasks)
        table.add_row(job, names, str(sum(task.epochs for task in tasks)), f"{windows:,.0f}")
    terminal = console()
    terminal.print(table)
    terminal.print(
        f"{count} workers, about {format_duration(estimate)}; nothing was written to {run.folder}.",
        soft_wrap=True,
    )


def _print_outcome(run: Run, outcome: TrainingResult, before: bool, as_json: bool, option: str) -> None:
    production = Registry(run.home).production()
    if as_json:
        document = {
            "run": run.id,
            "release": outcome.release.id,
            "production": production,
            "source": run.spec.source,
            "published_before": before,
            "gate": outcome.gate,
            "jobs": outcome.rows,
            "failed": outcome.failed,
            "test": outcome.release.info["test"],
            "folder": str(outcome.release.path),
        }
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    write = functools.partial(console().print, highlight=False, soft_wrap=True)
    console().print(result_table(outcome.rows, source=run.spec.source))
    if before:
        write("Published before with the same settings and data: nothing to do (--fresh trains again).")
        if differ := describe_changes(outcome.release.info.get("versions") or {}):
            write(f"It was trained with {differ}.")
    for horizon, errors in sorted(outcome.release.info["test"].items(), key=lambda item: int(item[0])):
        days = f"{horizon} {'day' if int(horizon) == 1 else 'days'}"
        write(
            f"{days:>7} ahead, stocks that move: relMAE {_ratio(errors['rel_mae'])}, "
            f"relRMSE {_ratio(errors['rel_rmse'])} (below 1 beats the last price)"
        )
    write(f"Release {outcome.release.id}, {_label(run)}; production is {production}")
    write(networks_line(outcome.release.info))
    if outcome.gate:
        write(f"Not promoted: {outcome.gate}", style="yellow")
    elif production != outcome.release.id:
        write(f"To use it: nsecast models promote {outcome.release.id}{option}")
    write(str(outcome.release.path))
    write(f"tensorboard --logdir {shlex.quote(str(run.folder / 'tensorboard'))}")
    if production == outcome.release.id:
        names = [stock.symbol for stock in run.spec.universe.stocks if stock.symbol in run.panel.symbols]
        stock = "SCOM" if "SCOM" in names else names[0]
        commands = ("serve", f"predict {stock}", f"card {stock}")
        write(f"Next: {', '.join(f'nsecast {command}{option}' for command in commands)}")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _label(run: Run) -> str:
    return f"{SYNTHETIC} ({run.spec.source})" if run.panel.synthetic else f"data: {run.spec.source}"
