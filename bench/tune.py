"""Compare searches of equal length: trials per hour, and the time until a good one.

    python bench/tune.py [--archive DIR] [--seconds 240] [--json]

Each search is ``nsecast tune`` in a new home, with small trials, for the same time: with and without early
stopping, with one worker and two, and with random proposals instead of TPE. Scores are on validation,
without the default settings, which each search tries first. *Found* is the time from the first trial's
start to the end of a proposal whose score is within .001 of the best of all searches.
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import optuna
import rich.box
from machine import ROOT, facts, header
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.table import Table

WORK = {"--folds": 2, "--epochs": 3, "--windows-per-epoch": 3_200, "--sweep-seeds": 0, "--trials": 1_000}
RUNS = {
    "TPE, early stopping, 2 workers": (2, []),
    "TPE, early stopping, 1 worker": (1, []),
    "TPE, none stopped, 2 workers": (2, ["--no-asha"]),
    "TPE, none stopped, 1 worker": (1, ["--no-asha"]),
    "random, early stopping, 2 workers": (2, ["--random"]),
}
NEAR = 0.001
STATES = {"COMPLETE": "done", "PRUNED": "stopped", "FAIL": "failed"}
START_S = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archive", type=Path, metavar="DIR", help="default: the synthetic market")
    parser.add_argument("--seconds", type=int, default=240, help="of each search")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_args()
    machine = facts()
    runs = {name: measure(args, workers, extra) for name, (workers, extra) in RUNS.items()}
    best = min(score for run in runs.values() for _, score in run["scores"])
    for run in runs.values():
        scores = run.pop("scores")
        run["found_s"] = next((at for at, score in scores if score <= best + NEAR), None)
        for part in (0.25, 0.5, 1.0):
            until = [score for at, score in scores if at <= part * args.seconds or part == 1.0]
            run[f"best_{part:.0%}"] = min(until, default=None)
    document = {"machine": machine, "seconds": args.seconds, "best": best, "runs": runs}
    print(json.dumps(document, indent=1)) if args.json else show(document)


def measure(args: argparse.Namespace, workers: int, extra: list[str]) -> dict[str, Any]:
    """One search of so many seconds; times are since its first trial began."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "search"
        command = [
            sys.executable,
            "-m",
            "nsecast",
            "tune",
            "--home",
            folder,
            "--out",
            str(out),
            "--no-contest",
        ]
        command += ["--time", f"{args.seconds}s", "--workers", str(workers), "--json", *extra]
        command += [str(part) for pair in WORK.items() for part in pair]
        command += ["--archive", str(args.archive.absolute())] if args.archive else []
        subprocess.run(command, cwd=ROOT, check=True, timeout=args.seconds + START_S, capture_output=True)
        backend = JournalFileBackend(str(out / "study.journal"))
        study = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
        started = min(trial.datetime_start for trial in study.trials if trial.datetime_start)
        rows = [_trial(trial, started) for trial in study.trials if trial.state.is_finished()]
    ended = sorted(row for row in rows if row[2] in ("done", "stopped"))
    wall = ended[-1][0]
    return {
        "workers": workers,
        "ended": len(ended),
        "stopped_early": sum(state == "stopped" for _, _, state, _ in ended),
        "per_hour": round(3600 * len(ended) / wall),
        "scores": [
            (round(at, 1), score)
            for at, score, state, origin in ended
            if state == "done" and origin == "search"
        ],
    }


def _trial(trial: optuna.trial.FrozenTrial, started: dt.datetime) -> tuple[float, float, str, str]:
    """When it ended, its score over the folds it reached, how it ended, and who proposed it."""
    after = (trial.datetime_complete - started).total_seconds()
    score = trial.value if trial.values else float("inf")
    return after, score, STATES[trial.state.name], trial.user_attrs.get("origin", "search")


def show(document: dict[str, Any]) -> None:
    title = f"{header(document['machine'])}\n{document['seconds']} s each; best score {document['best']:.4f}"
    table = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    parts = [key for key in next(iter(document["runs"].values())) if key.startswith("best_")]
    headings = [f"best after {key.removeprefix('best_')}" for key in parts]
    for heading in ("search", "trials", "of them stopped", "trials/hour", *headings, "found after, s"):
        table.add_column(heading, justify="left" if heading == "search" else "right")
    for name, run in document["runs"].items():
        best = ["-" if run[key] is None else f"{run[key]:.4f}" for key in parts]
        seconds = "-" if run["found_s"] is None else f"{run['found_s']:.0f}"
        cells = (str(run["ended"]), str(run["stopped_early"]), f"{run['per_hour']:,}", *best, seconds)
        table.add_row(name, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
