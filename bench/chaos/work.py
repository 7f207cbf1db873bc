"""Publishing and training in a process of its own, run to its end or killed at any point.

    python -m bench.chaos.work publish HOME RELEASE NAME    copies a release, publishes and promotes it
    python -m bench.chaos.work train HOME                   a tiny run, continued, published, promoted

The process prints ``ready`` when its imports are done and ``done SECONDS`` at the end.
"""

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.chaos.home import ROOT, copied
from common.errors import TrainingError
from common.release.manifest import read_manifest
from common.release.registry import Registry

CHILD_S = 400.0
SETTINGS = {
    "seeds": 1,
    "window": {"size": 20, "horizons": [1, 5]},
    "network": {"lstm_units": [4], "dense_units": 4},
    "general": {"epochs": 6, "patience": 6, "batch_size": 64, "epoch_share": 1.0},
    "scratch": {"epochs": 6, "patience": 6},
    "finetune": {"epochs": 2, "patience": 2},
    "minimum_windows": 50,
}


def run(*words: str, variables: Mapping[str, str] | None = None) -> float:
    """Run it to its end; returns the seconds it took once it was ready. TrainingError if it fails."""
    with _started(words, variables) as process:
        output = process.communicate(timeout=CHILD_S)[0].decode(errors="replace")
        if process.returncode:
            raise _failed(words, process, output)
        return float(output.rpartition("done ")[2].split()[0])


def killed(after_s: float, *words: str) -> bool:
    """Run it and kill it (SIGKILL) so long after it is ready; False if it had finished."""
    with _started(words) as process:
        try:
            output = process.communicate(timeout=after_s)[0]
        except subprocess.TimeoutExpired:
            return True
        if process.returncode:
            raise _failed(words, process, output.decode(errors="replace"))
        return False


def _failed(words: tuple[str, ...], process: "subprocess.Popen[bytes]", output: str) -> TrainingError:
    return TrainingError(f"chaos: {' '.join(words)}: exit {process.poll()}: {output[-2000:]}")


@contextmanager
def _started(
    words: tuple[str, ...], variables: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a block once the process is ready; afterwards neither it nor what it started is there."""
    process = subprocess.Popen(  # nosec B603 # our own command, no shell
        [sys.executable, "-m", "bench.chaos.work", *words],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(variables or {}),
        bufsize=0,  # what follows ``ready`` is left to ``communicate``
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout
    late = threading.Timer(CHILD_S, process.kill)
    late.start()
    try:
        lines: list[bytes] = []
        while (line := process.stdout.readline()) != b"ready\n":
            if not line:
                process.wait()
                raise _failed(words, process, b"".join(lines).decode(errors="replace"))
            lines.append(line)
        late.cancel()
        yield process
    finally:
        late.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def main(words: list[str]) -> None:
    verb, home, *more = words
    begin = _publish if verb == "publish" else _train
    begin(Path(home), *more)


def _publish(home: Path, release: str, name: str) -> None:
    original = read_manifest(Path(release))
    started = _ready()
    copied(original, home, name)
    Registry(home).promote(name)
    _done(started)


def _train(home: Path) -> None:
    """Every task in this process, without Ray; then the publishing of `train.pipeline.training.execute`."""
    from common.archive.reader import read_archive
    from common.exchange.universe import Universe
    from common.presets import train_config
    from common.prices.panel import Panel
    from common.synthetic.market import MarketConfig, write_market
    from train.pipeline.training import execute, plan_run
    from train.run.dataset import RunDataset
    from train.workers.tasks import run_task

    started = _ready()
    market = home / "market"
    first, last = dt.date(2022, 1, 3), dt.date(2023, 12, 29)
    write_market(market, MarketConfig(symbols=4, first_day=first, last_day=last))
    panel = Panel.from_archive(read_archive(market), "synthetic small")
    stocks = [symbol for symbol in panel.symbols if not symbol.startswith("^")]
    universe = Universe.from_symbols(stocks, specific=[stocks[0]])
    run = plan_run(train_config("residual", SETTINGS), universe, panel, home)
    run.folder.mkdir(parents=True, exist_ok=True)
    run.panel.save(run.folder / "panel.parquet")
    run.spec.save(run.folder)
    dataset = RunDataset(run.folder, run.spec, run.panel)
    for task in run.plan.tasks:
        run_task(dataset, task)
    execute(run, mode="plain", refit=False)
    _done(started)


def _ready() -> float:
    print("ready", flush=True)
    return time.monotonic()


def _done(started: float) -> None:
    print(f"done {time.monotonic() - started:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
