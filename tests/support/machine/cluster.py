"""Clusters for tests: nodes on two hosts, the commands, and small runs."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from cluster.connect.ports import free_port
from cluster.connect.processes import end, name_of, processes_with_mark
from cluster.connect.ray_private import use_token
from cluster.local.start import ray_start
from common.exchange.universe import Universe
from common.presets import train_config
from common.prices.panel import Panel
from support.machine.hosts import Host
from train.pipeline.training import Run, plan_run


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "nsecast", *words]


def environment(home: Path, **more: str) -> dict[str, str]:
    return os.environ | {"NSECAST_HOME": str(home)} | more


def nsecast(*words: str, home: Path, timeout: float = 240) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*words), env=environment(home), capture_output=True, text=True, timeout=timeout
    )


@contextmanager
def hosts(second: Host) -> Iterator["Hosts"]:
    """Start a head on this host, for nodes on the other; end everything afterwards, whatever happens."""
    result = Hosts(uuid4().hex[:12], f"{second.here}:{free_port()}", Path(mkdtemp(prefix="nse-")), second)
    use_token(make=True)
    try:
        where = ["--head", "--port", result.address.rpartition(":")[2], "--include-dashboard", "false"]
        result.start("head", second.here, where)
        yield result
    finally:
        end(processes_with_mark(result.mark))
        end(processes_with_mark(result.mark))  # what was just being started
        shutil.rmtree(result.folder, ignore_errors=True)


@dataclass(frozen=True)
class Hosts:
    """Nodes with a CPU each, on two hosts."""

    mark: str
    address: str
    folder: Path
    second: Host

    def join(self) -> None:
        """Start a node on the second host."""
        self.start("second", self.second.ip, ["--address", self.address], through=self.second.through)

    def on_second(self) -> set[int]:
        """Processes of the second host's node."""
        return set(processes_with_mark(f"{self.mark}/second"))

    def named_on_second(self) -> set[str]:
        """Names of the programs that run there."""
        return {name_of(pid) for pid in self.on_second()}

    def start(self, name: str, ip: str, where: list[str], *, through: Sequence[str] = ()) -> None:
        where = [*where, "--node-ip-address", ip, "--temp-dir", str(self.folder / name)]
        ray_start(where, 1, f"{self.mark}/{name}", through=through)


EPOCHS = 30


def small_plan(
    panel: Panel,
    home: Path,
    *,
    general: int = EPOCHS,
    scratch: int = EPOCHS,
    specific: tuple[str, ...] = ("ABSA",),
) -> Run:
    """A run of small networks, of so many epochs; nothing of it is on storage."""
    settings: dict[str, Any] = {
        "seeds": 1,
        "window": {"size": 20, "horizons": [1, 5]},
        "network": {"lstm_units": [16, 16], "dense_units": 8},
        "general": {"epochs": general, "patience": general, "batch_size": 64, "epoch_share": 1.0},
        "scratch": {"epochs": scratch, "patience": scratch},
        "finetune": {"epochs": 2, "patience": 2},
    }
    stocks = [symbol for symbol in panel.symbols if not symbol.startswith("^")]
    universe = Universe.from_symbols(stocks, specific=specific)
    return plan_run(train_config("residual", settings), universe, panel, home)


def small_run(panel: Panel, home: Path, **sizes: Any) -> Run:
    """A `small_plan` that is prepared."""
    return prepared(small_plan(panel, home, **sizes))


def prepared(run: Run) -> Run:
    run.folder.mkdir(parents=True)
    run.panel.save(run.folder / "panel.parquet")
    run.spec.save(run.folder)
    return run


def results(folder: Path) -> dict[Path, int]:
    """The finished tasks of a run's folder, and when each was finished."""
    return {path: path.stat().st_mtime_ns for path in (folder / "tasks").rglob("result.json")}


def epochs_written(folder: Path) -> Counter[tuple[str, int]]:
    """How often each epoch of each task was finished, from a run's TensorBoard files."""
    counts: Counter[tuple[str, int]] = Counter()
    for path in (folder / "tensorboard").rglob("events.*"):
        task = path.parent.relative_to(folder / "tensorboard").as_posix()
        for event in EventFileLoader(str(path)).Load():
            counts.update((task, event.step) for value in event.summary.value if value.tag == "val_loss")
    return counts
