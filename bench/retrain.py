"""Compare a complete retraining the original way with ours: wall time, and errors on the same held-out days.

    python bench/retrain.py [--archive DIR] [--years 3] [--epochs N] [--home DIR] [--json]

The original way (`original`) is one process that trains model after model with Keras ``fit`` at batch 32,
each stopped early on validation: a general LSTM of the general tier's stocks, then one for each specific
stock (preset ``v4_log``'s network and epochs, every training window in every epoch). It may use all cores.
Ours are runs of the fleet on two workers, from planning to the published release: the same networks,
windows and epochs (``v4_log``), the models as shipped (``residual``), and those of ``nsecast train
--quick``. All on the newest years of an archive, by default of a synthetic market, one after the other,
complete. Errors are one day ahead, over the days and stocks that all of them forecast and whose price
moves; prices of the original design are taken as they are, rounded to the tick. *Better* is a smaller error
than the original's and than the last price's, which a network that has learnt nothing would have. With
``--home`` the release as shipped is kept there, in production.
"""

import argparse
import datetime as dt
import json
import os
import shutil
import sys
import tempfile
import time
from functools import reduce
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pandas as pd
import rich.box
from fleet import temporary_home, time_limit
from history import newest
from machine import apart, busy_cpu_seconds, facts, header, sources
from rich.console import Console
from rich.table import Table

WORKERS = 2
ORIGINAL, SAME, SHIPPED, QUICK = "original", "v4_log", "residual", "residual, --quick"
LABELS = {
    ORIGINAL: "Keras `fit`, batch 32, model after model",
    SAME: "fleet, the same networks and epochs (`v4_log`)",
    SHIPPED: "fleet as shipped (`residual`)",
    QUICK: "fleet, `--quick`",
}
FIRST_DAY, LAST_DAY = dt.date(2019, 1, 2), dt.date(2024, 12, 31)
WHOLE = {"epoch_share": 1.0, "windows_per_epoch": None}
"""An epoch is every training window, as it is to ``fit``."""
GOAL = 10
KEY = ["symbol", "cutoff"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archive", type=Path, metavar="DIR", help="default: a synthetic market")
    parser.add_argument("--years", type=int, default=3)
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="of each fit, of one seed; default: the preset's"
    )
    parser.add_argument("--home", type=Path, help="where the release as shipped is kept")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--limit", type=int, default=1200, metavar="S", help="seconds allowed for each")
    options = parser.parse_args()
    environment, before = facts(), sources()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    resource_tracker.ensure_running()
    with tempfile.TemporaryDirectory(prefix="nsecast-bench-") as temporary:
        archive = newest(
            options.archive or synthetic_archive(Path(temporary)), options.years, Path(temporary) / "newest"
        )
        runs = {}
        for name in LABELS:
            folder = Path(temporary) / name.replace(", ", "")
            if name == ORIGINAL:
                runs[name] = apart(original, archive, folder, options.epochs, limit=options.limit)
            else:
                runs[name] = fleet(name, archive, folder, options.epochs, options.limit)
            print(f"{name}: {runs[name]['wall_s']:.0f} s", file=sys.stderr, flush=True)
            if name == SHIPPED and options.home:
                shutil.rmtree(options.home / "releases", ignore_errors=True)
                shutil.copytree(folder / "releases", options.home / "releases")
    document = {
        "machine": environment,
        "source": "archive" if options.archive else "synthetic market",
        "years": options.years,
        "epochs": options.epochs,
        "code_changed": sources() != before,
        **compared(runs),
    }
    print(json.dumps(document, indent=1)) if options.json else show(document)


def synthetic_archive(home: Path) -> Path:
    """A synthetic market of six years."""
    from common.synthetic.market import MarketConfig, write_market

    write_market(home / "market", MarketConfig(first_day=FIRST_DAY, last_day=LAST_DAY))
    return home / "market"


def settings(name: str, epochs: int | None) -> Any:
    """What a run trains; the original is trained on the settings of ``SAME``."""
    from common.presets import quick, train_config

    few = {} if epochs is None else {"epochs": epochs}
    if name == QUICK:
        return quick(train_config())
    if name == SHIPPED:
        fits = dict.fromkeys(("general", "scratch", "finetune"), few)
        return train_config("residual", fits | ({"seeds": 1} if few else {}))
    return train_config(SAME, {"general": WHOLE | few, "scratch": few})


def planned(name: str, archive: Path, home: Path, epochs: int | None) -> Any:
    from common.exchange.universe import load_universe
    from train.pipeline.training import plan_run
    from train.run.price_source import load_panel

    return plan_run(settings(name, epochs), load_universe(), load_panel(archive, home), home)


def original(archive: Path, home: Path, epochs: int | None) -> dict[str, Any]:
    """Every model, one after the other; reading and importing do not count."""
    from original import trained

    from train.run.dataset import RunDataset

    run = planned(SAME, archive, home, epochs)
    dataset = RunDataset(run.folder, run.spec, run.panel)
    jobs = [job for job in run.plan.jobs if job not in run.plan.skipped]
    started, busy = time.time(), busy_cpu_seconds()
    table, windows = trained(dataset, jobs)
    wall = time.time() - started
    return {
        "wall_s": wall,
        "cpus_busy": (busy_cpu_seconds() - busy) / wall,
        "models": len(jobs),
        "table": table,
        "windows": windows,
    }


def fleet(name: str, archive: Path, home: Path, epochs: int | None, limit: int) -> dict[str, Any]:
    """One complete run of the fleet, its release below ``home``."""
    import train.workers.fleet  # noqa: F401  (imported here, so that no run's clock pays for it)
    from train.pipeline.training import execute
    from train.run.plan import stored_epochs

    run = planned(name, archive, home, epochs)
    with temporary_home(), time_limit(limit):
        started, busy = time.time(), busy_cpu_seconds()
        outcome, _ = execute(run, workers=WORKERS, mode="silent")
        wall = time.time() - started
    table = pd.read_parquet(outcome.release.file("test_forecasts.parquet"))
    table = table[(table["horizon"] == 1) & ~table["frozen"].astype(bool)]
    table["cutoff"] = table["cutoff"].astype("datetime64[s]")
    return {
        "wall_s": wall,
        "cpus_busy": (busy_cpu_seconds() - busy) / wall,
        "models": len(run.plan.jobs) - len(run.plan.skipped),
        "table": table[[*KEY, "last_price", "actual", "raw", "published"]],
        "windows": sum(
            task.cost / task.epochs * len(stored_epochs(run.folder, task.id))
            for task in run.plan.tasks
            if task.epochs
        ),
        "failed": outcome.failed,
    }


def compared(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Times and errors, the latter on the rows that every run forecast."""
    from common.exchange.ticks import round_to_tick
    from common.scoring.forecast_errors import errors

    tables = {name: run.pop("table") for name, run in runs.items()}
    keys = reduce(lambda left, right: left.merge(right, on=KEY), (table[KEY] for table in tables.values()))
    truth = keys.merge(tables[SHIPPED][[*KEY, "last_price", "actual"]], on=KEY)
    last, actual = truth["last_price"].to_numpy(float), truth["actual"].to_numpy(float)
    rows = {}
    for name, table in tables.items():
        own = keys.merge(table, on=KEY)
        raw = own["raw"].to_numpy(float)
        published = round_to_tick(raw) if name in (ORIGINAL, SAME) else own["published"].to_numpy(float)
        score = errors(last=last, raw=raw, published=published, actual=actual)
        rows[name] = runs[name] | {
            "mae": score.mae,
            "rel_mae": score.rel_mae,
            "rel_rmse": score.rel_rmse,
            "times": runs[ORIGINAL]["wall_s"] / runs[name]["wall_s"],
        }
    bar = min(rows[ORIGINAL]["rel_mae"], 1.0)
    return {
        "rows": rows,
        "forecasts": len(keys),
        "naive_mae": score.naive_mae,
        "times_to_better": {
            name: rows[name]["times"] if rows[name]["rel_mae"] < bar else None for name in (SHIPPED, QUICK)
        },
    }


def show(document: dict[str, Any]) -> None:
    console = Console(width=140, highlight=False)
    console.print(header(document["machine"]), soft_wrap=True)
    table = Table(box=rich.box.SIMPLE_HEAD)
    columns = ("wall_s", "cpus_busy", "models", "windows", "mae", "rel_mae", "rel_rmse", "times")
    for name in ("training", *columns):
        table.add_column(name.replace("_", " "), justify="left" if name == "training" else "right")
    for name, row in document["rows"].items():
        table.add_row(LABELS[name], *(f"{row[column]:,.3f}".removesuffix(".000") for column in columns))
    console.print(table)
    console.print(f"{document['forecasts']:,} forecasts, naive MAE {document['naive_mae']:.3f} KES")


if __name__ == "__main__":
    main()
