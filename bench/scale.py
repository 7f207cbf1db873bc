"""Measure time and memory by symbols and workers, with two networks of the general model.

    python bench/scale.py [--small] [--symbols N ...] [--command] [--json]

First through the command that users run: ``nsecast train`` on a market of that size, two workers and two
networks of the general model, ended by Ctrl-C when both are trained (with ``--command`` nothing else is
measured). Then its parts: for each number of symbols a market of a year and a half is written, read,
planned and laid out as arrays in a process of its own (the *driver*), then `train.workers.fleet.Fleet`
trains the two networks on one worker and on two, in fresh sessions of Ray, with windows in proportion to
the symbols. *Read*, *plan* and *arrays* are the driver's seconds. An *epoch* is the mean time between the
ends of a network's epochs after the first (their TensorBoard events), so no start-up or compiling is in it;
*all* is the whole call. Of a worker, *private* is its largest anonymous memory, sampled four times a
second, *mapped* what it had mapped of the arrays (shared by the workers of a node), *uss* all pages that no
other process has, *pss* these and its share of the others, *peak* the kernel's high-water mark of all of
it. Exponents are slopes of log against log: of all sizes, and of the two largest. All temporary files and
processes are gone at the end.
"""

import argparse
import dataclasses
import datetime as dt
import json
import os
import shutil
import struct
import sys
import time
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import rich.box
from fleet import temporary_home, trained_by_command
from machine import MEMORY, Clock, MemoryOf, apart, facts, header, memory_of, sources
from rich.console import Console
from rich.table import Table

SYMBOLS = (66, 660, 6_600)
SMALL = SYMBOLS[:2]
WORKERS = (1, 2)
NETWORKS = 2
DAYS = dt.date(2023, 7, 3), dt.date(2024, 12, 31)
EPOCHS = 3
RATE = 2e-4
"""A twentieth of the shipped rate."""
LINEAR = 1.2
"""The largest exponent that counts as about linear."""
BOUND_MB = 256
"""How much more private memory than on the smallest universe a worker may take on any other."""
GROWING = ("read_s", "plan_s", "arrays_s", "epoch_s", "driver_mb", "arrays_mb", "private_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--symbols", type=int, nargs="+", metavar="N", default=SYMBOLS)
    parser.add_argument("--each", type=int, default=50, metavar="N", help="windows an epoch takes of each")
    parser.add_argument("--small", action="store_true", help=f"only {SMALL[0]} and {SMALL[1]} symbols")
    parser.add_argument("--command", action="store_true", help="only through the command")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--limit", type=int, default=600, metavar="S", help="seconds allowed for each step")
    options = parser.parse_args()
    environment = facts()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("RAY_worker_niceness", "0")  # or whatever else runs on the machine goes first
    resource_tracker.ensure_running()  # before a home, whose processes are all ended with it
    before, rows, commands = sources(), [], []
    for symbols in SMALL if options.small else sorted(set(options.symbols)):
        with temporary_home() as home:
            say(f"{symbols} symbols: nsecast train")
            fit = of_training(symbols, options.each)
            commands.append(trained_by_command(home, symbols, DAYS, fit, limit=options.limit))
        if not options.command:
            with temporary_home() as home:
                rows += measured(home, symbols, options.each, options.limit)
    if options.command:
        document = {"machine": environment, "commands": commands}
        print(json.dumps(document, indent=1)) if options.json else show_commands(document)
        return
    document = {"machine": environment, "commands": commands, **judged(rows, same_code=sources() == before)}
    print(json.dumps(document, indent=1)) if options.json else show(document)
    raise SystemExit(not all(document["verdicts"].values()))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measured(home: Path, symbols: int, per_symbol: int, limit: int) -> list[dict[str, Any]]:
    """A row for each number of workers."""
    say(f"{symbols} symbols: market, plan, arrays")
    timings = apart(prepare, home, symbols, per_symbol, limit=limit)
    run_dir, plan = timings.pop("run_dir"), timings.pop("plan")
    rows = []
    for workers in WORKERS:
        say(f"{symbols} symbols: {workers} worker{'s' if workers > 1 else ''}")
        row = timings | {"workers": workers} | apart(train, run_dir, plan, workers, limit=limit)
        say(f"an epoch {row['epoch_s']:.1f} s, a worker's private memory {row['private_mb']:.0f} MB")
        rows.append(row)
    return rows


def of_training(symbols: int, per_symbol: int) -> dict[str, Any]:
    fit = {
        "epochs": EPOCHS,
        "epoch_share": 1.0,
        "windows_per_epoch": per_symbol * symbols,
        "learning_rate": RATE,
    }
    return {"split": {"train_share": 0.75, "valid_share": 0.125}, "general": fit}


def prepare(home: Path, symbols: int, per_symbol: int) -> dict[str, Any]:
    """What the driver of ``nsecast train`` does before workers begin, with its seconds and memory."""
    from common.archive.reader import read_archive
    from common.exchange.universe import Universe
    from common.presets import train_config
    from common.prices.panel import Panel
    from common.synthetic.market import MarketConfig, write_market
    from train.pipeline.training import plan_run
    from train.run.arrays import save_arrays
    from train.run.dataset import RunDataset

    first, last = DAYS
    write_market(home / "market", MarketConfig(symbols=symbols, first_day=first, last_day=last))
    settings = {"seeds": NETWORKS, **of_training(symbols, per_symbol)}
    clock = Clock()
    panel = Panel.from_archive(read_archive(home / "market"), "synthetic")
    read_s = clock.lap()
    universe = Universe.from_symbols([name for name in panel.symbols if not name.startswith("^")])
    run = plan_run(train_config("residual", settings), universe, panel, home)
    plan_s = clock.lap()
    run.folder.mkdir(parents=True)
    run.spec.save(run.folder)
    save_arrays(RunDataset(run.folder, run.spec, panel))
    return {
        "symbols": symbols,
        "rows": len(panel.frame),
        "read_s": read_s,
        "plan_s": plan_s,
        "arrays_s": clock.lap(),
        "driver_mb": memory_of("self", "status")["VmHWM"],
        "arrays_mb": sum(path.stat().st_size for path in (run.folder / "arrays").iterdir()) / 1e6,
        "run_dir": run.folder,
        "plan": run.plan,
    }


def train(run_dir: Path, plan: Any, workers: int) -> dict[str, Any]:
    """Train the general networks from their beginning; what was trained before is thrown away."""
    from cluster.connect.session import ray_session
    from train.run.plan import stored_epochs
    from train.workers.fleet import Fleet

    for name in ("tasks", "tensorboard"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    tasks = [task for task in plan.tasks if task.epochs]
    plan = dataclasses.replace(plan, tasks=tuple(tasks))
    log_dir = run_dir / f"ray-{workers}"
    memory = MemoryOf("RayTrainWorker", f"RAY_TMPDIR={os.environ['RAY_TMPDIR']}", run_dir / "arrays")
    with ray_session(cpus=max(WORKERS)), memory:
        fleet, clock = Fleet(plan, run_dir, workers=workers, log_dir=log_dir), Clock()
        fleet.train()
        all_s = clock.lap()
    ends = [epoch_ends(run_dir / "tensorboard" / task.id) for task in tasks]
    epochs = [epoch for task in tasks for epoch in stored_epochs(run_dir, task.id)]
    if len(memory.largest) != workers or len(epochs) != EPOCHS * NETWORKS:
        raise SystemExit(f"{len(memory.largest)} workers seen and {len(epochs)} epochs: start again")
    return {
        "windows": int(tasks[0].cost / tasks[0].epochs),
        "epoch_s": float(np.mean([(times[-1] - times[0]) / (len(times) - 1) for times in ends])),
        "all_s": all_s,
        **{name: max(item[name] for item in memory.largest.values()) for name in MEMORY},
        "losses": [[epoch[name] for name in ("loss", "val_loss")] for epoch in epochs],
    }


def epoch_ends(folder: Path) -> list[float]:
    """When each epoch's validation loss was written, seconds since 1970."""
    from tensorboard.compat.proto.event_pb2 import Event

    results = []
    for path in sorted(folder.iterdir()):
        records, at = path.read_bytes(), 0
        while at < len(records):  # length, its checksum, record, its checksum
            (size,) = struct.unpack_from("<Q", records, at)
            event = Event.FromString(records[at + 12 : at + 12 + size])
            results += [event.wall_time for value in event.summary.value if value.tag == "val_loss"]
            at += size + 16
    return results


def judged(rows: list[dict[str, Any]], *, same_code: bool) -> dict[str, Any]:
    """The rows with their exponents, and what they say."""
    of = {workers: [row for row in rows if row["workers"] == workers] for workers in WORKERS}
    growth = {
        f"{name}, {workers}" if name in ("epoch_s", "private_mb") else name: exponents(of[workers], name)
        for name in GROWING
        for workers in (WORKERS if name in ("epoch_s", "private_mb") else WORKERS[:1])
    }
    pairs = list(zip(*of.values(), strict=True))
    gaps = {
        str(one["symbols"]): float(np.abs(np.divide(two["losses"], one["losses"]) - 1).max())
        for one, two in pairs
    }
    speed = {str(one["symbols"]): one["all_s"] / two["all_s"] for one, two in pairs}
    more = max(row["private_mb"] - of[row["workers"]][0]["private_mb"] for row in rows)
    slopes = [slope for name, slopes in growth.items() if "private" not in name for slope in slopes]
    return {
        "rows": rows,
        "exponents": growth,
        "gap_of_losses": gaps,
        "speed_of_two": speed,
        "private_growth_mb": more,
        "verdicts": {
            "losses the same to the last bit": max(gaps.values()) == 0,
            "growth about linear": max(slopes, default=1.0) <= LINEAR,
            "memory of a worker bounded": more <= BOUND_MB,
            "code the same all along": same_code,
        },
    }


def exponents(rows: list[dict[str, Any]], name: str, *, of: str = "symbols") -> list[float]:
    """Slopes of log(value) against log(of): of all rows, and of the last two."""
    points = np.log([[row[of], row[name]] for row in rows])
    return [float(np.polyfit(*part.T, 1)[0]) for part in (points, points[-2:]) if len(points) > 1]


def show_commands(document: dict[str, Any]) -> None:
    console = Console(width=130, highlight=False)
    console.print(header(document["machine"]), soft_wrap=True)
    columns = ("symbols", "workers", "all_s", *MEMORY)
    console.print(
        _table("nsecast train: seconds, and MB of the larger worker", columns, document["commands"])
    )


def show(document: dict[str, Any]) -> None:
    show_commands(document)
    console = Console(width=130, highlight=False)
    rows, workers = document["rows"], ("symbols", "workers", "windows", "epoch_s", "all_s", *MEMORY)
    driver = ("symbols", "rows", "read_s", "plan_s", "arrays_s", "arrays_mb", "driver_mb")
    console.print(_table("The driver", driver, rows[:: len(WORKERS)]))
    console.print(_table("Workers: seconds, and MB of the larger one", workers, rows))
    for row in rows:
        losses = ", ".join(f"{loss:.7f}/{val_loss:.7f}" for loss, val_loss in row["losses"])
        console.print(f"{row['symbols']:>6,} symbols, workers {row['workers']}: loss/on validation {losses}")
    for symbols, gap in document["gap_of_losses"].items():
        speed = document["speed_of_two"][symbols]
        console.print(f"{symbols} symbols: losses at most {gap:.1e} apart; two workers {speed:.2f} x as fast")
    for name, slopes in document["exponents"].items():
        if slopes:
            console.print(f"exponent of {name}: {slopes[0]:.2f} over all, {slopes[1]:.2f} over the last two")
    console.print(f"private memory of a worker: {document['private_growth_mb']:.0f} MB more at most")
    for name, right in document["verdicts"].items():
        console.print(f"{name}: {'yes' if right else 'NO'}")


def _table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(_figure(row[name]) for name in columns))
    return table


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
