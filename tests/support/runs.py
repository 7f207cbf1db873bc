"""Small runs, ready for a fleet, and what a run has left on storage."""

from collections import Counter
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from common.exchange.universe import Universe
from common.presets import train_config
from common.prices.panel import Panel
from train.pipeline.training import Run, plan_run

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
    counters = [symbol for symbol in panel.symbols if not symbol.startswith("^")]
    universe = Universe.from_symbols(counters, specific=specific)
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
