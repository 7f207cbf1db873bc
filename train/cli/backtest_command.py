"""``nsecast backtest`` and ``nsecast report``: what a release is worth, measured and shown."""

import datetime as dt
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
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cluster.connect.address import Address, placed
from common import storage
from common.options import AcceptMixedDates, AsJson, Home, ReleaseName
from common.prices.panel import Panel
from common.release.forecasts import ReleasedModels
from common.release.registry import Registry
from train.pipeline.backtest import OURS, BacktestPlan, figures, keep, plan_study, run_study
from train.pipeline.rivals import QUICK, RIVALS, TRAINED, Rivals, out_of_sample
from train.progress.console import Mode
from train.progress.snapshot import SYNTHETIC
from train.run.source import load_panel


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
            min=1, metavar="N", help="Train again every N sessions on all that was known, on the fleet."
        ),
    ] = None,
    baselines: Annotated[
        str, typer.Option(help=f"all, none, quick ({', '.join(QUICK)}) or some of {', '.join(RIVALS)}.")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Every forecast beside what happened.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Default: all CPUs.")] = None,
    address: Address = None,
    accept_mixed_dates: AcceptMixedDates = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Forecast every past day of a period as it would have been served, and measure it next to naive.

    Weights are the release's, fixed, unless --refit-every is given. What was forecast once is kept below
    the storage root, so the same command continues where it was stopped.
    """
    from cluster.connect.session import usable_cpus

    names = _rivals(baselines)
    root = storage.home(home)
    where = placed(address, root)
    models = ReleasedModels(Registry(root).open(release))
    study = plan_study(
        models,
        _newer(archive, accept_mixed_dates),
        root,
        start=None if start is None else np.datetime64(start.date()),
        end=None if end is None else np.datetime64(end.date()),
        refit_every=refit_every,
    )
    count = workers or usable_cpus()
    mode: Mode | None = "plain" if as_json else None
    with _progress(not as_json) as advance:
        ours = run_study(
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
        if not out_of_sample(models, ours.windows):
            names = [name for name in names if name not in TRAINED]
        rivals = Rivals(ours, models, study.panel, study.folder, count, mode, advance, where)
        tables |= rivals.tables(names)
    found = figures(tables, study)
    record = keep(study, ours.table, found)
    if as_json:
        groups = {
            by: storage.finite(figures({OURS: ours.table}, study, (by,)).to_dict(orient="records"))
            for by in ("tier", "sector", "symbol")
        }
        typer.echo(json.dumps(record | {"groups": groups, "folder": str(study.folder)}, indent=1))
        return
    _print(study, ours.table, found, out)


def _rivals(chosen: str) -> list[str]:
    named = {"all": RIVALS, "none": (), "quick": QUICK}.get(chosen)
    names = list(named) if named is not None else [name.strip() for name in chosen.split(",")]
    if unknown := sorted(set(names) - set(RIVALS)):
        raise typer.BadParameter(f"baselines: no {', '.join(unknown)}; known: {', '.join(RIVALS)}.")
    return names


def _newer(archive: Path | None, accept_mixed_dates: bool) -> Panel | None:
    if archive is None:
        return None
    return load_panel(archive, Path(), accept_mixed_dates=accept_mixed_dates)


@contextmanager
def _progress(show: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each model on stderr, with the time it has left."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not show) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield advance


def _print(study: BacktestPlan, ours: pd.DataFrame, found: pd.DataFrame, out: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    label = f"{SYNTHETIC}, " if study.panel.synthetic else ""
    console.print(
        f"{label}{study.models.release.id}: cutoffs {study.start} to {study.end}, weights {study.weights}",
        highlight=False,
    )
    console.print(_ratios(found))
    mine = found[found["model"] == OURS]
    console.print(_intervals(found))
    frozen, unscored = int(mine["n_frozen"].iloc[0]), int(mine["n_unscored"].iloc[0])
    console.print(
        f"Stocks that move: {int(mine['symbols'].iloc[0])}; left out: {frozen:,} one-day forecasts of frozen "
        f"windows, {unscored:,} whose outcome is not known (yet) or lies across a split. relMAE (published) "
        "and relRMSE (raw) are ratios to the last price of errors in percent of it; * p < .05, ** p < .01 "
        "by Diebold-Mariano.",
        highlight=False,
    )
    if out:
        console.print(f"{len(ours):,} forecasts in {out}", highlight=False, soft_wrap=True)
    console.print(f"{study.folder}", highlight=False, soft_wrap=True)


def _ratios(found: pd.DataFrame) -> Table:
    table = Table(title="relMAE / relRMSE", title_justify="left", box=rich.box.SIMPLE_HEAD)
    horizons = sorted(found["horizon"].unique())
    table.add_column("model", no_wrap=True)
    table.add_column(f"MAE KES\n{horizons[0]} d", justify="right")
    for horizon in horizons:
        table.add_column(f"{horizon} d", justify="right", no_wrap=True)
    for name in dict.fromkeys(found["model"]):
        rows = found[found["model"] == name].set_index("horizon")
        first = rows["mae"].get(horizons[0])
        cells = [name, "-" if first is None else f"{first:.3f}"]
        cells += [_pair(rows.loc[horizon]) if horizon in rows.index else "-" for horizon in horizons]
        table.add_row(*cells, style="bold" if name == OURS else "")
    return table


def _pair(row: pd.Series) -> str:
    return " / ".join(
        f"{row[ratio]:.3f}{_stars(row[p])}" for ratio, p in (("rel_mae", "dm_abs_p"), ("rel_rmse", "dm_sq_p"))
    )


def _stars(p: float) -> str:
    return "**" if p < 0.01 else "*" if p < 0.05 else ""


def _intervals(found: pd.DataFrame) -> Table:
    table = Table(
        title="intervals: share covered (mean width, % of price)",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
    )
    for heading in ("model", "days", "80 %", "90 %", "95 %", "pinball", "last price's"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in found[found["cover90"].notna()].to_dict(orient="records"):
        cells = [f"{row[f'cover{level}']:.3f} ({row[f'width{level}']:.1f})" for level in (80, 90, 95)]
        table.add_row(
            row["model"], str(row["horizon"]), *cells, f"{row['pinball']:.3f}", f"{row['naive_pinball']:.3f}"
        )
    return table


def report(
    release: ReleaseName = "production",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Default: <home>/reports/<release>.html")
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = False,
    home: Home = None,
) -> None:
    """Write the report of a release: one HTML file that needs nothing else.

    Rivals are shown if `nsecast backtest` has measured them.
    """
    from train.evaluation.evidence import load_evidence
    from train.evaluation.questions import answers
    from train.report.page import write_report

    root = storage.home(home)
    evidence = load_evidence(ReleasedModels(Registry(root).open(release)), root)
    target = out or root / "reports" / f"{evidence.release}.html"
    found = answers(evidence)
    write_report(target, evidence, found)
    for answer in found:
        typer.echo(f"{answer.question}\n  {answer.answer}")
    typer.echo(str(target))
    if show:
        webbrowser.open(target.absolute().as_uri())
