"""Print the plan and the result of a search."""

import json
from pathlib import Path
from typing import Any

import rich.box
import typer
from rich.table import Table

from common.console import console
from train.progress.snapshot import format_duration
from tune import labels
from tune.console import best_table
from tune.results import Tuning

SECONDS_PER_WINDOW = 1 / 4000
"""Pace of one core with the default network, for the estimate of ``--dry-run`` only."""


def print_plan(planned: Any, effort: Any, compared: int, workers: int | None, as_json: bool) -> None:
    """Print a search's plan as a table or as JSON; ``compared`` counts its comparison trials."""
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
    screen = console()
    table = Table(box=rich.box.SIMPLE_HEAD, title=f"{spec.id}  data: {spec.source}", title_justify="left")
    for heading in ("parameter", "searched", "default"):
        table.add_column(heading)
    for name, dimension in spec.space.searched(spec.scope).items():
        low, high = dimension.ends
        interval = f"{low:g} to {high:g}" + (", log scale" if dimension.log else "")
        choices = dimension.choices and ", ".join(f"{value:g}" for value in dimension.choices)
        table.add_row(name, choices or interval, f"{spec.default[name]:g}")
    screen.print(table)
    for number, fold in enumerate(spec.folds, start=1):
        screen.print(f"fold {number}: trained up to {fold.train_end}, validated up to {fold.valid_end}")
    screen.print(
        f"{labels.counted(effort.trials, compared)}, {document['epochs_total']} epochs each; "
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
    if was_done:
        screen.print("The search was complete: nothing to do (a larger --trials extends it).")
    states = tuning.trials["state"].value_counts()
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    compared = int((tuning.trials["origin"] == "sweep").sum())
    kinds = labels.counted(len(tuning.trials) - compared, compared)
    screen.print(
        f"{len(tuning.trials)} trials ({kinds}): {counted}; score on validation, naive is 1", highlight=False
    )
    for comparison, key in ((info["embedding"], "because"), (info["contest"], "sentence")):
        if comparison:
            screen.print(comparison[key], highlight=False, soft_wrap=True)
    if info["contest"] is None:
        screen.print(
            "Not yet compared with the default on the test part: this follows when all trials have ended."
        )
    if later := _better_since(tuning):
        screen.print(later, highlight=False, soft_wrap=True)
    for name in ("best.toml", "report.html", "trials.csv"):
        screen.print(f"{folder / name}", highlight=False, soft_wrap=True)


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
