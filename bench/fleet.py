"""Train the complete fleet on one worker and on two, and compare wall time, its parts and the errors.

    python bench/fleet.py [--archive DIR] [--quick] [--json]

Both runs do what ``nsecast train`` does (`train.pipeline.training.plan_run` and `execute`), each in a new
home on a new local cluster, one after the other. *Start-up* is the time until the first task begins,
*closing* the time after the last task's end (Ray's shutdown, the release). *Busy* is the share of the
workers' time in between that they spent on tasks. *Task seconds* are the sum over tasks: two workers at
full speed leave it unchanged. *CPUs busy* counts all processes of the machine: if it exceeds the workers,
there was other load and the times must not be quoted. Removes all its temporary files and processes.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import rich.box
import tomli_w
from machine import MEMORY, ROOT, Clock, MemoryOf, busy_cpu_seconds, facts, header, sources
from rich.console import Console
from rich.table import Table

from common.release.bundle import GENERAL
from common.synthetic.market import MarketConfig, write_market
from train.run.plan import stored_epochs

WORKERS = (1, 2)
COMMAND_WORKERS = 2
ERRORS = ("rel_mae", "rel_rmse")
SAME = 1e-6
"""Test errors closer than this agree: the runs do the same arithmetic."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archive", type=Path, metavar="DIR", help="default: the synthetic market")
    parser.add_argument("--quick", action="store_true", help="a fraction of the work, as in nsecast train")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--limit", type=int, default=3600, metavar="S", help="seconds allowed for each run")
    options = parser.parse_args()
    result = facts()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before, runs = sources(), {}
    for workers in WORKERS:
        with temporary_home() as home, time_limit(options.limit):
            runs[workers] = measure(home, options.archive, workers, quickly=options.quick)
    changed = sources() != before
    document = {"machine": result, "quick": options.quick, "code_changed": changed, **compared(runs)}
    print(json.dumps(document, indent=1)) if options.json else show(document)
    if changed or not document["errors_agree"]:
        raise SystemExit(1)


def measure(home: Path, archive: Path | None, workers: int, *, quickly: bool) -> dict[str, Any]:
    """One complete run; its times and test errors."""
    import train.workers.fleet  # noqa: F401  (imported here, so that no run's clock pays for it)
    from common.exchange.universe import load_universe
    from common.presets import quick, train_config
    from train.pipeline.training import execute, plan_run
    from train.run.price_source import load_panel

    panel = load_panel(archive, home)
    config = quick(train_config()) if quickly else train_config()
    run = plan_run(config, load_universe(), panel, home)
    started, busy = time.time(), busy_cpu_seconds()
    outcome, _ = execute(run, workers=workers, mode="silent", refit=False)
    ended = time.time()
    spans = [_span(run.folder / "tasks" / task.id / "result.json") for task in run.plan.tasks]
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    work = sum(end - begin for begin, end in spans)
    return {
        "wall_s": round(ended - started, 1),
        "start_up_s": round(first - started, 1),
        "training_s": round(last - first, 1),
        "closing_s": round(ended - last, 1),
        "cpus_busy": round((busy_cpu_seconds() - busy) / (ended - started), 2),
        "tasks": len(spans),
        "task_s": round(work, 1),
        "busy": round(work / (workers * (last - first)), 3),
        "errors": {row["job"]: {name: row[name] for name in ERRORS} for row in outcome.rows},
        "failed": outcome.failed,
    }


def _span(result: Path) -> tuple[float, float]:
    """When a task began and ended: it writes its result last, its seconds in it."""
    ended = result.stat().st_mtime
    return ended - json.loads(result.read_bytes())["seconds"], ended


def compared(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    one, two = (runs[workers] for workers in WORKERS)
    gaps = [
        abs(value - two["errors"][job][name])
        for job, errors in one["errors"].items()
        for name, value in errors.items()
        if value is not None and two["errors"][job][name] is not None
    ]
    return {
        "runs": {str(workers): values for workers, values in runs.items()},
        "ratio_wall": round(one["wall_s"] / two["wall_s"], 2),
        "ratio_training": round(one["training_s"] / two["training_s"], 2),
        "largest_gap_of_errors": max(gaps),
        "errors_agree": max(gaps) <= SAME and not one["failed"] and not two["failed"],
    }


def show(document: dict[str, Any]) -> None:
    console = Console(width=120, highlight=False)
    console.print(header(document["machine"]), soft_wrap=True)
    title = "\nThe fleet, preset residual, seconds" + (", --quick" if document["quick"] else "")
    table = Table(title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    keys = ("wall_s", "start_up_s", "training_s", "closing_s", "cpus_busy", "tasks", "task_s")
    table.add_column("workers", justify="right")
    for key in keys:
        table.add_column(key.removesuffix("_s").replace("_", " "), justify="right")
    table.add_column("busy", justify="right")
    for workers, run in document["runs"].items():
        table.add_row(workers, *(f"{run[key]:,}" for key in keys), f"{run['busy']:.0%}")
    console.print(table)
    console.print(
        f"two workers are {document['ratio_wall']:.2f} x as fast as one, start to release; "
        f"{document['ratio_training']:.2f} x between first and last task"
    )
    pooled = " and ".join(f"{run['errors']['pooled']['rel_mae']:.4f}" for run in document["runs"].values())
    verdict = "agree" if document["errors_agree"] else "DIFFER"
    if document["code_changed"]:
        verdict += " (the code was edited during the runs: start again)"
    gap = document["largest_gap_of_errors"]
    console.print(f"test errors {verdict}: pooled relMAE {pooled}; largest gap of any job {gap:.1e}")


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """A home that disappears, with Ray's own files below it and every process that kept them open."""
    with tempfile.TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True) as folder:
        before = os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = folder
        try:
            yield Path(folder)
        finally:
            _end_processes(f"RAY_TMPDIR={folder}".encode())
            os.environ.pop("RAY_TMPDIR")
            if before is not None:
                os.environ["RAY_TMPDIR"] = before


def _end_processes(mark: bytes) -> None:
    """End every other process that was started with this entry in its environment."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds; `execute` then shuts its cluster down."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"the run took longer than {seconds} s; raise --limit")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trained_by_command(
    home: Path, symbols: int, days: tuple[dt.date, dt.date], settings: dict[str, Any], *, limit: int
) -> dict[str, Any]:
    """Memory of the workers of ``nsecast train``, from its start until two general networks are trained.

    It is stopped then, before it publishes.
    """
    first, last = days
    write_market(home / "market", MarketConfig(symbols=symbols, first_day=first, last_day=last))
    (home / "settings.toml").write_text(tomli_w.dumps({"seeds": COMMAND_WORKERS, **settings}))
    (home / "universe.toml").write_text(tomli_w.dumps(_universe(home / "market")))
    command = [sys.executable, str(ROOT / "nsecast.py"), "train", "--archive", str(home / "market")]
    command += ["--config", str(home / "settings.toml"), "--universe", str(home / "universe.toml")]
    command += ["--home", str(home / "home"), "--workers", str(COMMAND_WORKERS)]
    memory = MemoryOf("RayTrainWorker", f"RAY_TMPDIR={os.environ['RAY_TMPDIR']}", home)
    clock, until = Clock(), time.monotonic() + limit
    with memory, (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        tasks = [f"{GENERAL}/seed-{number}" for number in range(COMMAND_WORKERS)]
        while not (done := _trained(home / "home", tasks)) and process.poll() is None:
            if time.monotonic() > until:
                process.kill()
                raise SystemExit(f"nsecast train took longer than {limit} s; raise --limit")
            time.sleep(0.5)
    all_s = clock.lap()
    process.terminate()  # SIGINT may be ignored here, as in a background job
    process.wait(300)
    if not done:
        raise SystemExit(f"nsecast train ended early: {(home / 'log').read_text()[-2000:]}")
    run_dir = next((home / "home" / "runs").glob("*/spec.json")).parent
    return {
        "symbols": symbols,
        "workers": len(memory.largest),
        "epochs": [len(stored_epochs(run_dir, task)) for task in tasks],
        "all_s": all_s,
        **{name: max(item[name] for item in memory.largest.values()) for name in MEMORY},
    }


def _universe(market: Path) -> dict[str, Any]:
    """Every symbol of a market in one sector, none with a model of its own."""
    codes: set[str] = set()
    for path in market.glob("NSE_data_all_stocks_*.csv"):
        column = pd.read_csv(path, usecols=lambda name: name.lower() == "code").iloc[:, 0]
        codes |= set(column.dropna().unique())
    names = sorted(code for code in codes if not code.startswith("^"))
    return {"specific": [], "sectors": {"All": {name: name for name in names}}}


def _trained(home: Path, tasks: list[str]) -> bool:
    runs = list(home.glob("runs/*/tasks"))
    return bool(runs) and all((runs[0] / task / "result.json").exists() for task in tasks)


if __name__ == "__main__":
    main()
