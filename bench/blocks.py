"""Measure reading and publishing by symbols and workers: in one process, and in blocks as Ray tasks.

    python bench/blocks.py [--symbols N ...] [--workers N ...] [--nodes N] [--json]

For each number of symbols, a market of a year and a half and a general model with random weights are written.
Then the archive is read, a run planned and a release published: in one process (``--workers 0``) and as tasks
on that many CPUs of a local Ray cluster, always in a new driver. *Seconds* are elapsed time without Ray's
start; *CPU* is the driver's own time and the sum of its tasks'; *peak* is the driver's largest memory so far.
*Bound* is the maximum speed-up with two workers of one CPU each: (driver + tasks) / (driver + tasks / 2), in
CPU seconds. Panels and figures must be identical for any number of workers.
"""

import argparse
import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import rich.box
from fleet import temporary_home
from machine import Clock, apart, facts, header, memory_of
from rich.console import Console
from rich.table import Table

SYMBOLS = (66, 660, 6_600, 10_000)
DAYS = dt.date(2023, 7, 3), dt.date(2024, 12, 31)
OBJECT_STORE = 2 * 1024**3
"""Bytes of a node's object store. Ray's local test clusters have 150 MB, and would write blocks to disk."""
STAGES = ("read", "plan", "arrays", "publish")
COMPARED = (
    "test_forecasts.parquet",
    "calibration.json",
    "performance_matrix.csv",
    "insights.json",
    "panel.parquet",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--symbols", type=int, nargs="+", metavar="N", default=SYMBOLS)
    parser.add_argument("--workers", type=int, nargs="+", metavar="N", default=(0, 1, 2))
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="nodes of the local cluster")
    parser.add_argument("--unpublished", action="store_true", help="leave the release out")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument(
        "--limit", type=int, default=3600, metavar="S", help="seconds allowed for each driver"
    )
    options = parser.parse_args()
    document: dict[str, Any] = {"machine": facts(), "rows": []}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    resource_tracker.ensure_running()
    for symbols in options.symbols:
        with temporary_home() as home:
            apart(prepare, home, symbols, not options.unpublished, limit=options.limit)
            for workers in options.workers:
                given = (home, symbols, workers, options.nodes, not options.unpublished)
                document["rows"].append(apart(measured, *given, limit=options.limit))
    by_symbols = {row["symbols"]: row["digest"] for row in document["rows"]}
    document["same"] = all(row["digest"] == by_symbols[row["symbols"]] for row in document["rows"])
    print(json.dumps(document, indent=1)) if options.json else show(document)
    raise SystemExit(not document["same"])


def planned(home: Path, panel: Any) -> Any:
    from common.exchange.universe import Universe
    from common.presets import train_config
    from train.pipeline.training import plan_run

    settings = {"seeds": 1, "split": {"train_share": 0.75, "valid_share": 0.125}}
    universe = Universe.from_symbols([name for name in panel.symbols if not name.startswith("^")])
    return plan_run(train_config("residual", settings), universe, panel, home)


def prepare(home: Path, symbols: int, publish: bool) -> None:
    """Write the market, and a bundle of random weights that is trusted with every stock."""
    from common.archive.reader import read_archive
    from common.prices.panel import Panel
    from common.synthetic.market import MarketConfig, write_market

    first, last = DAYS
    write_market(home / "market", MarketConfig(symbols=symbols, first_day=first, last_day=last))
    if not publish:
        return
    import numpy as np

    from common.network.build import build_network
    from train.publish.export import write_bundle
    from train.run.dataset import RunDataset
    from train.run.versions import record_or_check_versions

    run = planned(home, Panel.from_archive(read_archive(home / "market"), "synthetic"))
    run.folder.mkdir(parents=True)
    record_or_check_versions(run.id, run.folder, run.plan)
    dataset = RunDataset(run.folder, run.spec, run.panel)
    network = build_network(dataset.network_shape, dataset.config.network, seed=0)
    metadata = {"beats_naive": {}, "validation": {}, "training": {}}
    write_bundle(
        dataset,
        "general",
        dataset.config.network,
        [network.get_weights()],
        metadata,
        trained=lambda x, ids: np.asarray(network([x, ids])),
        check=dataset.parts[1],
    )
    result = {"choice": "general", "lead": None}
    (run.folder / "tasks/general/bundle").mkdir(parents=True)
    (run.folder / "tasks/general/bundle/result.json").write_text(json.dumps(result))


def measured(home: Path, symbols: int, workers: int, nodes: int, publish: bool) -> dict[str, Any]:
    """One driver's stages: seconds, CPU seconds of its own and of the tasks, memory; and a digest."""
    from common.archive.reader import read_archive
    from common.prices.panel import Panel
    from common.release.registry import Registry
    from train.publish.publish import publish_run
    from train.run.arrays import save_arrays
    from train.run.dataset import RunDataset

    row: dict[str, Any] = {"symbols": symbols, "workers": workers, "nodes": nodes if workers else 0}
    with tasks_on(workers, nodes) as (engine, processes):
        stage = _Stages(row, processes)
        panel = Panel.from_archive(read_archive(home / "market", engine), "synthetic")
        row["rows"] = len(panel.frame)
        stage.end("read")
        run = planned(home, panel)
        stage.end("plan")
        panel.save(run.folder / "panel.parquet")
        run.spec.save(run.folder)
        save_arrays(RunDataset(run.folder, run.spec, panel))
        stage.end("arrays")
        digest = hashlib.sha256(panel.fingerprint().encode())
        if publish:
            name = f"of-{workers}"
            release = publish_run(
                run.folder, run.spec, panel, run.plan, {}, Registry(home), name, engine
            ).release
            stage.end("publish")
            row["report_mb"] = release.file("report.html").stat().st_size / 1e6
            for file in COMPARED:
                digest.update(release.file(file).read_bytes())
    return row | {"digest": digest.hexdigest()}


class _Stages:
    def __init__(self, row: dict[str, Any], processes: Any) -> None:
        self._row, self._processes, self._clock = row, processes, Clock()
        self._own, self._others = own_cpu(), processes()

    def end(self, name: str) -> None:
        own, others = own_cpu(), self._processes()
        self._row |= {
            f"{name}_s": self._clock.lap(),
            f"{name}_cpu": own - self._own,
            f"{name}_tasks_cpu": others - self._others,
            f"{name}_peak_mb": memory_of("self", "status")["VmHWM"],
        }
        self._own, self._others = own, others


def own_cpu() -> float:
    times = os.times()
    return times.user + times.system


@contextmanager
def tasks_on(workers: int, nodes: int) -> Iterator[Any]:
    """An engine, and a function that tells the CPU seconds of its workers; 0 workers: this process."""
    from common.engine import IN_PROCESS

    if not workers:
        yield IN_PROCESS, lambda: 0.0
        return
    import ray
    from ray.cluster_utils import Cluster

    from train.run.blocks import RayTasks

    cluster = Cluster()
    try:
        for _ in range(nodes):
            cluster.add_node(
                num_cpus=workers // nodes, include_dashboard=False, object_store_memory=OBJECT_STORE
            )
        ray.init(address=cluster.address, log_to_driver=False)
        yield RayTasks(), lambda: workers_cpu(os.environ.get("RAY_TMPDIR", ""))
    finally:
        ray.shutdown()
        cluster.shutdown()


def workers_cpu(mark: str) -> float:
    """CPU seconds so far of all of Ray's worker processes that were started with this ``RAY_TMPDIR``."""
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = (process / "cmdline").read_bytes().startswith(b"ray::")
            if named and f"RAY_TMPDIR={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / tick
        except OSError:
            continue
    return total


def show(document: dict[str, Any]) -> None:
    console = Console(width=150, highlight=False)
    console.print(header(document["machine"]), soft_wrap=True)
    for stage in STAGES:
        table = Table(title=f"\n{stage}", title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
        for name in ("symbols", "workers", "nodes", "seconds", "CPU: driver", "tasks", "peak MB", "bound"):
            table.add_column(name, justify="right")
        for row in document["rows"]:
            if f"{stage}_s" not in row:
                continue
            own, tasks = row[f"{stage}_cpu"], row[f"{stage}_tasks_cpu"]
            bound = (own + tasks) / (own + tasks / 2) if tasks else 1.0
            counts = (f"{row[name]:,}" for name in ("symbols", "workers", "nodes"))
            figures = (row[f"{stage}_s"], own, tasks)
            peak = f"{row[f'{stage}_peak_mb']:,.0f}"
            table.add_row(*counts, *(f"{value:,.1f}" for value in figures), peak, f"{bound:.2f}")
        console.print(table)
    console.print(f"the same to the last digit: {'yes' if document['same'] else 'NO'}")


if __name__ == "__main__":
    main()
