"""What is killed: publishing and training, as a program of its own.

    python -m bench.chaos.work publish HOME RELEASE NAME    copies a release, publishes and promotes it
    python -m bench.chaos.work train HOME                   a tiny run, continued, published, promoted

It says ``ready`` when its imports are done and ``done SECONDS`` at the end.
"""

import datetime as dt
import sys
import time
from pathlib import Path

from common.model.registry import Registry
from common.model.release import read_manifest

SETTINGS = {
    "seeds": 1,
    "window": {"size": 20, "horizons": [1, 5]},
    "network": {"lstm_units": [4], "dense_units": 4},
    "general": {"epochs": 6, "patience": 6, "batch_size": 64, "epoch_share": 1.0},
    "scratch": {"epochs": 6, "patience": 6},
    "finetune": {"epochs": 2, "patience": 2},
    "minimum_windows": 50,
}


def main(words: list[str]) -> None:
    verb, home, *more = words
    begin = _publish if verb == "publish" else _train
    begin(Path(home), *more)


def _publish(home: Path, release: str, name: str) -> None:
    from bench.chaos.home import copied

    original = read_manifest(Path(release))
    started = _ready()
    copied(original, home, name)
    Registry(home).promote(name)
    _done(started)


def _train(home: Path) -> None:
    """Every task in this process, without Ray; then the publishing of `train.run.execute`."""
    from common.data.archive import read_archive
    from common.data.market import MarketConfig, write_market
    from common.data.panel import Panel
    from common.data.universe import Universe
    from common.model.presets import train_config
    from train.jobs import run_task
    from train.run import execute, plan_run
    from train.workbench import Workbench

    started = _ready()
    market = home / "market"
    first, last = dt.date(2022, 1, 3), dt.date(2023, 12, 29)
    write_market(market, MarketConfig(symbols=4, first_day=first, last_day=last))
    panel = Panel.from_archive(read_archive(market), "synthetic small")
    counters = [symbol for symbol in panel.symbols if not symbol.startswith("^")]
    universe = Universe.from_symbols(counters, specific=[counters[0]])
    run = plan_run(train_config("residual", SETTINGS), universe, panel, home)
    run.folder.mkdir(parents=True, exist_ok=True)
    run.panel.save(run.folder / "panel.parquet")
    run.spec.save(run.folder)
    bench = Workbench(run.folder, run.spec, run.panel)
    for task in run.plan.tasks:
        run_task(bench, task)
    execute(run, mode="plain")
    _done(started)


def _ready() -> float:
    print("ready", flush=True)
    return time.monotonic()


def _done(started: float) -> None:
    print(f"done {time.monotonic() - started:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
