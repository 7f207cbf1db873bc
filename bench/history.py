"""Measure time by years of history: reading, planning and one epoch of the general model, on one core.

    python bench/history.py [--archive DIR] [--years N ...] [--json]

For each number of years, a separate process does what ``nsecast train`` does with the newest files of the
archive (by default a synthetic market of eleven years): *read* (files to panel), *plan* (windows, split,
tasks), *data* (scales, moving windows), and an *epoch* over all training windows of the general model, one
network, preset residual, without compiling. Exponents are slopes of log against log: over all sizes, and over
the two largest.
"""

import argparse
import datetime as dt
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import rich.box
from machine import Clock, apart, facts, header, use_one_core
from rich.console import Console
from rich.table import Table
from scale import exponents

YEARS = (1, 2, 4, 8, 11)
DAYS = dt.date(2014, 1, 2), dt.date(2024, 12, 31)
SPLIT = {"train_share": 0.7, "valid_share": 0.2}
"""Validation needs 30 sessions of a single year, too."""
WARM_UP = 256
"""Windows trained on before the clock starts."""
PRICES = "NSE_data_all_stocks_*.csv"
STEPS = ("read_s", "plan_s", "data_s", "epoch_s", "all_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archive", type=Path, metavar="DIR", help="default: a synthetic market")
    parser.add_argument("--years", type=int, nargs="+", metavar="N", default=YEARS)
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--limit", type=int, default=300, metavar="S", help="seconds allowed for each")
    options = parser.parse_args()
    environment = facts()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="nsecast-bench-") as temporary:
        home = Path(temporary)
        archive = options.archive or synthetic_archive(home / "market")
        rows = []
        for years in sorted(set(options.years)):
            folder = newest(archive, years, home / f"years-{years}")
            rows.append({"years": years, **apart(measured, folder, home, limit=options.limit)})
            print(f"{years} years: {rows[-1]['all_s']:.1f} s", file=sys.stderr, flush=True)
    growth = {name: exponents(rows, name, of="years") for name in STEPS}
    document = {
        "machine": environment,
        "source": "archive" if options.archive else "synthetic market",
        "rows": rows,
        "exponents": growth,
    }
    print(json.dumps(document, indent=1)) if options.json else show(document)


def price_files(archive: Path) -> list[Path]:
    """One a year, oldest first."""
    return sorted(archive.glob(PRICES))


def newest(archive: Path, years: int, folder: Path) -> Path:
    """Link the newest price files, and all that are none, into a new folder; returns it.

    Raises
    ------
    SystemExit
        If the archive has fewer years.
    """
    prices = price_files(archive)
    if len(prices) < years:
        raise SystemExit(f"{archive}: {len(prices)} price files ({PRICES}), need {years}: one a year.")
    folder.mkdir(parents=True)
    for path in [*prices[-years:], *(path for path in archive.iterdir() if path not in prices)]:
        if path.is_file():
            (folder / path.name).symlink_to(path.absolute())
    return folder


def synthetic_archive(folder: Path) -> Path:
    """A synthetic market of all these years."""
    from common.synthetic.market import MarketConfig, write_market

    write_market(folder, MarketConfig(first_day=DAYS[0], last_day=DAYS[1]))
    return folder


def measured(folder: Path, home: Path) -> dict[str, Any]:
    """The seconds of each step; the process keeps to one core from here on."""
    use_one_core()
    from cases import Case, Ours

    from common.exchange.universe import load_universe
    from common.presets import train_config
    from common.release.bundle import GENERAL
    from train.fit.loop import one_thread
    from train.pipeline.training import plan_run
    from train.run.dataset import RunDataset
    from train.run.feed import FitData
    from train.run.price_source import load_panel
    from train.workers.tasks import loop_for

    one_thread()
    clock = Clock()
    panel = load_panel(folder, home)
    took = {"read_s": clock.lap()}
    run = plan_run(train_config("residual", {"split": SPLIT}), load_universe(), panel, home)
    took["plan_s"] = clock.lap()
    dataset = RunDataset(run.folder, run.spec, panel)
    train, valid, _ = dataset.parts_of(GENERAL, training=True)
    data = FitData(train, valid, dataset.representation, dataset.stock_ids(GENERAL)).prepare()
    took["data_s"] = clock.lap()
    case = Case(loop_for(dataset, "seed"), data, dataset.config.general)
    few = replace(data, train=data.train.take(slice(WARM_UP)))
    Ours(replace(case, data=few)).turn()
    ours = Ours(case)
    clock.lap()
    ours.turn()
    took["epoch_s"] = clock.lap()
    return {"rows": len(panel.frame), "windows": len(data.train), **took, "all_s": sum(took.values())}


def show(document: dict[str, Any]) -> None:
    console = Console(width=120, highlight=False)
    console.print(header(document["machine"]) + f"; one core, {document['source']}", soft_wrap=True)
    table = Table(box=rich.box.SIMPLE_HEAD)
    columns = ("years", "rows", "windows", *STEPS)
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for row in document["rows"]:
        table.add_row(*(f"{row[name]:,.2f}" if name in STEPS else f"{row[name]:,}" for name in columns))
    console.print(table)
    for name, slopes in document["exponents"].items():
        if slopes:
            console.print(f"exponent of {name}: {slopes[0]:.2f} over all, {slopes[1]:.2f} over the last two")


if __name__ == "__main__":
    main()
