"""Print the plan and the result of a search."""

import json
from pathlib import Path
from typing import Any

import rich.box
import typer
from rich.table import Table
from rich.text import Text

from common.console import console
from train.progress.snapshot import against_naive, format_duration, format_number, label_title, one_line
from tune import labels
from tune.results import Tuning

BEST = 5
"""Finished trials in the closing table."""
SECONDS_PER_WINDOW = 1 / 4000
"""Pace of one core with the default network, for the estimate of ``--dry-run`` only."""


def print_plan(planned: Any, effort: Any, compared: int, workers: int | None, as_json: bool) -> None:
    """Print a search's plan as a table or as JSON; ``compared`` counts its comparison trials."""
    from cluster.connect.session import usable_cpus

    spec = planned.spec
    count = workers or usable_cpus()
    work = (effort.trials + compared) * spec.total_epochs * spec.windows_per_epoch
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
        "epochs_total": spec.total_epochs,
        "folds": spec.as_dict()["folds"],
        "parameters": spec.parameters(),
        "default": spec.default,
        "estimate_s": round(estimate),
    }
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    screen = console()
    table = Table(box=rich.box.SIMPLE_HEAD, title=f"{spec.id}  data: {spec.source}", title_justify="left")
    for heading in ("parameter", "searched", "default"):
        table.add_column(heading)
    for name, kind in spec.parameters().items():
        table.add_row(name, labels.range_text(kind), f"{spec.default[name]:g}")
    screen.print(table)
    for number, fold in enumerate(spec.folds, start=1):
        screen.print(f"fold {number}: trained up to {fold.train_end}, validated up to {fold.valid_end}")
    screen.print(
        f"{labels.counted(effort.trials, compared)}, {spec.total_epochs} epochs each; "
        f"at most about {format_duration(estimate)} on {count} CPUs without early stopping; "
        "nothing was written.",
        highlight=False,
        soft_wrap=True,
    )


def print_result(tuning: Tuning, folder: Path, was_done: bool, as_json: bool) -> None:
    """Print the best trials, the comparisons and the search's files, or its JSON."""
    if as_json:
        typer.echo((folder / "result.json").read_text())
        return
    info, screen = tuning.info, console()
    screen.print(best_table(tuning))
    states = ", ".join(f"{count} {state}" for state, count in tuning.trials["state"].value_counts().items())
    lines = [f"{len(tuning.trials)} trials ({tuning.kinds}): {states}; score on validation, naive is 1"]
    if was_done:
        lines.insert(0, "The search was complete: nothing to do (a larger --trials extends it).")
    if info["embedding"]:
        lines.append(info["embedding"]["because"])
    if info["contest"]:
        lines.append(info["contest"]["sentence"])
    else:
        lines.append("Not yet compared with the default on the test part: this follows after the last trial.")
    lines += [str(folder / name) for name in ("best.toml", "report.html", "trials.csv")]
    for line in lines:
        screen.print(line, highlight=False, soft_wrap=True)


def best_table(tuning: Tuning) -> Table:
    """Return the closing table: the best finished trials and the default, scored on validation."""
    title = label_title(Text("Best trials on validation (naive = 1)"), tuning.info["source"])
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    table.add_column("trial")
    for heading in ("score", *map(labels.label, tuning.parameters), "weights", "seconds"):
        table.add_column(heading, justify="right")
    default = {"trial": "default", "score": tuning.default_score, **tuning.info["default"]}
    for row in [*tuning.finished.head(BEST).to_dict(orient="records"), default]:
        score = row["score"]
        costs = [f"{row[cost]:,.0f}" if cost in row else "-" for cost in ("weights", "seconds")]
        values = [labels.value_text(row.get(name)) for name in tuning.parameters]
        cells = (one_line(row["trial"]), Text(format_number(score), style=against_naive(score)))
        table.add_row(*cells, *values, *costs)
    return table
