"""``nsecast backtest`` and ``nsecast report``: measure a release, and write its report."""

import datetime as dt
import functools
import json
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import rich.box
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from cluster.connect.address import Address, resolve_address
from common import storage
from common.console import console
from common.options import AcceptMixedDates, AsJson, CostPercent, Home, ReleaseName, Workers
from common.release.registry import Registry
from common.release.released_models import Networks, ReleasedModels
from train.evaluation.worth import COST_PERCENT, Worth, measure_worth
from train.evaluation.worth_sentences import ranking, verdict
from train.pipeline.backtest_period import (
    OURS,
    BacktestPlan,
    plan_backtest,
    run_backtest,
    store_backtest,
    summarise_models,
)
from train.pipeline.rivals import QUICK, RIVALS, TRAINED, Rivals, out_of_sample
from train.progress.console import Mode
from train.progress.snapshot import SYNTHETIC
from train.run.price_source import load_panel


def backtest(
    release: ReleaseName = "production",
    start: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First cutoff; default: the end of validation."),
    ] = None,
    end: Annotated[
        dt.datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last cutoff; default: the last session."),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Newer files, added to the release's own prices.")
    ] = None,
    refit_every: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Train again every N sessions on the data known by then, on Ray."
        ),
    ] = None,
    networks: Annotated[
        Networks | None,
        typer.Option(
            help="Of a refitted release; default: served on prices newer than it has seen, else evaluated."
        ),
    ] = None,
    baselines: Annotated[
        str, typer.Option(help=f"all, none, quick ({', '.join(QUICK)}) or some of {', '.join(RIVALS)}.")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Write every forecast with its outcome.")
    ] = None,
    cost_percent: CostPercent = COST_PERCENT,
    workers: Workers = None,
    address: Address = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make the forecast of every past day of a period as it would have been served, and score it.

    The weights are those of the release, unless --refit-every is given. Forecasts are stored below the
    storage root, so the same command continues where it was stopped.
    """
    from cluster.connect.session import usable_cpus

    names = _rival_names(baselines)
    root = storage.home(home)
    where = resolve_address(address, root)
    newer = load_panel(archive, Path(), accept_mixed_dates=accept_mixed_dates) if archive else None
    study = plan_backtest(
        ReleasedModels(Registry(root).open(release)),
        newer,
        root,
        start=None if start is None else np.datetime64(start.date()),
        end=None if end is None else np.datetime64(end.date()),
        refit_every=refit_every,
        networks=networks,
    )
    models = study.models
    count = workers or usable_cpus()
    mode: Mode | None = "plain" if as_json else None
    with _progress(not as_json) as advance:
        ours = run_backtest(
            study,
            workers=workers if where else count,
            address=where,
            mode=mode,
            announce=lambda text: typer.echo(text, err=True),
            progress=lambda done, of: advance(OURS, done, of),
        )
        tables = {OURS: ours.table}
        if out:
            storage.write_with(out, lambda path: ours.table.to_parquet(path, index=False))
        if not out_of_sample(models, study.windows):
            names = [name for name in names if name not in TRAINED]
        rivals = Rivals(study.windows, models, study.panel, study.folder, count, mode, advance, where)
        tables |= rivals.tables(names)
    table = summarise_models(tables, study)
    worth = measure_worth(ours.table, study.panel, cost_percent)
    record = store_backtest(study, ours.table, table, worth.as_dict())
    if as_json:
        groups = {
            by: storage.finite(summarise_models({OURS: ours.table}, study, (by,)).to_dict(orient="records"))
            for by in ("tier", "sector", "symbol")
        }
        typer.echo(json.dumps(record | {"groups": groups, "folder": str(study.folder)}, indent=1))
        return
    _print(study, ours.table, table, worth, out)


def _rival_names(option: str) -> list[str]:
    group = {"all": RIVALS, "none": (), "quick": QUICK}.get(option)
    names = list(group) if group is not None else [name.strip() for name in option.split(",")]
    if unknown := sorted(set(names) - set(RIVALS)):
        raise typer.BadParameter(f"baselines: unknown {', '.join(unknown)}; known: {', '.join(RIVALS)}.")
    return names


@contextmanager
def _progress(show: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each model on stderr, with the remaining time."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not (show and sys.stderr.isatty())
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield advance


def _print(
    study: BacktestPlan, ours: pd.DataFrame, figures: pd.DataFrame, worth: Worth, out: Path | None
) -> None:
    write = functools.partial(console().print, highlight=False)
    label = f"{SYNTHETIC}, " if study.panel.synthetic else ""
    write(f"{label}{study.models.release.id}: cutoffs {study.start} to {study.end}, weights {study.weights}")
    if not study.refit_every:
        write(f"Networks: {study.models.networks}, fitted and chosen on prices to {study.models.seen_until}")
    write(_ratios(figures))
    write(_intervals(figures))
    first = figures[figures["model"] == OURS].iloc[0]
    write(
        f"Stocks that move: {int(first['symbols'])}; left out: {int(first['n_frozen']):,} one-day forecasts "
        f"of frozen windows and {int(first['n_unscored']):,} without a known outcome, or with a split before "
        "it. relMAE (published) and relRMSE (raw) are ratios to the errors of the last price, in percent of "
        "it; * p < .05, ** p < .01 by the Diebold-Mariano test."
    )
    write(f"{verdict(worth)} {ranking(worth)}")
    if out:
        write(f"{len(ours):,} forecasts in {out}", soft_wrap=True)
    write(str(study.folder), soft_wrap=True)


def _ratios(figures: pd.DataFrame) -> Table:
    table = Table(title="relMAE / relRMSE", title_justify="left", box=rich.box.SIMPLE_HEAD)
    horizons = sorted(figures["horizon"].unique())
    table.add_column("model", no_wrap=True)
    table.add_column(f"MAE KES\n{horizons[0]} d", justify="right")
    for horizon in horizons:
        table.add_column(f"{horizon} d", justify="right", no_wrap=True)
    for name in dict.fromkeys(figures["model"]):
        rows = figures[figures["model"] == name].set_index("horizon")
        mae = rows["mae"].get(horizons[0])
        cells = [name, "-" if mae is None else f"{mae:.3f}"]
        cells += [_pair(rows.loc[horizon]) if horizon in rows.index else "-" for horizon in horizons]
        table.add_row(*cells, style="bold" if name == OURS else "")
    return table


def _pair(row: pd.Series) -> str:
    return " / ".join(
        f"{row[ratio]:.3f}{_stars(row[p])}" for ratio, p in (("rel_mae", "dm_abs_p"), ("rel_rmse", "dm_sq_p"))
    )


def _stars(p: float) -> str:
    return "**" if p < 0.01 else "*" if p < 0.05 else ""


def _intervals(figures: pd.DataFrame) -> Table:
    title = "intervals: share covered (mean width, % of price)"
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for heading in ("model", "days", "80 %", "90 %", "95 %", "pinball", "last price's"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in figures[figures["cover90"].notna()].to_dict(orient="records"):
        cells = [f"{row[f'cover{level}']:.3f} ({row[f'width{level}']:.1f})" for level in (80, 90, 95)]
        cells += [f"{row['pinball']:.3f}", f"{row['naive_pinball']:.3f}"]
        table.add_row(row["model"], str(row["horizon"]), *cells)
    return table


def report(
    release: ReleaseName = "production",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Default: <home>/reports/<release>.html")
    ] = None,
    cost_percent: CostPercent = COST_PERCENT,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = False,
    home: Home = None,
) -> None:
    """Write the report of a release as a self-contained HTML file.

    It includes the rivals if `nsecast backtest` has measured them.
    """
    from train.evaluation.evidence import load_evidence
    from train.evaluation.questions import answers
    from train.report.page import write_report

    root = storage.home(home)
    models = ReleasedModels(Registry(root).open(release))
    evidence = load_evidence(models, root, cost_percent=cost_percent)
    target = out or root / "reports" / f"{evidence.release}.html"
    questions = answers(evidence)
    write_report(target, evidence, questions)
    for answer in questions:
        typer.echo(f"{answer.question}\n  {answer.answer}")
    typer.echo(f"What is it worth?\n  {verdict(evidence.worth)}")
    typer.echo(str(target))
    if show:
        webbrowser.open(target.absolute().as_uri())
